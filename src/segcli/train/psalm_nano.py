"""Trains psalm-nano: `python -m segcli.train.psalm_nano CONFIG --data DIR --lite FILE --out DIR`.

The published losses and matching in one stage, on views whose maps the frozen encoder made once: the projector, the
language model and the mask generator all begin at random, so there is nothing for a first stage to align.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from segcli.core.errors import CheckpointError, SegError, UsageError
from segcli.datasets import folders
from segcli.models.psalm.config import PRESETS, PsalmConfig
from segcli.models.psalm.keys import TOKENIZER
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.tokenizer import FILES, Tokenizer, read_tokenizer
from segcli.registry.writer import save as save_file
from segcli.train.export import split
from segcli.train.loop import LoopConfig, averaged
from segcli.train.loop import train as run_loop
from segcli.train.psalm import PsalmObjective, PsalmRecipe, prepare
from segcli.train.psalm_data import Lesson
from segcli.train.psalm_loss import PsalmLossConfig
from segcli.train.psalm_nano_data import NanoLesson, NanoLessons, NanoSchool
from segcli.train.psalm_nano_views import View, encode, load, save
from segcli.train.psalm_nano_words import tokenizer

_C = TypeVar("_C")


@dataclass(frozen=True)
class NanoPlan:
    """Everything that decides a run, besides the photos. zooms: views beside the whole of each photo."""

    seed: int = 0
    batch: int = 8
    zooms: int = 3
    lessons: NanoLessons = field(default_factory=NanoLessons)
    loss: PsalmLossConfig = field(default_factory=lambda: PsalmLossConfig(points=1024))
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=1000, lr=1e-3, average=0.99))


class NanoObjective(PsalmObjective):
    """PSALM's losses of a batch of encoded views."""

    def maps(self, model: Psalm, batch: Sequence[Lesson]) -> dict[str, Tensor]:
        """The maps that the views hold."""
        held = [lesson.maps for lesson in batch if isinstance(lesson, NanoLesson)]
        device = model.mask_tokens.device
        return {level: torch.stack([maps[level].float() for maps in held]).to(device) for level in held[0]}


def begin(lite: Path, seed: int, config: PsalmConfig = PRESETS["lite0"]) -> Psalm:
    """The network with random weights on the frozen encoder of `lite`, the file that the bundled members share.

    Raises CheckpointError for a file of other weights.
    """
    torch.manual_seed(seed)
    model = Psalm(config)
    for parameter in (model.mask_tokens, model.places):
        assert parameter is not None
        torch.nn.init.normal_(parameter, std=0.02)  # zeros would make all queries the same at the start
    given = {name: tensor.float() for name, tensor in load_file(lite).items()}
    if set(given) != {name for name in model.state_dict() if name.startswith("backbone.")}:
        raise CheckpointError(f"{lite}: is not the backbone {config.lite}; give the file that comes with seg")
    model.load_state_dict(given, strict=False)
    return model


def run(plan: NanoPlan, model: Psalm, views: Sequence[View], out: Path) -> tuple[Psalm, Tokenizer]:
    """Train on views; the model with averaged weights, and its words. Goes on from what `out` holds."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / FILES[0]
    if not kept.is_file():
        names = {name for view in views for name in view.names.values() if name}
        kept.write_text(tokenizer(names).to_json(), encoding="utf-8")
    words = read_tokenizer({FILES[0]: kept.read_bytes()}, str(kept))
    school = NanoSchool(views, words, model.config.image_tokens, plan.lessons)
    recipe = PsalmRecipe(loss=plan.loss)
    loop = replace(plan.loop, seed=plan.seed)
    run_loop(prepare(model, recipe), partial(school.batches, plan.batch), NanoObjective(recipe, plan.seed), loop, out)
    model.load_state_dict(averaged(model, out / "state.pt"), strict=False)
    return model.eval(), words


def export(model: Psalm, words: Tokenizer, path: Path, origin: str) -> None:
    """Write everything but the shared backbone in half precision, the tokenizer beside it.

    Raises ValueError for weights beyond half precision, StorageError when the file can't be written.
    """
    _, own = split(model.state_dict())
    tensors = {name: t.detach().half().contiguous() for name, t in own.items()}
    wide = [name for name, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if wide:
        raise ValueError(f"{wide[0]}: its values do not fit half precision")
    tensors[TOKENIZER] = torch.from_numpy(np.frombuffer(words.to_json().encode(), np.uint8).copy())
    save_file(path, tensors, {"origin": origin})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Train psalm-nano.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder with images/ and masks/")
    parser.add_argument("--lite", type=Path, required=True, help="lite0.safetensors, as it comes with seg")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        plan = read_plan(options.config)
        model = begin(options.lite, plan.seed)
        model, words = run(plan, model, _views(plan, model, options.data, options.out), options.out)
        export(model, words, options.out / "psalm-nano.safetensors", "trained by segcli.train.psalm_nano")
    except SegError as error:
        print(f"seg: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _views(plan: NanoPlan, model: Psalm, data: Sequence[Path], out: Path) -> list[View]:
    kept = out / "views.pt"
    if kept.is_file():
        return load(kept)
    photos = [photo for root in data for source in folders.sources(root) for photo in folders.photos(source)]
    views = encode(photos, model.eval(), plan.zooms, plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    save(views, kept)
    return views


def read_plan(path: Path) -> NanoPlan:
    """The plan of a TOML file. Raises UsageError for a key that nothing reads, with the file's name."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: can't be read: {error}; correct it") from error
    plan = NanoPlan()
    parts: dict[str, Any] = {
        name: _filled(path, getattr(plan, name), given.pop(name, {})) for name in ("lessons", "loss", "loop")
    }
    return _filled(path, replace(plan, **parts), given)


def _filled(path: Path, start: _C, values: Mapping[str, Any]) -> _C:
    known = {f.name for f in fields(start)}  # type: ignore[arg-type]
    odd = sorted(set(values) - known)
    if odd:
        raise UsageError(f"{path}: {', '.join(odd)}: nothing reads this; it knows {', '.join(sorted(known))}")
    read = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    filled: _C = replace(start, **read)  # type: ignore[type-var]
    return filled


if __name__ == "__main__":
    sys.exit(main())

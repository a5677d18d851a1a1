"""Trains psalm-nano: `seg train psalm --data DIR --config configs/psalm-nano.toml --out DIR`.

The published losses and matching in one stage, on views whose maps the frozen encoder made once: the projector, the
language model and the mask generator all begin at random, so there is nothing for a first stage to align.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from segcli.core.errors import CheckpointError, StorageError, UsageError
from segcli.datasets import folders
from segcli.models.psalm.config import PRESETS, PsalmConfig
from segcli.models.psalm.keys import TOKENIZER
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.predictor import PsalmPredictor
from segcli.models.psalm.tokenizer import FILES, Tokenizer, read_tokenizer
from segcli.registry.load import open_model
from segcli.registry.writer import save as save_file
from segcli.train.export import halved, split
from segcli.train.loop import LoopConfig, averaged
from segcli.train.loop import train as run_loop
from segcli.train.psalm import PsalmObjective, PsalmRecipe, prepare
from segcli.train.psalm_data import Lesson
from segcli.train.psalm_loss import PsalmLossConfig
from segcli.train.psalm_nano_data import NanoLesson, NanoLessons, NanoSchool
from segcli.train.psalm_nano_views import View, encode, load, save
from segcli.train.psalm_nano_words import tokenizer
from segcli.train.tables import filled, read_table

Say = Callable[[str], None]


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


def train_nano(
    plan: NanoPlan,
    folders: Sequence[Path],
    out: Path,
    backbone: Path,
    *,
    start: str | None = None,
    device: str = "cpu",
    say: Say = print,
) -> Path:
    """Train and return the checkpoint, `out/psalm-nano.safetensors` (the averaged weights in half precision).

    folders: photos with masks and names of classes. backbone: safetensors of the frozen encoder, as bundled.
    start:   a psalm-nano to go on from, by name or as a file, whose words it keeps; None begins at random.
    Views that the encoder saw are kept in `out`; a run that was stopped goes on with the same `out`.
    Raises CheckpointError and UsageError for what does not fit together.
    """
    model, words = (begin(backbone, plan.seed), None) if start is None else begun_by(start, backbone)
    views = _views(plan, model, folders, out)
    if not any(name for view in views for name in view.names.values()):
        raise StorageError("--data: no photo of which objects.jsonl names classes; words are learned from those")
    say(f"{len(views)} views to train on")
    model, words = run(plan, model, views, out, words, device)
    say(f"log in {out / 'log.jsonl'}")
    return export(model, words, out / "psalm-nano.safetensors", shared=backbone.name)


def begin(lite: Path, seed: int, config: PsalmConfig = PRESETS["lite0"]) -> Psalm:
    """The network with random weights on the frozen encoder of `lite`, the file that the bundled members share.

    Raises CheckpointError for a file that is missing or of other weights.
    """
    torch.manual_seed(seed)
    model = Psalm(config)
    for parameter in (model.mask_tokens, model.places):
        assert parameter is not None
        torch.nn.init.normal_(parameter, std=0.02)  # zeros would make all queries the same at the start
    _encode_with(model, lite)
    return model


def begun_by(start: str, lite: Path) -> tuple[Psalm, Tokenizer]:
    """The network and the words of a psalm-nano, on the encoder of `lite`. Raises CheckpointError for another model."""
    opened = open_model(start, device="cpu", dtype="fp32")
    if not isinstance(opened, PsalmPredictor) or opened.model.config.lite is None:
        raise CheckpointError(f"{start}: is no psalm-nano; give one with --start, or leave it out")
    _encode_with(opened.model, lite)
    return opened.model.requires_grad_(True), opened.tokenizer


def _encode_with(model: Psalm, lite: Path) -> None:
    if not lite.is_file():
        raise CheckpointError(f"{lite}: no such file; give the encoder's safetensors with --backbone")
    given = {name: tensor.float() for name, tensor in load_file(lite).items()}
    if set(given) != {name for name in model.state_dict() if name.startswith("backbone.")}:
        raise CheckpointError(f"{lite}: is not the backbone {model.config.lite}; give the file that comes with seg")
    model.load_state_dict(given, strict=False)


def run(
    plan: NanoPlan, model: Psalm, views: Sequence[View], out: Path, words: Tokenizer | None = None, device: str = "cpu"
) -> tuple[Psalm, Tokenizer]:
    """Train on views; the model with averaged weights, and its words. Goes on from what `out` holds.

    words: that the model knows already. Raises UsageError for a class whose name they do not have.
    """
    out.mkdir(parents=True, exist_ok=True)
    kept = out / FILES[0]
    names = {name for view in views for name in view.names.values() if name}
    if not kept.is_file():
        kept.write_text((words or tokenizer(names)).to_json(), encoding="utf-8")
    words = read_tokenizer({FILES[0]: kept.read_bytes()}, str(kept))
    if strange := sorted(name for name in names if words.strange(name)):
        raise UsageError(f"--start: does not know the class {strange[0]!r}; leave --start out to begin with its words")
    school = NanoSchool(views, words, model.config.image_tokens, plan.lessons)
    recipe = PsalmRecipe(loss=plan.loss)
    loop, objective = replace(plan.loop, seed=plan.seed), NanoObjective(recipe, plan.seed)
    run_loop(prepare(model, recipe), partial(school.batches, plan.batch), objective, loop, out, device=device)
    model = model.cpu()
    model.load_state_dict(averaged(model, out / "state.pt"), strict=False)
    return model.eval(), words


def export(model: Psalm, words: Tokenizer, path: Path, shared: str) -> Path:
    """Write everything but the backbone, which stays in the bundled file `shared`, in half precision, words and all.

    Raises UsageError for weights beyond half precision, StorageError when the file can't be written.
    """
    _, own = split(model.state_dict())
    tensors = halved(own, path)
    tensors[TOKENIZER] = torch.from_numpy(np.frombuffer(words.to_json().encode(), np.uint8).copy())
    metadata = {
        "seg.system": "psalm",
        "seg.config": json.dumps(asdict(model.config), sort_keys=True),
        "seg.accepts": ",".join(sorted(PsalmPredictor.accepts)),
        "seg.bundled": shared,
        "seg.licence": "Apache-2.0",
    }
    save_file(path, tensors, metadata)
    return path


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
    """Read a plan. Raises UsageError that names the file and the word that is wrong."""
    table = read_table(path, "configs/psalm-nano.toml")
    plan = NanoPlan()
    plan = replace(
        plan,
        lessons=filled(plan.lessons, table.pop("lessons", {}), f"{path}: lessons"),
        loss=filled(plan.loss, table.pop("loss", {}), f"{path}: loss"),
        loop=filled(plan.loop, table.pop("loop", {}), f"{path}: loop"),
    )
    return filled(plan, table, str(path))

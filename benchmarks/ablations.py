"""What each part of seem-nano's recipe is worth: short trainings that differ in one thing, side by side.

    python benchmarks/ablations.py --data TRAIN [--backbones DIR] [--steps 200] [--only NAME …]

Every variant trains the click path from random weights for the same number of steps, on the same views and with the
same seed, on 17 of 18 photos. The mean IoU after 1, 3 and 5 clicks is that of things on the others (two a photo, at
most), looked at in the size of the views and closer. `--backbones` holds lite1.safetensors and lite2.safetensors, made
by `python -m segcli.train.backbone`; without it those two variants are left out. So short a training says what helps at
the start, not what is best in the end.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file

from segcli.bench.clicking import ClickSample
from segcli.bench.noc import folder_samples, run_noc, summary
from segcli.datasets import folders
from segcli.models.layers.positions import sine_positions
from segcli.models.seem import click_path, decoder
from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.models.seem.nano_predictor import NanoPredictor
from segcli.registry.places import BUNDLED
from segcli.train import photos as reading
from segcli.train import seem
from segcli.train.loop import LoopConfig, averaged, train
from segcli.train.views import ViewConfig

HELD = 18  # each so many photos is kept back
CLICKS = (1, 3, 5)
RECIPE = seem.SeemRecipe(photos_a_step=4, detail=False)
MODEL = NanoConfig(decoder=False)


@dataclass(frozen=True)
class Variant:
    """What differs from the first one. `without` is entered around training and scoring."""

    name: str
    model: dict[str, Any] = field(default_factory=dict)
    view: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    trained: bool = False  # the backbone too, at 0.1 of the rate
    without: Callable[[], AbstractContextManager[Any]] = nullcontext


def _zeros(of: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda *arguments: torch.zeros_like(of(*arguments))


def _only_loss(kind: str) -> Callable[[], AbstractContextManager[Any]]:
    parts = seem._bce_and_dice

    def one(*arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bce, dice = parts(*arguments)
        return (bce, dice * 0) if kind == "bce" else (bce * 0, dice)

    return partial(patch.object, seem, "_bce_and_dice", one)


def _placed(read: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    def with_position(feature: torch.Tensor, yx: torch.Tensor) -> torch.Tensor:
        height, width = feature.shape[-2:]
        where = sine_positions(height, width, feature.shape[1], feature).to(feature)
        return read(feature, yx) + read(where.expand_as(feature), yx)

    return with_position


@contextmanager
def _tokens(*, maps: bool, placed: bool) -> Iterator[None]:
    """SEEM's point tokens with or without a position term, beside the click path's maps or in their place."""
    with ExitStack() as stack:
        if not maps:
            for name in ("similarity", "blobs"):
                stack.enter_context(patch.object(click_path, name, _zeros(getattr(click_path, name))))
        if placed:
            stack.enter_context(patch.object(decoder, "read_map", _placed(decoder.read_map)))
        yield


VARIANTS = (
    Variant("as it is (lite0, frozen, 256 px)"),
    Variant("lite1", model={"backbone": "lite1"}),
    Variant("lite2", model={"backbone": "lite2"}),
    Variant("backbone tuned", trained=True),
    Variant("views of 192 px", view={"side": 192}),
    Variant("views of 320 px", view={"side": 320}),
    Variant(
        "no similarity to the clicked cell",
        without=partial(patch.object, click_path, "similarity", _zeros(click_path.similarity)),
    ),
    Variant("no blobs at the clicks", without=partial(patch.object, click_path, "blobs", _zeros(click_path.blobs))),
    Variant("cross-entropy alone", without=_only_loss("bce")),
    Variant("dice alone", without=_only_loss("dice")),
    Variant("no pasted objects", view={"paste": 0.0}),
    Variant("no zoomed views", view={"zoom": 0.0}),
    Variant("with SEEM's decoder from the start", model={"decoder": True}),
    Variant(
        "the same, positions on point tokens",
        model={"decoder": True},
        without=partial(_tokens, maps=True, placed=True),
    ),
    Variant(
        "SEEM's point tokens alone, no maps",
        model={"decoder": True},
        without=partial(_tokens, maps=False, placed=False),
    ),
    Variant(
        "the same, positions on the tokens",
        model={"decoder": True},
        without=partial(_tokens, maps=False, placed=True),
    ),
)


def run(variant: Variant, photos: list[Any], kept: list[Any], backbone: Path, steps: int) -> dict[str, float]:
    """Train one variant and score it."""
    torch.manual_seed(0)
    model = SeemNano(replace(MODEL, **variant.model))
    weights = {k.removeprefix("backbone."): v.float() for k, v in load_file(backbone).items()}
    model.backbone.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        frozen = name.startswith("detail.") or (name.startswith("backbone.") and not variant.trained)
        parameter.requires_grad_(not frozen)
    recipe = replace(RECIPE, view=replace(ViewConfig(), **variant.view), **variant.recipe)
    loop = LoopConfig(steps=steps, lr=1e-3, warmup=20, average=0.98, save_every=steps, log_every=steps)
    rng = np.random.default_rng(0)

    def groups(named: list[tuple[str, torch.nn.Parameter]], decay: float) -> list[dict[str, Any]]:
        slow = [p for n, p in named if n.startswith("backbone.")]
        rest = [p for n, p in named if not n.startswith("backbone.")]
        return [{"params": rest, "weight_decay": decay}, {"params": slow, "weight_decay": 0.0, "scale": 0.1}]

    with variant.without(), tempfile.TemporaryDirectory() as out:
        train(
            model.to(memory_format=torch.channels_last),
            partial(seem.batches, photos, recipe),
            partial(seem.loss_of, recipe, rng),
            loop,
            Path(out),
            groups=groups,
        )
        model.load_state_dict(averaged(model, Path(out) / "state.pt"), strict=False)
        side = recipe.view.side
        predictor = NanoPredictor(model, variant.name, "", torch.device("cpu"), (side, side * 5 // 4))
        scores = summary(run_noc(predictor, samples(kept), max(CLICKS)), max(CLICKS), at=CLICKS)
    return {key: scores[key] for key in ("objects", *(f"IoU@{k}" for k in CLICKS))}


def samples(photos: list[Any]) -> Iterator[ClickSample]:
    """At most two objects of each photo."""
    for _, of_one in itertools.groupby(folder_samples(photos), key=lambda sample: sample.image.name):
        yield from itertools.islice(of_one, 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, action="append", help="training photos with masks")
    parser.add_argument("--backbones", type=Path, help="where lite1.safetensors and lite2.safetensors are")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", nargs="+", default=[], help="variants whose names contain one of these")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    listed = [p for root in arguments.data for source in folders.sources(root) for p in folders.photos(source)]
    decoded = [reading._read(photo, 384) for index, photo in enumerate(listed) if index % HELD]
    photos, kept = [photo for photo in decoded if photo.weights], listed[::HELD]
    print(f"{len(photos)} photos to train on, {arguments.steps} steps of {RECIPE.photos_a_step} views each", flush=True)
    for variant in VARIANTS:
        if arguments.only and not any(word in variant.name for word in arguments.only):
            continue
        size = variant.model.get("backbone", "lite0")
        folder = BUNDLED if size == "lite0" else arguments.backbones
        if folder is None:
            print(f"{variant.name:36} left out: no --backbones", flush=True)
            continue
        found = run(variant, photos, kept, folder / f"{size}.safetensors", arguments.steps)
        row = "  ".join(f"{found[f'IoU@{k}']:.3f}" for k in CLICKS)
        print(f"{variant.name:36} {row}  ({found['objects']} objects)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

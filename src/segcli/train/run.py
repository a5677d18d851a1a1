"""Runs a training plan for seem-nano: its legs in turn, each going on from where it or the leg before it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from segcli.core.errors import CheckpointError, UsageError
from segcli.models.layers.loading import load_strict
from segcli.models.seem.nano import SeemNano
from segcli.models.seem.nano_predictor import accepted
from segcli.registry.header import read_header
from segcli.train.device_feed import feed
from segcli.train.device_views import DeviceViews
from segcli.train.export import save_half, split
from segcli.train.loop import averaged, decayed, first_seed, train
from segcli.train.photos import load_photos
from segcli.train.plan import Leg, TrainingPlan
from segcli.train.resident import ResidentPhotos, resident
from segcli.train.seem import ObjectBatch, batches, loss_of
from segcli.train.tables import built
from segcli.train.validate import ClickValidation, hold_out
from segcli.train.views import TrainingPhoto

Say = Callable[[str], None]
_OWN_BACKBONE = "click_backbone."


def run_plan(
    plan: TrainingPlan,
    folders: Sequence[Path],
    out: Path,
    backbone: Path,
    *,
    start: Path | None = None,
    device: str = "cpu",
    say: Say = print,
) -> Path:
    """Train and return the checkpoint, `out/seem-nano.safetensors` (the averaged weights in half precision).

    folders:  photos with masks. backbone: safetensors of the frozen backbone, as bundled.
    start:    a checkpoint to begin from instead of random weights; parameters that it lacks begin at random.
    A plan that was stopped goes on when it is run again with the same `out`.
    Raises UsageError for sizes that no network can have, CheckpointError for weights that can't be read, StorageError
    for folders without photos.
    """
    for leg in plan.legs:  # before hours of photos are read
        built(partial(_network, plan, leg), f"leg {leg.name}: [model]")
    state = {} if start is None else _weights(start)
    training, kept = hold_out(load_photos(folders))
    say(f"{len(training)} photos to train on, {len(kept)} kept back to validate")
    on_device = cache(lambda: resident(training, device))  # once, and only for a plan that wants it
    after: dict[str, dict[str, Tensor]] = {}
    for leg in plan.legs:
        # A leg saves what it trained; what it left alone comes from before.
        state = state | _run_leg(plan, leg, training, on_device, kept, out, backbone, state, device, say)
        if leg.mean_with:
            state = _mean(state, after[leg.mean_with])
        after[leg.name] = state
    model = _build(plan, plan.legs[-1], backbone, state)
    return export(model, out / "seem-nano.safetensors", shared=backbone.name)


def export(model: SeemNano, path: Path, shared: str) -> Path:
    """Write all but the frozen backbone, which stays in the bundled file `shared`, with what the file is."""
    _, own = split(model.state_dict())
    metadata = {
        "seg.system": "seem",
        "seg.config": json.dumps(asdict(model.config), sort_keys=True),
        "seg.accepts": ",".join(sorted(accepted(model.config))),
        "seg.bundled": shared,
        "seg.licence": "Apache-2.0",
    }
    save_half(own, path, metadata)
    return path


def _run_leg(
    plan: TrainingPlan,
    leg: Leg,
    training: Sequence[TrainingPhoto],
    on_device: Callable[[], ResidentPhotos],
    kept: Sequence[TrainingPhoto],
    out: Path,
    backbone: Path,
    state: dict[str, Tensor],
    device: str,
    say: Say,
) -> dict[str, Tensor]:
    torch.manual_seed(plan.seed)
    model = _build(plan, leg, backbone, state)
    _check_prefixes(leg, [name for name, _ in model.named_parameters()])
    for name, parameter in model.named_parameters():
        trained = not name.startswith("backbone.") and (not leg.parts or name.startswith(leg.parts))
        trained &= not name.startswith(leg.frozen) and (leg.backbone > 0 or not name.startswith(_OWN_BACKBONE))
        parameter.requires_grad_(trained)
    rng = np.random.default_rng(plan.seed)
    loop = replace(leg.loop, seed=plan.seed)
    folder = out / leg.name
    step = train(
        model.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        _source(plan, leg, training, on_device),
        partial(loss_of, leg.recipe, rng),
        loop,
        folder,
        validate=ClickValidation(kept, leg.recipe.view, folder / "pictures"),
        device=device,
        groups=partial(_groups, leg.backbone),
    )
    say(f"leg {leg.name}: {step} of {loop.steps} steps; log and pictures in {folder}")
    return averaged(model, folder / "state.pt")


def _mean(state: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of two states; what only the first one has is its own."""
    return {name: (t + other[name].to(t)) / 2 if name in other else t for name, t in state.items()}


def _check_prefixes(leg: Leg, names: Sequence[str]) -> None:
    for prefix in leg.parts + leg.frozen:
        if not any(name.startswith(prefix) for name in names):
            tops = sorted({name.split(".")[0] + "." for name in names})
            raise UsageError(f"leg {leg.name}: no parameter begins with {prefix}; they begin with {', '.join(tops)}")


def _groups(backbone: float, named: list[tuple[str, nn.Parameter]], decay: float) -> list[dict[str, Any]]:
    """The optimiser's groups: the backbone learns at a rate of its own, and only matrices and kernels decay."""
    rest = [(name, p) for name, p in named if not name.startswith(_OWN_BACKBONE)]
    own = [(name, p) for name, p in named if name.startswith(_OWN_BACKBONE)]
    return [*decayed(rest, decay), *decayed(own, decay, backbone)]


def _source(
    plan: TrainingPlan, leg: Leg, training: Sequence[TrainingPhoto], on_device: Callable[[], ResidentPhotos]
) -> Callable[[int], Iterator[ObjectBatch]]:
    """What the loop asks for batches, with the number that it counts steps from."""
    if leg.device_views is None:
        return partial(batches, training, leg.recipe)
    rank = int(os.environ.get("RANK", "0"))
    recipe = leg.recipe
    views = DeviceViews(on_device(), recipe.view, leg.device_views, recipe.photos_a_step, plan.seed + (rank << 32))

    def stream(start: int) -> Iterator[ObjectBatch]:
        return feed(views, (start - first_seed(plan.seed, rank)) * leg.loop.accumulate)

    return stream


def _weights(path: Path) -> dict[str, Tensor]:
    """What a checkpoint holds. Raises CheckpointError, in a line, for a file that is none."""
    read_header(path)
    return load_file(path)


def _network(plan: TrainingPlan, leg: Leg) -> SeemNano:
    return SeemNano(replace(plan.model, decoder=plan.model.decoder and leg.decoder))


def _build(plan: TrainingPlan, leg: Leg, backbone: Path, state: dict[str, Tensor]) -> SeemNano:
    """The leg's model with the frozen backbone and whatever of `state` fits it."""
    torch.manual_seed(plan.seed)
    model = _network(plan, leg)
    if not backbone.is_file():
        raise CheckpointError(f"{backbone}: no such file; give the backbone's safetensors with --backbone")
    frozen = {k.removeprefix("backbone."): v.float() for k, v in load_file(backbone).items()}
    load_strict(model.backbone, frozen, name=str(backbone))
    if model.click_backbone is not None:  # starts as the shared one
        load_strict(model.click_backbone, frozen, name=str(backbone))
    own = model.state_dict()
    fitting = {k: v.to(own[k].dtype) for k, v in state.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    return model

"""Trains SegGPT: in-context colouring with the published loss, masks and optimiser (SegGPT, section 3; Painter's code).

seg train seggpt --data DIR … --config configs/seggpt-vit-l.toml --out runs/first
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from segcli.core.errors import UsageError
from segcli.datasets import folders
from segcli.models.layers.loading import load_strict
from segcli.models.seggpt.config import PRESETS, SegGPTConfig
from segcli.models.seggpt.keys import LAYOUTS, our_name
from segcli.models.seggpt.loss import hidden_pixels, in_context_loss
from segcli.models.seggpt.model import SegGPT
from segcli.models.seggpt.prepost import normalised, unit
from segcli.registry.load import files_of
from segcli.registry.tensors import TensorFiles
from segcli.registry.weights import find
from segcli.registry.writer import save
from segcli.train.loop import LoopConfig, Losses, averaged, train
from segcli.train.seggpt_pairs import Canvas, PairConfig, PairSampler, Source
from segcli.train.seggpt_views import ViewConfig
from segcli.train.tables import filled, only, read_table

Say = Callable[[str], None]
_C = TypeVar("_C")

KIND_TOKENS = ("embedding.semantic_token", "embedding.instance_token")
LAYER_DECAY = 0.8
"""How much slower each block learns than the one behind it (Painter)."""


@dataclass(frozen=True)
class Weighed:
    """A line of the data's table: a source's folder, what its masks mean to the task, and how often it is drawn."""

    name: str
    kind: str = "semantic"
    weight: float = 1.0


@dataclass(frozen=True)
class SegGPTPlan:
    """Everything that decides a run, besides the photos. `batch` canvases stand behind one pass, whose blocks are
    computed twice with `recompute`, which holds one of them in memory at a time."""

    model: SegGPTConfig = field(default_factory=SegGPTConfig)
    pairs: PairConfig = field(default_factory=PairConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    sources: tuple[Weighed, ...] = ()
    batch: int = 2
    layer_decay: float = LAYER_DECAY
    recompute: bool = True


@dataclass(frozen=True)
class Batch:
    """B normalised canvases: photos and targets [B, 3, H, W], valid [B, 1, H, W], hidden [B, tokens], kinds [B]."""

    photos: Tensor
    targets: Tensor
    valid: Tensor
    hidden: Tensor
    kinds: Tensor
    seed: int

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        parts = (self.photos, self.targets, self.valid, self.hidden, self.kinds)
        photos, targets, valid, hidden, kinds = (part.to(device) for part in parts)
        return Batch(photos, targets, valid, hidden, kinds, self.seed)


def is_nano(path: Path) -> bool:
    """Whether a plan is the nano member's, as its [model] says. Raises UsageError when it can't be read."""
    model = read_table(path, "configs/seggpt-vit-l.toml and configs/seggpt-nano.toml").get("model")
    return isinstance(model, dict) and model.get("preset") == "nano"


def read_plan(path: Path) -> SegGPTPlan:
    """A plan from TOML. Raises UsageError that names the file and the word that is wrong."""
    table = read_table(path, "configs/seggpt-vit-l.toml")
    tables = ("model", "view", "pairs", "loop", "sources")
    only(table, (*tables, "batch", "layer_decay", "recompute"), str(path))
    sizes = dict(table.get("model", {}))
    preset = sizes.pop("preset", "vit-l")
    if preset not in PRESETS:
        raise UsageError(f"{path}: no SegGPT of size {preset!r}; those there are: {', '.join(PRESETS)}, nano")
    view = filled(ViewConfig(), table.get("view", {}), f"{path}: view")
    sources = tuple(filled(Weighed(""), row, f"{path}: sources") for row in table.get("sources", []))
    for source in sources:
        if not source.name:
            raise UsageError(f'{path}: sources: has no name; add name = "…", a folder of --data')
        if source.kind not in ("semantic", "instance"):
            raise UsageError(f"{path}: {source.name}: kind {source.kind!r}; type semantic or instance")
    plan = SegGPTPlan(
        filled(PRESETS[preset], sizes, f"{path}: model"),
        filled(PairConfig(view=view), table.get("pairs", {}), f"{path}: pairs"),
        filled(LoopConfig(), table.get("loop", {}), f"{path}: loop"),
        sources,
    )
    return filled(plan, {name: value for name, value in table.items() if name not in tables}, str(path))


def run_plan(
    plan: SegGPTPlan,
    roots: Sequence[Path],
    out: Path,
    *,
    start: str | None = None,
    device: str = "cpu",
    say: Say = print,
) -> Path:
    """Train and return the checkpoint, `out/seggpt.safetensors` (the averaged weights).

    A run that was stopped goes on when it is called again with the same `out`. `start` is a checkpoint to
    begin from, by name or as a file. Raises UsageError for a source that the plan names and the data lacks.
    """
    sources = read_sources(plan, roots)
    for source in sources:
        say(f"{source.name}: {len(source.photos)} photos, {source.kind}, weight {source.weight:g}")
    sampler = PairSampler(sources, plan.model.side, plan.model.grid, plan.pairs)
    model = build(plan, start)
    step = train(
        model,
        partial(batches, sampler, plan),
        partial(loss_of, recompute=plan.recompute),
        plan.loop,
        out,
        device=device,
        groups=partial(layer_groups, depth=plan.model.depth, layer_decay=plan.layer_decay),
    )
    say(f"{step} of {plan.loop.steps} steps; log in {out / 'log.jsonl'}")
    metadata = {
        "seg.system": "seggpt",
        "seg.config": json.dumps(asdict(plan.model), sort_keys=True),
        "seg.accepts": "examples,video",
        "seg.keys": "seg",
    }
    path = out / "seggpt.safetensors"
    save(path, averaged(model, out / "state.pt"), metadata)
    return path


def read_sources(plan: SegGPTPlan, roots: Sequence[Path]) -> list[Source]:
    """The plan's sources among the folders below `roots`, or all of them as semantic ones when it names none."""
    found = {folder.name: folder for root in roots for folder in folders.sources(root)}
    wanted = plan.sources or tuple(Weighed(name) for name in found)
    missing = [row.name for row in wanted if row.name not in found]
    if missing:
        raise UsageError(f"{missing[0]}: the plan names it, --data has only {', '.join(found)}")
    return [
        Source(row.name, "instance" if row.kind == "instance" else "semantic", photos, row.weight)
        for row in wanted
        if (photos := tuple(folders.photos(found[row.name])))
    ]


def build(plan: SegGPTPlan, start: str | None) -> SegGPT:
    """A model with random weights, small and normal as vision transformers begin, or those of `start`."""
    torch.manual_seed(plan.loop.seed)
    model = SegGPT(plan.model)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 or "token" in name or "relative" in name:
            nn.init.trunc_normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    if start is not None:
        _load(model, start)
    return model


def _load(model: SegGPT, start: str) -> None:
    """Put a checkpoint's weights into the model. Raises CheckpointError when they can't be had or don't fit.

    Painter, from which SegGPT's training begins, knows no kinds of task: what it lacks of them stays random.
    """
    entry = find(start)
    with TensorFiles(files_of(entry), torch.device("cpu"), torch.float32) as tensors:
        named = {_own_name(entry.keys, key): key for key in tensors}
        own = {ours: tensors[theirs] for ours, theirs in named.items()}
        kinds = {key: value.detach() for key, value in model.state_dict().items() if key in KIND_TOKENS}
        load_strict(model, {**kinds, **own}, name=entry.name)


def _own_name(layout: str, key: str) -> str:
    """Our name of a tensor, or its own one where the layout does not know it, for the message that refuses it."""
    return key if layout not in LAYOUTS else our_name(layout, key) or key


def batches(sampler: PairSampler, plan: SegGPTPlan, seed: int) -> Iterator[Batch]:
    """Endless batches; the n-th depends on `seed` + n alone, so that a run that was stopped misses nothing."""
    number, small = 0, plan.loop.accumulate
    while True:
        step, part = seed + number // small, number % small
        rng = np.random.default_rng((step, part))
        yield collate([sampler.draw(rng) for _ in range(plan.batch)], seed=step * small + part)
        number += 1


def collate(drawn: Sequence[Canvas], seed: int) -> Batch:
    """Samples as tensors."""
    return Batch(
        normalised(unit(np.stack([canvas.photo for canvas in drawn]))),
        normalised(unit(np.stack([canvas.target for canvas in drawn]))),
        torch.from_numpy(np.stack([canvas.valid for canvas in drawn]))[:, None].float(),
        torch.from_numpy(np.stack([canvas.hidden.reshape(-1) for canvas in drawn])),
        torch.tensor([canvas.kind for canvas in drawn]),
        seed,
    )


def loss_of(model: nn.Module, batch: Batch, *, recompute: bool = False) -> Losses:
    """The published loss of one batch: smooth L1 on hidden pixels of which the truth is known."""
    assert isinstance(model, SegGPT)
    torch.manual_seed(batch.seed)  # for stochastic depth: a run that goes on draws what it would have drawn
    here = batch.to(next(model.parameters()).device)
    canvas = model(here.photos, here.targets, here.hidden, here.kinds, recompute=recompute)
    hidden = hidden_pixels(here.hidden, model.config.grid, model.config.patch_size)
    return {"loss": in_context_loss(canvas.float(), here.targets, hidden, here.valid)}


def layer_groups(
    parameters: list[tuple[str, nn.Parameter]], decay: float, *, depth: int, layer_decay: float
) -> list[dict[str, Any]]:
    """Painter's optimiser groups: blocks near the input learn slower; 1-D tensors and positions don't decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        scale = layer_decay ** (depth + 1 - _layer(name, depth))
        still = parameter.ndim <= 1 or name == "embedding.positions"
        groups.setdefault((scale, 0.0 if still else decay), []).append(parameter)
    return [{"params": params, "scale": scale, "weight_decay": d} for (scale, d), params in groups.items()]


def _layer(name: str, depth: int) -> int:
    if name.startswith(("embedding.patch.", "embedding.positions")):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth + 1

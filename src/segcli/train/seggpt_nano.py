"""Trains seggpt-nano: `seg train seggpt --data DIR --config configs/seggpt-nano.toml --out DIR`.

SegGPT's sampling (section 3.1: the same class in two photos, or two views of one photo) with another loss: what is
learned is a comparison, so masks are scored (cross-entropy and dice), and beside them the embedding must tell the
named classes apart. The layer of class names is thrown away at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from segcli.core.errors import CheckpointError, StorageError, UsageError
from segcli.models.layers.loading import load_strict
from segcli.models.seggpt.nano import NanoConfig, SegGPTNano
from segcli.models.seggpt.nano_memory import Memory, joined, remember
from segcli.models.seggpt.nano_predictor import NanoInContext
from segcli.registry.load import open_model
from segcli.train.export import save_half, split
from segcli.train.loop import LoopConfig, averaged
from segcli.train.loop import train as run_loop
from segcli.train.placing import placed
from segcli.train.seem import mask_losses
from segcli.train.seggpt_nano_data import Bank, Draw, EpisodeBatch, Episodes, Fixed, fixed_episodes, make_bank
from segcli.train.seggpt_nano_views import ViewPlan
from segcli.train.tables import built, filled, read_table

_C = TypeVar("_C")
_CLASS_SHARPNESS = 16.0
_LEANS = np.arange(-1.0, 2.01, 0.1).round(1)
_REFINEMENT = tuple(f"network.decoder.{part}" for part in ("middle", "join_", "fine"))


@dataclass(frozen=True)
class Recipe:
    """hold_out: each so-many-th photo is kept back. unseen: classes that are not trained on, only validated.

    validated: episodes of each group of the validation, of which the lean of the answers is chosen too.
    overlap: weight of the dice losses. readout, classes: of the losses on the learned keys; first: of those on the
    answer before the second look at the photo. smoothing: of the classes' labels. noise: spread of the channels' random
    scale. kept: cells of a memory that a step compares with (of each space, drawn at random).
    """

    draw: Draw = field(default_factory=Draw)
    hold_out: int = 8
    unseen: tuple[str, ...] = ()
    validated: int = 24
    overlap: float = 1.0
    readout: float = 0.5
    classes: float = 0.5
    first: float = 0.4
    smoothing: float = 0.0
    noise: float = 0.1
    kept: int = 500

    def weighed(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of masks as they count."""
        return {name: value * self.overlap if name.endswith("dice") else value for name, value in losses.items()}


@dataclass(frozen=True)
class NanoPlan:
    """Everything that decides a run, besides the photos.

    compare: the leg that learns to compare, scored at stride 16. detail: the leg of the refinement to stride 4 alone.
    """

    model: NanoConfig = field(default_factory=NanoConfig)
    views: ViewPlan = field(default_factory=ViewPlan)
    recipe: Recipe = field(default_factory=Recipe)
    compare: LoopConfig = field(default_factory=LoopConfig)
    detail: LoopConfig = field(default_factory=LoopConfig)
    seed: int = 0


class Trainee(nn.Module):
    """The network and, for training only, a cosine layer of class names on its keys."""

    def __init__(self, network: SegGPTNano, frequency: Tensor) -> None:
        super().__init__()
        self.network = network
        self.names = nn.Parameter(torch.randn(len(frequency), network.config.embed))
        self.register_buffer("balance", (frequency + 1e-3).rsqrt(), persistent=False)

    def class_loss(self, keys: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """Cross-entropy of cells [T, C, h, w] and classes [T, h, w] (-1: none), rarer classes counting more."""
        if not bool((labels >= 0).any()):
            return keys.sum() * 0
        logits = _CLASS_SHARPNESS * keys.permute(0, 2, 3, 1) @ F.normalize(self.names.float(), dim=1).T
        return F.cross_entropy(
            logits.flatten(0, 2),
            labels.flatten(),
            self.get_buffer("balance"),
            ignore_index=-1,
            label_smoothing=smoothing,
        )


def loss_of(recipe: Recipe, detail: bool, trainee: nn.Module, batch: EpisodeBatch) -> dict[str, Tensor]:
    """Losses of one batch: of the comparison at stride 16, or of the refined answer alone."""
    assert isinstance(trainee, Trainee)
    network = trainee.network
    device = trainee.names.device
    levels = {k: v.to(device) for k, v in batch.levels.items()}
    levels |= {k: _noisy(v.float(), recipe.noise) for k, v in levels.items() if detail or k != "res2"}
    masks, valid = batch.masks.to(device), batch.valid.to(device)
    features = network.embed(levels)
    photos = features.photos()
    found = []
    for question in batch.questions:
        memory = joined([remember(photos[e], masks[e][None], valid[e]) for e in question.examples])
        found.append(network.evidence(photos[question.query], _thinned(memory, recipe.kept)))
    queries = [q.query for q in batch.questions]
    answer = network.answer(features, queries, found, [q.kind for q in batch.questions], detail=detail)
    truth, known = masks[queries][:, None], valid[queries][:, None]
    if answer.logits is not None:
        return recipe.weighed(mask_losses("", answer.logits, truth, known))
    coarse, coarse_known = F.avg_pool2d(truth, 4), (F.avg_pool2d(known, 4) > 0.5).float()
    losses = recipe.weighed(mask_losses("", answer.coarse, coarse, coarse_known))
    early = recipe.weighed(mask_losses("first-", answer.first, coarse, coarse_known))
    losses |= {name: recipe.first * value for name, value in early.items()}
    read = torch.stack([e.readout for e in found]).clamp(1e-4, 1 - 1e-4)
    losses["readout"] = recipe.readout * F.binary_cross_entropy(read, coarse[:, 0])
    losses["classes"] = recipe.classes * trainee.class_loss(
        features.keys[-1], batch.labels.to(device), recipe.smoothing
    )
    return losses


def _thinned(memory: Memory, kept: int) -> Memory:
    """At most `kept` cells of each space, drawn at random."""
    chosen = [torch.randperm(len(keys), device=keys.device)[:kept] for keys in memory.keys]
    return Memory(
        tuple(k[c] for k, c in zip(memory.keys, chosen, strict=True)),
        tuple(v[c] for v, c in zip(memory.values, chosen, strict=True)),
    )


def _noisy(level: Tensor, amount: float) -> Tensor:
    """Scale each channel of a view at random: frozen features are few, and would be learned by heart."""
    if amount == 0:
        return level
    factor = 1 + amount * torch.randn(level.shape[0], level.shape[1], 1, 1, device=level.device)
    return level * factor


class EpisodeValidation:
    """Mean IoU at stride 4 over fixed episodes, by group, beside the untrained rule at the network's own size."""

    def __init__(self, groups: Mapping[str, Sequence[Fixed]]) -> None:
        self.groups = groups

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Figures by group."""
        assert isinstance(model, Trainee)
        figures: dict[str, float] = {}
        for name, answers in self._answered(model.network):
            planes = [[_iou(plane > 0, a.truth, a.known) for plane in (a.logits, a.coarse, a.rule)] for a in answers]
            for part, mean in zip(("", "-coarse", "-rule"), np.mean(planes, axis=0), strict=True):
                figures[f"{name}{part}"] = round(float(mean), 4)
        return figures

    def lean(self, network: SegGPTNano) -> float:
        """What to add to the logits so that the mean IoU is best, groups counting alike; 0 for no episode."""
        scores = []
        for _, answers in self._answered(network):
            of_group = [[_iou(a.logits + lean > 0, a.truth, a.known) for lean in _LEANS] for a in answers]
            scores.append(np.mean(of_group, axis=0))
        return float(_LEANS[int(np.argmax(np.mean(scores, axis=0)))]) if scores else 0.0

    def _answered(self, network: SegGPTNano) -> Iterator[tuple[str, list[_Answered]]]:
        network.eval()
        for name, episodes in self.groups.items():
            with torch.inference_mode():
                answers = [_ask(network, episode.batch()) for episode in episodes]
            if answers:
                yield name, answers


@dataclass(frozen=True, eq=False)
class _Answered:
    """An answer to one episode and the truth, planes of one size: logits, those before the refinement, the rule."""

    logits: Tensor
    coarse: Tensor
    rule: Tensor
    truth: Tensor
    known: Tensor


def _ask(network: SegGPTNano, batch: EpisodeBatch) -> _Answered:
    batch = placed(batch, next(network.parameters()).device)
    features = network.embed(batch.levels)
    question = batch.questions[0]
    photos = features.photos()
    memory = joined([remember(photos[e], batch.masks[e][None], batch.valid[e]) for e in question.examples])
    found = network.evidence(photos[question.query], memory)
    answer = network.answer(features, [question.query], [found], [question.kind])
    assert answer.logits is not None
    truth, known = batch.masks[question.query] > 0.5, batch.valid[question.query] > 0
    coarse, rule = (
        F.interpolate(plane, size=truth.shape, mode="bilinear", align_corners=False)[0, 0]
        for plane in (answer.coarse, found.rule[None, None])
    )
    return _Answered(answer.logits[0, 0], coarse, rule, truth, known)


def _iou(taken: Tensor, truth: Tensor, known: Tensor) -> float:
    both, either = (taken & truth & known).sum(), ((taken | truth) & known).sum()
    return float(both / either.clamp(min=1))


def train(
    plan: NanoPlan,
    folders: Sequence[Path],
    out: Path,
    backbone: Path,
    *,
    bank: Path | None = None,
    start: str | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> Path:
    """Train and return the checkpoint, `out/seggpt-nano.safetensors` (the averaged weights in half precision).

    folders: photos with masks (`images/`, `masks/`, `objects.jsonl`). bank: where views' features are kept (default:
    `out/bank`, some 0.6 MB a view); one that is there already is used as it is.
    start: a seggpt-nano by name or as a file, or another run's state.pt, whose averaged weights this one begins with
    where names are the same.
    A stopped run goes on with the same `out`.
    """
    torch.manual_seed(plan.seed)
    network = _network(plan.model, backbone)
    frozen = network.backbone.to(torch.bfloat16).eval()
    views = make_bank(folders, bank or out / "bank", plan.views, frozen)
    network.backbone.float()
    training = [p for p in range(len(views.photos)) if p % plan.recipe.hold_out != plan.recipe.hold_out - 1]
    kept = [p for p in range(len(views.photos)) if p % plan.recipe.hold_out == plan.recipe.hold_out - 1]
    unseen = frozenset(plan.recipe.unseen)
    episodes = Episodes(views, training, unseen, plan.recipe.draw)
    say(f"{len(training)} photos and {len(episodes.classes)} classes to train on, {len(kept)} photos kept back")
    if not episodes.classes:
        raise StorageError("--data: no class is named in two photos to train on; objects.jsonl names what masks hold")
    trainee = Trainee(network, _frequency(episodes))
    if start is not None:
        _begin_with(trainee, start)
    validate = EpisodeValidation(_groups(views, kept, plan.recipe))
    for leg, loop in (("compare", plan.compare), ("detail", plan.detail)):
        for name, parameter in trainee.named_parameters():
            refines = name.startswith(_REFINEMENT)
            parameter.requires_grad_(refines if leg == "detail" else not refines and ".backbone." not in name)
        run_loop(
            trainee,
            episodes.stream,
            partial(loss_of, plan.recipe, leg == "detail"),
            replace(loop, seed=plan.seed),
            out / leg,
            validate=validate,
            device=device,
        )
        trainee.load_state_dict(averaged(trainee, out / leg / "state.pt"), strict=False)
        say(f"leg {leg}: {validate(trainee, 0)}")
    lean = validate.lean(trainee.network)
    trainee.network.config = replace(trainee.network.config, lean=lean)
    say(f"leaning by {lean}: {validate(trainee, 0)}")
    return export(trainee.network.cpu(), out / "seggpt-nano.safetensors", shared=backbone.name)


def _begin_with(trainee: Trainee, start: str) -> None:
    if start.endswith(".pt"):
        trainee.load_state_dict(averaged(trainee, Path(start)), strict=False)
        return
    opened = open_model(start, device="cpu", dtype="fp32")
    if not isinstance(opened, NanoInContext) or opened.network.config != replace(
        trainee.network.config, lean=opened.network.config.lean
    ):
        raise CheckpointError(f"{start}: is no seggpt-nano of the plan's sizes; give one with --start, or leave it out")
    trainee.network.load_state_dict(opened.network.state_dict())


def _groups(bank: Bank, kept: Sequence[int], recipe: Recipe) -> dict[str, list[Fixed]]:
    """Validation: classes that training knows, in photos that it does not; and, in all photos, classes it doesn't."""
    groups: dict[str, list[Fixed]] = {}
    unseen, count = frozenset(recipe.unseen), recipe.validated
    known = Episodes(bank, kept, unseen, recipe.draw)
    everywhere = Episodes(bank, range(len(bank.photos)), frozenset(), recipe.draw) if unseen else known
    for shots in (1, 5):
        groups[f"seen@{shots}"] = fixed_episodes(known, known.classes, shots, count, seed=0)
        groups[f"unseen@{shots}"] = fixed_episodes(everywhere, sorted(unseen), shots, count, seed=0)
    return groups


def _frequency(episodes: Episodes) -> Tensor:
    """Share of photos that show each class of the bank."""
    counts = [len(episodes.shown.get(name, ())) for name in episodes.names]
    return torch.tensor(counts, dtype=torch.float32) / max(1, len(episodes.photos))


def _network(config: NanoConfig, backbone: Path) -> SegGPTNano:
    network = built(lambda: SegGPTNano(config), "[model]")
    if not backbone.is_file():
        raise CheckpointError(f"{backbone}: no such file; give the backbone's safetensors with --backbone")
    frozen = {k.removeprefix("backbone."): v.float() for k, v in load_file(backbone).items()}
    load_strict(network.backbone, frozen, name=str(backbone))
    return network


def export(network: SegGPTNano, path: Path, shared: str) -> Path:
    """Write all but the frozen backbone, which stays in the bundled file `shared`, with what the file is."""
    _, own = split(network.state_dict())
    metadata = {
        "seg.system": "seggpt",
        "seg.config": json.dumps(asdict(network.config), sort_keys=True),
        "seg.accepts": "examples",
        "seg.bundled": shared,
        "seg.licence": "Apache-2.0",
    }
    save_half(own, path, metadata)
    return path


def read_plan(path: Path) -> NanoPlan:
    """Read a plan. Raises UsageError that names the file and the word that is wrong."""
    table = read_table(path, "configs/seggpt-nano.toml")
    recipe, model = dict(table.pop("recipe", {})), dict(table.pop("model", {}))
    if model.pop("preset", "nano") != "nano":
        raise UsageError(f'{path}: is a plan of the published SegGPT; this one\'s [model] says preset = "nano"')
    draw = filled(Draw(), recipe.pop("draw", {}), f"{path}: recipe.draw")
    plan = NanoPlan(
        filled(NanoConfig(), model, f"{path}: model"),
        filled(ViewPlan(), table.pop("views", {}), f"{path}: views"),
        filled(Recipe(draw=draw), recipe, f"{path}: recipe"),
        filled(LoopConfig(), table.pop("compare", {}), f"{path}: compare"),
        filled(LoopConfig(), table.pop("detail", {}), f"{path}: detail"),
    )
    if plan.views.side % 32:
        raise UsageError(f"{path}: views: side = {plan.views.side}: type a multiple of 32")
    if plan.recipe.hold_out < 2:
        raise UsageError(f"{path}: recipe: hold_out = {plan.recipe.hold_out}: type 2 or more, each so-many-th photo")
    if plan.recipe.draw.photos < 2:
        raise UsageError(f"{path}: recipe.draw: photos = {plan.recipe.draw.photos}: type 2 or more, one is the example")
    return filled(plan, table, str(path))

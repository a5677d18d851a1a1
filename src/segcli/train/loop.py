"""One training loop for every system: resume, accumulation, autocast, averaged weights, a log of JSON lines.

A recipe supplies a model, batches and a function from a batch to a loss; the loop supplies everything else. Under
`torchrun` every process draws batches of its own and the gradients are averaged; alone it needs no process group.
(DistributedDataParallel would have to see every forward pass; a recipe that answers several rounds makes many.)
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from segcli.core.errors import UsageError
from segcli.train import sharding
from segcli.train.state import load_state, save_state

Batch = TypeVar("Batch")
Losses = dict[str, Tensor]
Groups = Callable[[list[tuple[str, nn.Parameter]], float], list[dict[str, Any]]]
"""From named parameters and the weight decay to the optimiser's parameter groups."""


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast. `minutes` ends a leg early; the next leg goes on from its state."""

    steps: int = 10_000
    minutes: float = math.inf
    lr: float = 1e-3
    final_lr: float = 0.02  # of `lr`, at the end of the cosine
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 5.0
    accumulate: int = 1
    average: float = 0.999  # decay of the exponential moving average of the weights
    autocast: bool = True  # bf16
    save_every: int = 500
    validate_every: int = 1000
    log_every: int = 20
    seed: int = 0


PATIENCE = 20
"""So many steps in a row without a finite gradient are no accident: every further one would be for nothing."""


class Validate(Protocol):
    """Scores a model; called with the averaged weights in place."""

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Numbers for the log."""
        ...


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine down to `final_lr` of the peak."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    return config.lr * (config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * done)))


def train(
    model: nn.Module,
    batches: Callable[[int], Iterator[Batch]],
    loss_of: Callable[[nn.Module, Batch], Losses],
    config: LoopConfig,
    out: Path,
    *,
    validate: Validate | None = None,
    device: torch.device | str = "cpu",
    groups: Groups | None = None,
    shards: Callable[[nn.Module], Iterable[nn.Module]] | None = None,
) -> int:
    """Train until `steps` or `minutes`; returns the step reached. State, log and averaged weights go to `out`.

    batches: from a seed to an endless iterator; every leg and every process gets a seed of its own.
    loss_of: from model and batch to named losses; their sum is minimised.
    groups:  the optimiser's parameter groups, each with a "scale" of the learning rate if it has one of its own; by
             default all learn alike, and only matrices and kernels decay.
    shards:  the modules whose parameters several processes hold together and not each for itself.
    A step whose gradient is not finite changes nothing. Raises UsageError when `PATIENCE` steps in a row are so, or the
    weights themselves: the state of before is kept, and a plan with a lower rate goes on from it.
    """
    torch.manual_seed(config.seed)
    device = torch.device(device)
    out.mkdir(parents=True, exist_ok=True)
    rank = int(os.environ.get("RANK", "0"))
    model = model.to(device)
    processes = _join(device)
    spread = shards is not None and processes > 1
    if shards is not None and processes > 1:
        sharding.shard(shards(model), device)
    trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW((groups or decayed)(trainable, config.weight_decay), lr=config.lr)
    average = {n: p.detach().clone() for n, p in trainable}
    step = _resume(out / "state.pt", model, optimiser, average, device)
    stream = batches(first_seed(config.seed, rank) + step)
    started, seen = time.monotonic(), 0.0
    model.train()
    running: dict[str, float] = {}
    failed = 0
    while step < config.steps and time.monotonic() - started < config.minutes * 60:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config) * group.get("scale", 1.0)
        for _ in range(config.accumulate):
            batch = next(stream)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.autocast):
                losses = loss_of(model, batch)
            total = torch.stack(list(losses.values())).sum() / config.accumulate
            total.backward()  # type: ignore[no-untyped-call]
            # One transfer: a device that is asked for each loss alone waits as often.
            values = torch.stack([value.detach() for value in losses.values()]).tolist()
            for name, value in zip(losses, values, strict=True):
                running[name] = running.get(name, 0.0) + value
            seen += 1
        if processes > 1:
            _average_gradients([p for _, p in trainable], processes)
        norm = sharding.clip([p for _, p in trainable], config.clip)
        if torch.isfinite(norm):
            optimiser.step()
            failed = 0
        else:
            failed += 1
            if failed == PATIENCE:
                raise _diverged(out, step + 1, f"no finite gradient in {PATIENCE} steps")
        optimiser.zero_grad(set_to_none=True)
        step += 1
        decay = min(config.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in trainable:
                average[name].lerp_(parameter, 1 - decay)
        if rank == 0 and step % config.log_every == 0:
            means = {k: round(v / seen, 4) for k, v in running.items()}
            _log(
                out,
                {"step": step, "lr": round(learning_rate(step, config), 6), "norm": round(float(norm), 3)}
                | means
                | {"seconds": round(time.monotonic() - started, 1)},
            )
            running, seen = {}, 0.0
        if step % config.save_every == 0 or step == config.steps:
            _check_finite(out, step, trainable, average)
            _save(out / "state.pt", model, optimiser, average, step, config, rank, spread)
        if validate is not None and step % config.validate_every == 0 and (rank == 0 or spread):
            scores = _with_average(model, average, partial(validate, model, step))
            if rank == 0:
                _log(out, {"step": step, "validation": scores})
            model.train()
    _check_finite(out, step, trainable, average)
    _save(out / "state.pt", model, optimiser, average, step, config, rank, spread)
    if processes > 1:
        torch.distributed.barrier()  # whoever goes on reads what the first process wrote
    return step


def first_seed(seed: int, rank: int) -> int:
    """The seed of a process's first batches; a leg that goes on at step n asks for n more than it."""
    return seed + 1000 * rank


def averaged(model: nn.Module, state: Path) -> dict[str, Tensor]:
    """The model's state dict with the averaged weights of a saved state in place of the raw ones."""
    saved = load_state(state)
    return {**saved["model"], **saved["average"]}


def _check_finite(out: Path, step: int, trainable: list[tuple[str, nn.Parameter]], average: dict[str, Tensor]) -> None:
    """Raise UsageError before a state that nobody can go on from replaces one that somebody can."""
    for name, parameter in trainable:
        if not (bool(torch.isfinite(parameter).all()) and bool(torch.isfinite(average[name]).all())):
            raise _diverged(out, step, f"{name} is not finite")


def _diverged(out: Path, step: int, what: str) -> UsageError:
    kept = "the state saved before is kept" if (out / "state.pt").exists() else "nothing was saved yet"
    return UsageError(f"{out}: step {step}: {what}; {kept}; lower lr or clip in the plan, or look for broken photos")


def _join(device: torch.device) -> int:
    """Join torchrun's process group, if there is one; returns how many processes train together."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return processes


def _average_gradients(parameters: list[nn.Parameter], processes: int) -> None:
    """Mean of each gradient over all processes; one that a process did not need counts as zero there."""
    for parameter in parameters:
        if isinstance(parameter, DTensor):
            continue  # averaged when it was spread
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= processes


def decayed(parameters: list[tuple[str, nn.Parameter]], decay: float, scale: float = 1.0) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only, not for biases, norms and embeddings of one dimension.

    scale: of the learning rate.
    """
    wide, flat = ([p for _, p in parameters if (p.ndim > 1) == many] for many in (True, False))
    return [
        {"params": wide, "weight_decay": decay, "scale": scale},
        {"params": flat, "weight_decay": 0.0, "scale": scale},
    ]


def _with_average(model: nn.Module, average: dict[str, Tensor], score: Callable[[], dict[str, float]]) -> Any:
    own = {n: p.detach().clone() for n, p in model.named_parameters() if n in average}
    model.load_state_dict(average, strict=False)
    try:
        return score()
    finally:
        model.load_state_dict(own, strict=False)


def _save(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
    step: int,
    config: LoopConfig,
    rank: int,
    spread: bool,
) -> None:
    """Written by the first process; where parameters are spread, all of them gather it."""
    if rank and not spread:
        return
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    weights = {n: t for n, t in model.state_dict().items() if n not in frozen}
    state: dict[str, Any] = {"model": weights, "optimiser": optimiser.state_dict(), "average": average, "step": step}
    if spread:
        state = sharding.whole(state)
        if rank:
            return
    save_state(path, state | {"config": asdict(config)})


def _resume(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor], device: torch.device
) -> int:
    """Put a saved state back; returns its step, 0 without one. Raises UsageError for another network's or plan's."""
    if not path.exists():
        return 0
    saved = load_state(path, device)
    try:
        return _restored(saved, model, optimiser, average)
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        words = " ".join(str(error).split())[:120]
        raise UsageError(
            f"{path}: belongs to a plan with other sizes or legs ({words}); take {path.parent} away, or change --out"
        ) from error


def _restored(
    saved: dict[str, Any], model: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]
) -> int:
    own = model.state_dict()
    model.load_state_dict({n: sharding.placed(own[n], t) for n, t in saved["model"].items() if n in own}, strict=False)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for index, moments in saved["optimiser"]["state"].items():
        for name, value in moments.items():
            if value.shape == parameters[index].shape:
                moments[name] = sharding.placed(parameters[index], value)
    optimiser.load_state_dict(saved["optimiser"])
    for name, value in saved["average"].items():
        if value.shape != average[name].shape:  # one value would be spread over all
            raise ValueError(f"{name} is {list(value.shape)}, not {list(average[name].shape)}")
        average[name].copy_(sharding.placed(average[name], value))
    return int(saved["step"])


def _log(out: Path, line: dict[str, Any]) -> None:
    """A line of JSON, which has no NaN and no infinity: null stands for them."""
    line = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")

"""A tuned prompt for seggpt-nano: the memory of an example becomes a parameter, the network stays as it is.

SegGPT learns a prompt's pixels (arXiv 2304.03284, section 3.4). To this member an example is a memory of cells, so what
is learned are the cells' keys and marks, for each id its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.core.errors import UsageError
from segcli.core.example import Example, Task
from segcli.models.seggpt.nano import SegGPTNano
from segcli.models.seggpt.nano_looks import WHOLE, look, shares
from segcli.models.seggpt.nano_memory import Memory

_CLEAR = 0.02  # marks begin so far from 0 and 1 at least, where their gradient still lives


def begun(lesson: Mapping[int, Memory], task: Task) -> dict[str, Tensor]:
    """Tensors that say what `lesson` says, for each id and space keys [M, C] and the logits of marks [M].

    Raises UsageError for an id of the task that the lesson does not show.
    """
    missing = [number for number in task.ids if number not in lesson]
    if missing:
        raise UsageError(f"no example shows id {missing[0]}; seggpt-nano is tuned from examples that show all of them")
    tensors = {}
    for number in task.ids:
        memory = lesson[number]
        for space, (keys, marks) in enumerate(zip(memory.keys, memory.of(0), strict=True)):
            tensors[f"{number}.keys.{space}"] = keys.detach().float().clone()
            tensors[f"{number}.marks.{space}"] = marks.detach().float().clamp(_CLEAR, 1 - _CLEAR).logit()
    return tensors


def taught(network: SegGPTNano, tensors: Mapping[str, Tensor], task: Task) -> dict[int, Memory]:
    """The memories that tuned tensors stand for. Raises UsageError for tensors that are not such as `begun` gives."""
    widths = network.key_widths
    wanted = {f"{n}.{part}.{s}" for n in task.ids for part in ("keys", "marks") for s in range(len(widths))}
    if set(tensors) != wanted:
        odd = sorted(wanted ^ set(tensors))
        raise UsageError(f"the prompt's tensors are not those of seggpt-nano for this task (first odd one: {odd[0]})")
    device = network.gain.device
    lesson = {}
    for number in task.ids:
        keys, marks = ([tensors[f"{number}.{p}.{s}"] for s in range(len(widths))] for p in ("keys", "marks"))
        for space, (k, m) in enumerate(zip(keys, marks, strict=True)):
            if k.ndim != 2 or k.shape[1] != widths[space] or m.shape != k.shape[:1] or not len(k):
                raise UsageError(f"the prompt's tensor {number}.keys.{space} is of another size; tune it again")
        lesson[number] = Memory(
            tuple(F.normalize(k.to(device).float(), dim=1) for k in keys),
            tuple(m.to(device).float().sigmoid()[:, None] for m in marks),
        )
    return lesson


def tuning_loss(network: SegGPTNano, tensors: Mapping[str, Tensor], queries: Sequence[Example], task: Task) -> Tensor:
    """Cross-entropy and dice of the answers for each id of each query, a mean; ignored pixels don't count."""
    lesson, side = taught(network, tensors, task), network.config.side
    losses = []
    for query in queries:
        device = network.gain.device
        with torch.no_grad():
            features = network.features(look(query.photo.pixels, WHOLE, side).to(device))
        (keys,) = features.photos()
        found = [network.evidence(keys, lesson[number]) for number in task.ids]
        logits = network.answer(features, [0] * len(found), found, ["semantic"] * len(found)).logits
        assert logits is not None
        truth = torch.stack([shares(query.ids == number, WHOLE, side) for number in task.ids]).to(device)
        known = torch.ones_like(truth[0]) if query.ignore is None else 1 - shares(query.ignore, WHOLE, side).to(device)
        losses.append(_loss(logits[:, 0], truth, known))
    return torch.stack(losses).mean()


def _loss(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Of logits and truth [K, h, w]; dice is smoothed by 1."""
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    inside = logits.sigmoid() * known
    overlap = (inside * truth).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (inside.sum((1, 2)) + (truth * known).sum((1, 2)) + 1)
    return 2 * (each * known).sum() / (known.sum().clamp(min=1) * len(logits)) + dice.mean()

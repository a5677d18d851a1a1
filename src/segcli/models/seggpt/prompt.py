"""In-context tuning: an example that is learned while the model stays frozen (arXiv 2304.03284, section 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segcli.core.errors import UsageError
from segcli.core.example import Example, Task
from segcli.models.seggpt.embedding import INSTANCE, SEMANTIC
from segcli.models.seggpt.loss import hidden_pixels, in_context_loss
from segcli.models.seggpt.model import SegGPT, half_mask
from segcli.models.seggpt.palette import colors_of, paint
from segcli.models.seggpt.places import paint_places
from segcli.models.seggpt.prepost import model_input, resized_mask, resized_photo

INITIAL_STD = 0.02
CLASSES, PLACES = "", "places."
"""Before the names of a prompt's tensors: the one that paints ids, and the panoptic task's second one."""


class TunedPrompt(nn.Module):
    """A prompt photo and a prompt target, both [1, 3, side, side] in normalised space.

    The paper learns "an image tensor" without its shape or start; both halves of an example, started from a real
    pair or from small noise, are ours.
    """

    def __init__(self, photo: Tensor, target: Tensor) -> None:
        super().__init__()
        self.photo = nn.Parameter(photo.detach().clone())
        self.target = nn.Parameter(target.detach().clone())

    @classmethod
    def from_noise(cls, side: int, generator: torch.Generator) -> TunedPrompt:
        """A start without any example: N(0, 0.02 squared)."""
        photo, target = (torch.randn(1, 3, side, side, generator=generator) * INITIAL_STD for _ in range(2))
        return cls(photo, target)


def prompt_loss(
    model: SegGPT,
    prompt: TunedPrompt,
    queries: Tensor,
    labels: Tensor,
    kind: Tensor | None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss of painting `labels` for `queries` from the prompt, on the lower half: (scalar, canvas [B, 3, H, W]).

    queries, labels: normalised [B, 3, side, side]. valid: [B, 1, side, side], 0 for pixels that do not count; all do
    when it is None. Gradients reach the prompt alone if the model's parameters do not require any; that is the
    caller's to see to.
    """
    return _painted_loss(model, prompt.photo, prompt.target, queries, labels, kind, valid)


def _painted_loss(
    model: SegGPT,
    photo: Tensor,
    target: Tensor,
    queries: Tensor,
    labels: Tensor,
    kind: Tensor | None,
    valid: Tensor | None,
) -> tuple[Tensor, Tensor]:
    upper = (len(queries), -1, -1, -1)
    photos = torch.cat([photo.expand(upper), queries], dim=2)
    targets = torch.cat([target.expand(upper), labels], dim=2)
    grid = (photos.shape[2] // model.config.patch_size, photos.shape[3] // model.config.patch_size)
    mask = half_mask(grid).to(photos.device)
    canvas = model(photos, targets, mask, kind, recompute=True)
    hidden = hidden_pixels(mask, grid, model.config.patch_size)
    counted = torch.ones_like(targets)
    if valid is not None:
        counted[:, :, targets.shape[3] :] = valid
    return in_context_loss(canvas, targets, hidden, counted), canvas


def parts_of(task: Task) -> dict[str, int]:
    """The prompts that a task needs: the beginning of their tensors' names, and the kind that each is asked as."""
    if task.kind == "panoptic":
        return {CLASSES: SEMANTIC, PLACES: INSTANCE}
    return {CLASSES: SEMANTIC if task.kind == "semantic" else INSTANCE}


def starting_tensors(model: SegGPT, examples: Sequence[Example], task: Task) -> dict[str, Tensor]:
    """Prompts for `task` to begin with, float32 [1, 3, side, side] each; see `segcli.models.api.Tunable.tunable`.

    Raises UsageError for more than one example: the published prompt is one.
    """
    if len(examples) > 1:
        raise UsageError(f"{len(examples)} examples to begin from; SegGPT tunes one prompt, give one or none")
    side, like = model.config.side, torch.empty(0)
    tensors: dict[str, Tensor] = {}
    for part in parts_of(task):
        if examples:
            photo = model_input([resized_photo(examples[0].photo.pixels, side)], like)
            target = model_input([resized_mask(_painted(examples[0], task, part), side)], like)
        else:
            noise = TunedPrompt.from_noise(side, torch.Generator().manual_seed(0))
            photo, target = noise.photo.detach(), noise.target.detach()
        tensors |= {f"{part}photo": photo, f"{part}target": target}
    return tensors


def tuning_loss(model: SegGPT, tensors: Mapping[str, Tensor], queries: Sequence[Example], task: Task) -> Tensor:
    """Mean loss over the prompts of a task; see `segcli.models.api.Tunable.tuning_loss`."""
    side, like = model.config.side, model.embedding.positions
    photos = model_input([resized_photo(query.photo.pixels, side) for query in queries], like)
    valid = torch.stack([torch.from_numpy(_known(query, side)) for query in queries])[:, None].to(photos)
    losses = []
    for part, kind in parts_of(task).items():
        labels = model_input([resized_mask(_painted(query, task, part), side) for query in queries], like)
        photo, target = (tensors[f"{part}{half}"].to(like) for half in ("photo", "target"))
        kinds = torch.full((len(queries),), kind, device=like.device)
        losses.append(_painted_loss(model, photo, target, photos, labels, kinds, valid)[0])
    return torch.stack(losses).mean()


def checked_prompts(model: SegGPT, tensors: Mapping[str, Tensor], task: Task) -> dict[str, tuple[Tensor, Tensor]]:
    """Photo and target of each of the task's prompts, as the model reads them. Raises UsageError for other tensors."""
    side, like = model.config.side, model.embedding.positions
    names = {f"{part}{half}" for part in parts_of(task) for half in ("photo", "target")}
    if tensors.keys() != names:
        raise UsageError(f"a {task.kind} prompt of SegGPT has {', '.join(sorted(names))}, not {', '.join(tensors)}")
    for name in sorted(names):
        if tuple(tensors[name].shape) != (1, 3, side, side):
            raise UsageError(f"the prompt's {name} is {tuple(tensors[name].shape)}, the model reads 1x3x{side}x{side}")
    return {part: (tensors[f"{part}photo"].to(like), tensors[f"{part}target"].to(like)) for part in parts_of(task)}


def _painted(example: Example, task: Task, part: str) -> NDArray[np.uint8]:
    """The example's target picture for one of the prompts, uint8 [H, W, 3]."""
    if part == CLASSES:
        return paint(example.ids, colors_of(task.ids))
    if example.instances is None:
        raise UsageError(f"{example.photo.name}: does not say which thing a pixel is of; panoptic data does")
    return paint_places(example.instances)


def _known(example: Example, side: int) -> NDArray[np.bool_]:
    """Which pixels count at the model's size, bool [side, side]."""
    if example.ignore is None:
        return np.ones((side, side), np.bool_)
    grey = (~example.ignore).astype(np.uint8)
    return np.asarray(resized_mask(np.repeat(grey[..., None], 3, axis=2), side)[..., 0] > 0)

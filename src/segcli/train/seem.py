"""The recipe of SEEM's interactive part: simulated users over training views (SEEM, section 3.3 and appendix)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from queue import Queue
from threading import Thread
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segcli.models.seem.click_path import PromptMaps
from segcli.models.seem.nano import SeemNano
from segcli.train.chance import Chance
from segcli.train.device_users import DeviceUsers
from segcli.train.simulate import loose_box, next_click, rough_mask, stroke
from segcli.train.views import TrainingPhoto, View, ViewConfig, views

_CELL = 2  # targets are at stride 2
_T = TypeVar("_T")


@dataclass(frozen=True)
class SeemRecipe:
    """What is simulated. Fractions are probabilities; the rest of the objects start with a click."""

    view: ViewConfig = field(default_factory=ViewConfig)
    photos_a_step: int = 5
    rounds: int = 4  # at most; the last one carries the gradient
    first: float = 0.0  # so many sessions end with their first answer; the others after 1 to `rounds` alike
    again: float = (
        0.0  # of the sessions with one answer: the answer is the second to the same prompts, see `look_again`
    )
    box: float = 0.10
    scribble: float = 0.06
    rough: float = 0.06
    forget: float = 0.12  # several clicks without the previous answer, as when all are given at once
    hard: float = 0.4  # the previous answer as a binary mask, as files keep it
    careful: float = 0.6  # clicks by the benchmark's rule; the others anywhere in the region
    auxiliary: float = 0.4  # weight of the losses before the last prediction
    alternatives: float = 0.3  # weight of the best of all answers beside the first one
    detail: bool = True  # False: losses at stride 4 only (faster; the detail head is then trained in a leg of its own)


@dataclass(frozen=True)
class ObjectBatch:
    """N objects on B views. images: uint8 [B, 3, S, S]; truth: [N, S/2, S/2] in 0..1; valid: [B, S/2, S/2].

    chance: with what their users are simulated on the device; None for users on the CPU.
    """

    images: Tensor
    truth: Tensor
    valid: Tensor
    image_of: Tensor
    chance: Chance | None = None

    def to(self, device: torch.device) -> ObjectBatch:
        """The same batch on a device."""
        images, truth, valid, image_of = (t.to(device) for t in (self.images, self.truth, self.valid, self.image_of))
        return ObjectBatch(images, truth, valid, image_of, self.chance)


def batches(photos: Sequence[TrainingPhoto], recipe: SeemRecipe, seed: int) -> Iterator[ObjectBatch]:
    """Endless batches, prepared a few ahead in a thread."""

    def fresh() -> Iterator[ObjectBatch]:
        stream = views(photos, recipe.view, seed)
        while True:
            yield collate([next(stream) for _ in range(recipe.photos_a_step)])

    return ahead(fresh(), 4)


def collate(drawn: Sequence[View]) -> ObjectBatch:
    """Stack views; objects are numbered through."""
    images = torch.from_numpy(np.stack([v.pixels for v in drawn])).permute(0, 3, 1, 2)
    truth = torch.from_numpy(np.concatenate([v.targets for v in drawn])).float() / 255
    valid = torch.from_numpy(np.stack([v.valid for v in drawn]))
    image_of = torch.repeat_interleave(torch.arange(len(drawn)), torch.tensor([len(v.targets) for v in drawn]))
    return ObjectBatch(images, truth, valid, image_of)


class Users:
    """The prompts of N objects so far, in cells of stride 2, and how the next round's prompts are drawn."""

    def __init__(self, batch: ObjectBatch, recipe: SeemRecipe, rng: np.random.Generator) -> None:
        self.recipe, self.rng = recipe, rng
        self.device = batch.truth.device
        self.truth: NDArray[np.bool_] = (batch.truth > 0.5).cpu().numpy()
        self.valid: NDArray[np.bool_] = batch.valid[batch.image_of].cpu().numpy()
        count, h, w = self.truth.shape
        self.points: list[list[tuple[float, float, float]]] = [[] for _ in range(count)]
        self.region = np.full((count, 1, h // 2, w // 2), 0.5, np.float32)
        self.previous = torch.zeros(count, 1, h // 2, w // 2)
        for index in range(count):
            self._start(index)

    def _start(self, index: int) -> None:
        truth, rng, recipe = self.truth[index], self.rng, self.recipe
        draw = rng.random()
        if draw < recipe.box and (box := loose_box(truth, rng)) is not None:
            x0, y0, x1, y1 = (v // 2 for v in box)
            self.region[index] = 0
            self.region[index, 0, y0 : y1 + 1, x0 : x1 + 1] = 1
            return
        draw -= recipe.box
        if draw < recipe.scribble and (marks := stroke(truth, rng)):
            self.points[index] += [(m.x * _CELL + 0.5, m.y * _CELL + 0.5, 1.0) for m in marks]
            return
        draw -= recipe.scribble
        if draw < recipe.rough:
            rough = torch.from_numpy(rough_mask(truth, rng)).float()
            self.previous[index] = F.avg_pool2d(rough[None], 2)
            if rng.random() < 0.5:
                return
            self.click(index, rough.numpy() > 0.5)
            return
        self.click(index, np.zeros_like(truth))

    def click(self, index: int, answer: NDArray[np.bool_]) -> None:
        """Add the click that this user makes after `answer` [S/2, S/2]; none when nothing is wrong."""
        recipe = self.recipe
        click = next_click(self.truth[index], answer, self.valid[index], self.rng, careful=recipe.careful)
        if click is not None:
            self.points[index].append((click.x * _CELL + 0.5, click.y * _CELL + 0.5, float(click.positive)))

    def answer(self, logits: Tensor) -> None:
        """Let every user see the answers [N, 1, S/2, S/2] and click again."""
        probability = logits.float().sigmoid().cpu()
        shown = probability
        if self.rng.random() < self.recipe.hard:
            shown = (probability > 0.5).float()
        self.previous = F.avg_pool2d(shown, 2)
        forgotten = torch.from_numpy(self.rng.random(len(self.previous)) < self.recipe.forget)
        self.previous[forgotten] = 0
        taken = (probability[:, 0] > 0.5).numpy()
        for index in range(len(self.points)):
            self.click(index, taken[index])

    def look_again(self, logits: Tensor) -> None:
        """Show the first answers [N, 1, S/2, S/2] to the model itself, as an ask without a previous mask does.

        The first look at a photo is the coarser one: its probabilities are averaged over up to eight cells here.
        """
        probability = F.avg_pool2d(logits.float().sigmoid().cpu(), 2)
        factor = int(self.rng.choice((1, 2, 4, 8)))
        coarse = F.avg_pool2d(probability, factor)
        self.previous = F.interpolate(coarse, size=probability.shape[-2:], mode="bilinear", align_corners=False)

    def prompts(self) -> PromptMaps:
        """All prompts so far as the model takes them."""
        longest = max(1, max(len(p) for p in self.points))
        points = torch.zeros(len(self.points), longest, 3)
        points[..., 2] = -1
        for index, marks in enumerate(self.points):
            if marks:
                points[index, : len(marks)] = torch.tensor(marks)
        maps = points, torch.from_numpy(self.region), self.previous
        return PromptMaps(*(m.to(self.device) for m in maps))


def loss_of(recipe: SeemRecipe, rng: np.random.Generator, model: nn.Module, batch: ObjectBatch) -> dict[str, Tensor]:
    """Simulate users for some rounds without gradient, then the losses of the last round."""
    assert isinstance(model, SeemNano)
    batch = batch.to(next(model.parameters()).device)
    encoded = model.encode_features(model.encode_backbone(batch.images))
    draw: np.random.Generator | Chance = rng if batch.chance is None else batch.chance
    users = Users(batch, recipe, rng) if batch.chance is None else DeviceUsers(batch, recipe, batch.chance)
    earlier = 0 if draw.random() < recipe.first else int(draw.integers(0, recipe.rounds))
    for _ in range(earlier):
        with torch.no_grad():
            users.answer(model.answer(encoded, users.prompts(), batch.image_of, detail=False).final)
    if recipe.again and not earlier and draw.random() < recipe.again:
        with torch.no_grad():
            users.look_again(model.answer(encoded, users.prompts(), batch.image_of, detail=False).final)
    answer = model.answer(encoded, users.prompts(), batch.image_of, detail=recipe.detail)
    truth, valid = batch.truth[:, None], batch.valid[batch.image_of][:, None].float()
    coarse, coarse_valid = F.avg_pool2d(truth, 2), (F.avg_pool2d(valid, 2) > 0.99).float()
    if recipe.detail:
        losses = mask_losses("", answer.final, truth, valid)
    else:
        losses = mask_losses("", answer.alternatives[:, :1], coarse, coarse_valid)
    for index, logits in enumerate(answer.auxiliary):
        for name, value in mask_losses(f"aux{index}_", logits, coarse, coarse_valid).items():
            losses[name] = value * recipe.auxiliary / len(answer.auxiliary)
    losses["alternatives"] = recipe.alternatives * best_of(answer.alternatives, coarse, coarse_valid)
    return losses


def mask_losses(prefix: str, logits: Tensor, truth: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Binary cross-entropy (mean over valid cells) and dice (with +1 smoothing, as the paper's), each a mean over N."""
    logits = logits.float()
    bce, dice = _bce_and_dice(logits, truth, valid)
    return {f"{prefix}bce": 2.0 * bce.mean(), f"{prefix}dice": dice.mean()}


def best_of(alternatives: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Loss of the best of K answers [N, K, h, w]: an ambiguous click may be read in several ways."""
    count = alternatives.shape[1]
    bce, dice = _bce_and_dice(
        alternatives.float().flatten(0, 1)[:, None],
        truth.repeat_interleave(count, 0),
        valid.repeat_interleave(count, 0),
    )
    return (2.0 * bce + dice).view(-1, count).amin(1).mean()


def _bce_and_dice(logits: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    cells = valid.sum((1, 2, 3)).clamp(min=1)
    bce = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid() * valid
    inside = truth * valid
    overlap = (probability * inside).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((1, 2, 3)) + inside.sum((1, 2, 3)) + 1)
    return (bce * valid).sum((1, 2, 3)) / cells, dice


def ahead(stream: Iterator[_T], depth: int) -> Iterator[_T]:
    """The elements of `stream`, up to `depth` of them made in a thread before they are asked for."""
    queue: Queue[_T | Exception] = Queue(depth)

    def fill() -> None:
        try:
            for element in stream:
                queue.put(element)
        except Exception as error:  # must reach the trainer, which waits for the next batch
            queue.put(error)

    Thread(target=fill, daemon=True).start()
    while True:
        element = queue.get()
        if isinstance(element, Exception):
            raise element
        yield element

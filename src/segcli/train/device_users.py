"""The simulated users of seem.Users for all objects of a batch at once, on the device that the batch is on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.seem.click_path import PromptMaps
from segcli.train.chance import Chance
from segcli.train.device_clicks import loose_boxes, next_clicks, rough_masks, strokes

if TYPE_CHECKING:
    from segcli.train.seem import ObjectBatch, SeemRecipe

_CELL = 2  # targets are at stride 2
_NOTHING = -1.0  # the sign of no point


class DeviceUsers:
    """The prompts of N objects so far, and how the next round's prompts are drawn."""

    def __init__(self, batch: ObjectBatch, recipe: SeemRecipe, chance: Chance) -> None:
        self.recipe, self.chance = recipe, chance
        self.truth = batch.truth > 0.5
        self.valid = batch.valid[batch.image_of]
        self.device = batch.truth.device
        count, h, w = self.truth.shape
        self.points = torch.zeros(count, 0, 3, device=self.device)
        self.region = torch.full((count, 1, h // 2, w // 2), 0.5, device=self.device)
        self.previous = torch.zeros(count, 1, h // 2, w // 2, device=self.device)
        self._start()

    def _start(self) -> None:
        recipe, count = self.recipe, len(self.truth)
        draw = self.chance.uniform(count)
        shares = torch.tensor([recipe.box, recipe.scribble, recipe.rough], dtype=torch.float64).cumsum(0)
        kind = torch.bucketize(draw, shares, right=True)  # 0 box, 1 scribble, 2 rough mask, 3 click
        boxed, scribbled, rough = ((kind == k).nonzero()[:, 0].to(self.device) for k in range(3))
        silent = (kind < 2) | ((kind == 2) & self.chance.hits(0.5, count))
        answer = torch.zeros_like(self.truth)
        if len(boxed):
            self._box(boxed)
        if len(scribbled):
            walk, inside = strokes(self.truth[scribbled], self.chance)
            marks = torch.zeros(count, walk.shape[1], 2, dtype=walk.dtype, device=self.device)
            drawn = torch.zeros(count, walk.shape[1], dtype=torch.bool, device=self.device)
            self._add(marks.index_copy(0, scribbled, walk), True, drawn.index_copy(0, scribbled, inside))
        if len(rough):
            bad = rough_masks(self.truth[rough], self.chance)
            self.previous.index_copy_(0, rough, F.avg_pool2d(bad[:, None].float(), 2))
            answer.index_copy_(0, rough, bad)
        self._click(answer, ~silent.to(self.device))

    def _box(self, boxed: Tensor) -> None:
        x0, y0, x1, y1 = (loose_boxes(self.truth[boxed], self.chance) // 2)[:, :, None].unbind(1)
        ys, xs = (torch.arange(side, device=self.device) for side in self.region.shape[2:])
        rows, columns = (ys >= y0) & (ys <= y1), (xs >= x0) & (xs <= x1)
        inside = rows[:, :, None] & columns[:, None, :]
        self.region.index_copy_(0, boxed, inside[:, None].float())

    def _click(self, answer: Tensor, clicking: Tensor | None = None) -> None:
        clicks = next_clicks(self.truth, answer, self.valid, self.chance, careful=self.recipe.careful)
        found = clicks.found if clicking is None else clicks.found & clicking
        self._add(clicks.xy[:, None], clicks.positive[:, None], found[:, None])

    def _add(self, xy: Tensor, positive: Tensor | bool, there: Tensor) -> None:
        """More points [N, P, 2] in cells; those that are not `there` [N, P] are no points."""
        sign = torch.as_tensor(positive, device=self.device).float().expand(there.shape)
        sign = torch.where(there, sign, _NOTHING)
        self.points = torch.cat([self.points, torch.cat([xy * _CELL + 0.5, sign[..., None]], 2)], 1)

    def answer(self, logits: Tensor) -> None:
        """Let every user see the answers [N, 1, S/2, S/2] and click again."""
        probability = logits.float().sigmoid()
        taken = probability > 0.5
        shown = taken.float() if self.chance.random() < self.recipe.hard else probability
        forgotten = self.chance.hits(self.recipe.forget, len(shown)).to(self.device)
        self.previous = F.avg_pool2d(shown, 2).masked_fill(forgotten[:, None, None, None], 0)
        self._click(taken[:, 0])

    def look_again(self, logits: Tensor) -> None:
        """Show the first answers to the model itself, coarser than they are (see seem.Users.look_again)."""
        probability = F.avg_pool2d(logits.float().sigmoid(), 2)
        coarse = F.avg_pool2d(probability, 2 ** self.chance.integers(0, 4))
        self.previous = F.interpolate(coarse, size=probability.shape[-2:], mode="bilinear", align_corners=False)

    def prompts(self) -> PromptMaps:
        """All prompts so far as the model takes them; points that are none have the sign -1."""
        return PromptMaps(self.points, self.region, self.previous)

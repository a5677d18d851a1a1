"""Training views made on the device, a batch at a time: the counterpart of views.py for a model that is fed faster.

What happens to a batch is decided by a few numbers drawn on the CPU (chance.py); whatever has pixels stays on the
device. The n-th batch is a function of the seed and n alone: a run that was stopped goes on with the batches that it
would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.core.errors import StorageError
from segcli.train.chance import Chance
from segcli.train.device_colour import Colour, gaussian, recolour
from segcli.train.device_targets import PASTED, Granularity, ViewLabels, pick_targets, target_masks
from segcli.train.resample import filters, nearest, resample
from segcli.train.resident import IDS, ResidentPhotos
from segcli.train.seem import ObjectBatch
from segcli.train.views import IGNORE, PAD, ViewConfig

_PASTED_WEIGHT = 2.0
_ATTEMPTS = 10


@dataclass(frozen=True)
class DeviceViewConfig:
    """What views on the device have beyond `ViewConfig`.

    stretch: boxes are up to this much wider than high, or higher than wide (0.1: 10 %).
    feather: so many of the pasted objects have a soft edge, up to 2.5 pixels.
    """

    stretch: float = 0.0
    feather: float = 0.0
    colour: Colour = field(default_factory=Colour)
    granularity: Granularity = field(default_factory=Granularity)


@dataclass(frozen=True)
class DeviceViews:
    """Batches of `count` views of resident photos."""

    photos: ResidentPhotos
    view: ViewConfig
    config: DeviceViewConfig
    count: int
    seed: int = 0

    def stream(self, number: int = 0) -> Iterator[ObjectBatch]:
        """The batches `number`, `number` + 1, … without end."""
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> ObjectBatch:
        """Batch `number`. Raises StorageError when ten draws in a row show no target."""
        for attempt in range(_ATTEMPTS):
            batch = self._draw(self._photos(number), Chance(self.seed, number, attempt))
            if len(batch.truth):
                return batch
        raise StorageError(f"none of {len(self.photos)} photos shows an object large enough to train on")

    def _photos(self, number: int) -> Tensor:
        """Which photos are in a batch: each once an epoch, in a new order. int64 [count] on the CPU."""
        places = torch.arange(number * self.count, (number + 1) * self.count)
        epochs = {int(e): Chance(self.seed, int(e)).permutation(len(self.photos)) for e in places // len(self.photos)}
        return torch.stack([epochs[int(p) // len(self.photos)][int(p) % len(self.photos)] for p in places])

    def _draw(self, index: Tensor, chance: Chance) -> ObjectBatch:
        photos, side, device = self.photos, self.view.side, self.photos.device
        focus, boxes = draw_boxes(photos, index, self.view.zoom, self.config.stretch, chance)
        flip = chance.hits(0.5, len(index))
        images, labels, pieces = cut(photos, index, boxes, flip, side)
        there = index.to(device)
        weights = F.pad(photos.weights[there], (0, 1))
        pasting = chance.hits(self.view.paste, len(index)).nonzero()[:, 0]
        if len(pasting) and len(photos.donors):
            some = pasting.to(device)
            pasted, cover = paste(photos, images[some], labels[some], self.config.feather, chance)
            images = images.index_copy(0, some, pasted)
            labels = labels.index_copy(0, some, torch.where(cover, PASTED, labels[some]))
            pieces = pieces.index_copy(0, some, torch.where(cover, 0, pieces[some]))
            weights[some, PASTED] = _PASTED_WEIGHT
        view = ViewLabels(labels, pieces, weights, F.pad(photos.classes[there], (0, 1)), photos.owners[there])
        least = max(1, round(self.view.min_area * side * side))
        ids, taken = pick_targets(view, focus.to(device), self.view.targets, least, chance)
        masks = target_masks(view, ids, least, self.config.granularity, chance)
        truth = F.avg_pool2d(masks[taken].float()[:, None], 2)[:, 0]
        valid = F.avg_pool2d((labels != IGNORE).float()[:, None], 2)[:, 0] > 0.99
        images = recolour(images, self.config.colour, chance).round().to(torch.uint8)
        return ObjectBatch(images, truth, valid, taken.nonzero()[:, 0], chance)


def draw_boxes(
    photos: ResidentPhotos, index: Tensor, zoom: float, stretch: float, chance: Chance
) -> tuple[Tensor, Tensor]:
    """What views show: the focused id [B] (-1: the whole photo) and x0, y0, x1, y1 float64 [B, 4], all on the CPU.

    As in views.py: the whole photo or up to 35 % less, sometimes with a margin, or a box around an object that is 1.1
    to 3 times as long as it.
    """
    count = len(index)
    size = photos.sizes[index].flip(1)  # width, height
    longest = size.amax(1)
    whole = longest * chance.uniform(count, low=0.65, high=1.1)
    slack = size - whole[:, None]
    corner = slack.clamp(max=0) + chance.uniform(count, 2) * slack.abs()
    odds = photos.odds[index].cumsum(1)
    drawn = torch.searchsorted(odds, (chance.uniform(count) * odds[:, -1])[:, None], right=True)[:, 0]
    drawn = drawn.clamp(max=IDS - 1)
    around = photos.boxes[index, drawn]
    extent = around[:, 2:] - around[:, :2] + 1
    log3 = torch.log(torch.tensor([1.1, 3.0], dtype=torch.float64))
    side = extent.amax(1) * torch.exp(chance.uniform(count, low=float(log3[0]), high=float(log3[1])))
    side = torch.minimum(side.clamp(min=64), 1.15 * longest)
    middle = (around[:, :2] + around[:, 2:]) / 2
    middle = middle + chance.uniform(count, 2, low=-0.9, high=0.9) * (side[:, None] - extent) / 2
    zoomed = chance.hits(zoom, count) & (odds[:, -1] > 0)
    centre = torch.where(zoomed[:, None], middle, corner + whole[:, None] / 2)
    half = torch.where(zoomed, side, whole)[:, None] / 2
    wider = torch.exp(chance.uniform(count, low=-1, high=1) * torch.log1p(torch.tensor(stretch)) / 2)
    half = torch.stack([half[:, 0] * wider, half[:, 0] / wider], 1)
    return torch.where(zoomed, drawn, -1), torch.cat([centre - half, centre + half], 1)


def cut(photos: ResidentPhotos, index: Tensor, boxes: Tensor, flip: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [B, 4] of photos [B], some mirrored: float32 [B, 3, side, side], ids and pieces int64 [B, side, side].

    Beside the photo pixels are PAD and ids IGNORE.
    """
    device = photos.device
    there, turned = index.to(device), flip.to(device)[:, None]
    left, top, right, bottom = boxes.to(device).unbind(1)
    height, width = photos.sizes[index].to(device).unbind(1)
    stored = photos.pixels.shape[-1]
    across, in_x = filters(left, right, width, side, stored)
    down, in_y = filters(top, bottom, height, side, stored)
    columns, rows = nearest(left, right, width, side), nearest(top, bottom, height, side)
    across = torch.where(turned[..., None], across.flip(1), across)
    columns, in_x = torch.where(turned, columns.flip(1), columns), torch.where(turned, in_x.flip(1), in_x)
    inside = in_y[:, :, None] & in_x[:, None, :]
    images = torch.where(inside[:, None], resample(photos.pixels[there], down, across), PAD)
    place = (there[:, None, None], rows[:, :, None], columns[:, None, :])
    labels = torch.where(inside, photos.labels[place].long(), IGNORE)
    pieces = torch.where(inside, photos.pieces[place].long(), 0)
    return images, labels, pieces


def paste(
    photos: ResidentPhotos, images: Tensor, labels: Tensor, feather: float, chance: Chance
) -> tuple[Tensor, Tensor]:
    """An object of another photo laid over each view: images [B, 3, S, S], and bool [B, S, S] what it covers.

    It is 15 to 70 % as long as the view and up to a quarter of it lies outside. `feather` of them have a soft edge.
    """
    count, side, device = len(images), images.shape[-1], photos.device
    donor, number = photos.donors[(chance.uniform(count) * len(photos.donors)).long()].unbind(1)
    around = photos.boxes[donor, number]
    extent = around[:, 2:] - around[:, :2] + 1
    scale = side * chance.uniform(count, low=0.15, high=0.7) / extent.amax(1)
    size = extent * scale[:, None]
    at = -size / 4 + chance.uniform(count, 2) * (side - size / 2)
    corner = around[:, :2] - at / scale[:, None]
    boxes = torch.cat([corner, corner + (side / scale)[:, None]], 1).to(device)
    height, width = photos.sizes[donor].to(device).unbind(1)
    there, turned = donor.to(device), chance.hits(0.5, count).to(device)[:, None, None]
    across, _ = filters(boxes[:, 0], boxes[:, 2], width, side, photos.pixels.shape[-1])
    down, _ = filters(boxes[:, 1], boxes[:, 3], height, side, photos.pixels.shape[-1])
    across = torch.where(turned, across.flip(1), across)
    mask = (photos.labels[there] == number.to(device)[:, None, None])[:, None]
    layer = resample(torch.cat([photos.pixels[there], mask.to(torch.uint8) * 255], 1), down, across)
    alpha = layer[:, 3:] / 255
    soft = chance.hits(feather, count).nonzero()[:, 0]
    sigma = chance.uniform(count, low=0.7, high=2.5)[soft]
    if len(soft):
        some = soft.to(device)
        alpha = alpha.index_copy(0, some, gaussian(alpha[some], sigma.to(alpha)))
    cover = (alpha[:, 0] > 0.5) & (labels != IGNORE)
    return images + (layer[:, :3] - images) * alpha, cover

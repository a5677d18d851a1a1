"""Training photos on the device: decoded once, padded to one size and kept there as bytes.

A thousand photos of 384 pixels are 0.44 GB of pixels and 0.15 GB of ids (twice that with pieces). What is drawn from a
photo before its pixels are looked at (which object, which part of the photo) is in small tables on the CPU, so that
drawing never waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.train.views import IGNORE, PAD, TrainingPhoto

IDS = 256


@dataclass(frozen=True)
class ResidentPhotos:
    """N photos of at most P x P pixels, each in the upper left corner of its square.

    On the device:
        pixels:  uint8 [N, 3, P, P]; labels: uint8 [N, P, P], IGNORE beside the photo.
        pieces:  uint8 [N, P, P]: a number for each connected piece of an object that is in several, 0 elsewhere.
        owners:  int64 [N, 256] the id whose piece a number is, 0 for none.
        weights: float32 [N, 256] of ids as click targets; classes: int64 [N, 256], 0 for ids without a class.
    On the CPU:
        sizes:  float64 [N, 2] height and width.
        odds:   `weights` again; boxes: float64 [N, 256, 4] x0, y0, x1, y1 of ids, the last row and column inclusive.
        donors: int64 [D, 2] photo and id of what may be pasted elsewhere.
    """

    pixels: Tensor
    labels: Tensor
    pieces: Tensor
    owners: Tensor
    weights: Tensor
    classes: Tensor
    sizes: Tensor
    odds: Tensor
    boxes: Tensor
    donors: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self.pixels.device


def resident(photos: Sequence[TrainingPhoto], device: torch.device | str) -> ResidentPhotos:
    """Photos moved to `device`."""
    count = len(photos)
    side = max(max(p.labels.shape) for p in photos)
    pixels = np.full((count, 3, side, side), PAD, np.uint8)
    labels = np.full((count, side, side), IGNORE, np.uint8)
    pieces = np.zeros((count, side, side), np.uint8)
    owners = np.zeros((count, IDS), np.int64)
    odds = np.zeros((count, IDS), np.float32)
    classes = np.zeros((count, IDS), np.int64)
    boxes = np.zeros((count, IDS, 4))
    numbers: dict[str, int] = {}
    for index, photo in enumerate(photos):
        h, w = photo.labels.shape
        pixels[index, :, :h, :w] = photo.pixels.transpose(2, 0, 1)
        labels[index, :h, :w] = photo.labels
        pieces[index, :h, :w], owners[index] = connected_pieces(photo)
        for number, weight in photo.weights.items():
            odds[index, number] = weight
            boxes[index, number] = _box(photo.labels == number)
        for number, name in photo.names.items():
            classes[index, number] = numbers.setdefault(name, len(numbers) + 1)
    donors = [(index, number) for index, photo in enumerate(photos) for number in photo.donors]
    return ResidentPhotos(
        pixels=torch.from_numpy(pixels).to(device),
        labels=torch.from_numpy(labels).to(device),
        pieces=torch.from_numpy(pieces).to(device),
        owners=torch.from_numpy(owners).to(device),
        weights=torch.from_numpy(odds).to(device),
        classes=torch.from_numpy(classes).to(device),
        sizes=torch.tensor([p.labels.shape for p in photos], dtype=torch.float64),
        odds=torch.from_numpy(odds).double(),
        boxes=torch.from_numpy(boxes),
        donors=torch.tensor(donors, dtype=torch.long).view(-1, 2),
    )


def connected_pieces(photo: TrainingPhoto) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pieces [h, w] of targets that are in several parts (by edges), and the id [256] that each number belongs to.

    A piece is what is left of an object behind another one, or one of several things under one id. Pieces below a
    thousandth of the photo are none.
    """
    from scipy.ndimage import find_objects, label

    pieces = np.zeros(photo.labels.shape, np.uint8)
    owners = np.zeros(IDS, np.int64)
    least = photo.labels.size // 1000
    used = 0
    frames = find_objects(photo.labels)
    for number in photo.weights:
        frame = frames[number - 1] if number <= len(frames) else None
        if frame is None:
            continue
        parts, _ = label(photo.labels[frame] == number)
        large = np.flatnonzero(np.bincount(parts.ravel())[1:] > least) + 1
        if len(large) < 2 or used + len(large) >= IDS:
            continue
        for part in large:
            used += 1
            pieces[frame][parts == part] = used
            owners[used] = number
    return pieces, owners


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(xs[0]), int(ys[0]), int(xs[-1]), int(ys[-1])

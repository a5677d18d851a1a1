"""Short videos to train propagation on: composed of photos with masks, or three frames of a labelled video.

A scene has three frames: the first one, whose masks are given; a recent one; and the new one. Between the first and
the recent frame much may change, between the recent and the new one less. Composed scenes have exact masks: a photo
seen through a moving window, bent a little, with cut-outs of other photos moving over it and over each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segcli.train.views import TrainingPhoto

SIDE = 256
_OWN = 0.35  # share of composed scenes that follow an object of the background photo too
_TWINS = 0.35  # share of those with several cut-outs in which two look the same
_GONE = 0.08  # share in which an object is out of sight in the new frame
_LAST = 0.15  # least change between the recent and the new frame

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Scene:
    """frames: float [3, 3, SIDE, SIDE] in 0..255; masks: [3, K, SIDE, SIDE] in 0..1."""

    frames: Tensor
    masks: Tensor


@dataclass(frozen=True, eq=False)
class Clip:
    """A labelled video of one object: frames uint8 [H, W, 3] and masks bool [H, W]."""

    frames: Sequence[NDArray[np.uint8]]
    masks: Sequence[NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class _Pose:
    """How a layer lies in the window, which spans -1..1. `bend` [SIDE, SIDE, 2] is a smooth displacement."""

    at: NDArray[np.float64]
    size: float
    aspect: float
    angle: float
    bend: Tensor = field(default_factory=lambda: torch.zeros(SIDE, SIDE, 2))

    def moved(self, rng: Rng, much: float, unit: NDArray[np.float64], bend: float, turn: float) -> _Pose:
        """Changed at random; unit: what counts as one step of `at`."""
        return replace(
            self,
            at=self.at + rng.normal(0, much, 2) * unit,
            size=self.size * math.exp(rng.normal(0, 0.25 * much)),
            aspect=self.aspect * math.exp(rng.normal(0, 0.12 * much)),
            angle=self.angle + rng.normal(0, turn * much),
            bend=self.bend + much * smooth(rng, bend),
        )


def composed(photos: Sequence[TrainingPhoto], rng: Rng) -> Scene | None:
    """A scene of photos, or None when the draw has no object."""
    photo = photos[int(rng.integers(len(photos)))]
    height, width = photo.labels.shape
    own = [i for i, w in photo.weights.items() if w == 1.0] if rng.random() < _OWN else []
    target = None
    zoom = rng.uniform(0.55, 0.95) * min(height, width)
    centre = rng.uniform(-1, 1, 2) * np.maximum(0, 1 - zoom / np.array([width, height]))
    if own:
        target = photo.labels == own[int(rng.integers(len(own)))]
        x0, y0, x1, y1 = _box(target)
        zoom = max(x1 - x0, y1 - y0) * rng.uniform(1.2, 2.6)
        middle = np.array([(x0 + x1) / width - 1, (y0 + y1) / height - 1])
        centre = middle + rng.normal(0, 0.15, 2) * zoom / np.array([width, height])
    count = int(rng.choice([0, 1, 2], p=[0.45, 0.35, 0.2])) if own else int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
    layers = [layer for _ in range(count) if (layer := _cut_out(photos, rng)) is not None]
    poses = [_Pose(rng.uniform(-0.6, 0.6, 2), rng.uniform(0.1, 0.7), 1.0, rng.normal(0, 0.15)) for _ in layers]
    if len(layers) > 1 and rng.random() < _TWINS:
        layers[1] = layers[0].flip(-1)
        poses[1] = replace(poses[0], at=rng.uniform(-0.7, 0.7, 2))
    if target is None and not layers:
        return None

    extent = zoom / np.array([width, height])
    view = _Pose(centre, 1.0, 1.0, 0.0)
    much = rng.uniform(0.2, 1.0)
    less = max(_LAST, rng.uniform(0.05, 0.5) * much)
    steps = [0.0, much if rng.random() < 0.7 else 0.0, less]
    frames, masks = [], []
    for number, change in enumerate(steps):
        if change:
            view = view.moved(rng, change, 0.12 * extent, 0.03, 0.08)
            poses = [pose.moved(rng, change, np.full(2, 0.3), 0.06, 0.35) for pose in poses]
        if number == 2 and poses and rng.random() < _GONE:
            poses[0] = replace(poses[0], at=np.array([3.0, 3.0]))
        frame, shown = _drawn(photo, target, view, extent, layers, poses)
        frames.append(recoloured(frame, rng))
        masks.append(shown)
    return Scene(torch.stack(frames), torch.stack(masks))


def filmed(clip: Clip, rng: Rng) -> Scene:
    """Three frames of a video, forwards or backwards, seen through windows around the object or through one window."""
    count = len(clip.frames)
    first = int(rng.integers(0, count - 1))
    new = int(rng.integers(first + 1, min(count, first + 8)))
    recent = first if rng.random() < 0.25 else max(first, new - int(rng.choice([1, 1, 2])))
    if rng.random() < 0.3:
        first, new = new, first
        back = min(count - 1, new + int(rng.choice([1, 1, 2])))
        recent = back if rng.random() < 0.7 else first
    mirrored = -1 if rng.random() < 0.5 else 1
    around = math.exp(rng.normal(0.75, 0.35))
    fixed: tuple[float, NDArray[np.float64]] | None = None
    whole = rng.random() < 0.4
    frames, masks = [], []
    for index in (first, recent, new):
        mask = clip.masks[index]
        height, width = mask.shape
        x0, y0, x1, y1 = _box(mask) if mask.any() else (0, 0, width, height)
        zoom = float(np.clip(max(x1 - x0, y1 - y0) * around, 40, 400))
        centre = np.array([(x0 + x1) / width - 1, (y0 + y1) / height - 1])
        if whole:
            if fixed is None:
                zoom = rng.uniform(0.9, 1.2) * height
                reach = max(0.0, 1 - zoom / width)
                fixed = zoom, np.array([np.clip(centre[0], -reach, reach), 0.0])
            zoom, centre = fixed
        else:
            centre = centre + rng.normal(0, 0.12, 2) * zoom / np.array([width, height])
            zoom *= math.exp(rng.normal(0, 0.12))
        angle = 0.0 if whole else rng.normal(0, 0.06)
        grid = _grid(centre, np.array([mirrored * zoom / width, zoom / height]), angle)
        frames.append(recoloured(_sampled(_planes(clip.frames[index]), grid, "reflection"), rng))
        masks.append(_sampled(torch.from_numpy(mask)[None, None].float(), grid))
    return Scene(torch.stack(frames), torch.stack(masks))


def roughened(mask: Tensor, rng: Rng, much: float) -> Tensor:
    """A mask [SIDE, SIDE] as a tracker may have it: moved, bent, with parts missing or added, faint or blurred."""
    scale = np.exp(rng.normal(0, 0.12 * much, 2))
    grid = _grid(rng.normal(0, 0.1 * much, 2), scale, rng.normal(0, 0.1 * much), smooth(rng, 0.05 * much, 6))
    rough = _sampled(mask[None, None], grid)[0].clone()
    for _ in range(int(rng.integers(0, 3))):
        if rng.random() < 0.7 * much:
            high, wide = rng.integers(12, 70, 2)
            top, left = rng.integers(0, SIDE - 20, 2)
            value = 1.0 if rng.random() < 0.4 else float(rng.random() < 0.5) * rng.random()
            rough[top : top + high, left : left + wide] = value
    if rng.random() < 0.3 * much:
        rough = rough * rng.uniform(0.4, 1)
    if rng.random() < 0.5:
        kernel = int(rng.choice([9, 17, 25]))
        rough = F.avg_pool2d(rough[None, None], kernel, 1, kernel // 2)[0, 0]
    return rough.clamp(0, 1)


def recoloured(frame: Tensor, rng: Rng) -> Tensor:
    """Another light, tint and now and then a blur."""
    frame = (frame - 128) * rng.uniform(0.85, 1.15) + 128 + rng.uniform(-12, 12)
    frame = frame + torch.from_numpy(rng.uniform(-6, 6, (3, 1, 1)).astype(np.float32))
    if rng.random() < 0.2:
        frame = F.avg_pool2d(frame[None], 3, 1, 1)[0]
    return frame.clamp(0, 255)


def smooth(rng: Rng, spread: float, knots: int = 4) -> Tensor:
    """A smooth random displacement [SIDE, SIDE, 2]."""
    field_ = torch.from_numpy(rng.normal(0, spread, (1, 2, knots, knots)).astype(np.float32))
    return F.interpolate(field_, size=(SIDE, SIDE), mode="bicubic", align_corners=True)[0].permute(1, 2, 0)


def _drawn(
    photo: TrainingPhoto,
    target: NDArray[np.bool_] | None,
    view: _Pose,
    extent: NDArray[np.float64],
    layers: Sequence[Tensor],
    poses: Sequence[_Pose],
) -> tuple[Tensor, Tensor]:
    """One frame [3, SIDE, SIDE] and its masks [K, SIDE, SIDE]; later layers lie on earlier ones."""
    grid = _grid(view.at, extent * view.size, view.angle, view.bend)
    frame = _sampled(_planes(photo.pixels), grid, "reflection")
    masks = [] if target is None else [_sampled(torch.from_numpy(target)[None, None].float(), grid)[0]]
    for layer, pose in zip(layers, poses, strict=True):
        height, width = layer.shape[-2:]
        longest = max(height, width)
        half = pose.size * np.array([width / longest * pose.aspect, height / longest / pose.aspect])
        place = _base() + pose.bend * (2 * pose.size) - torch.tensor(pose.at, dtype=torch.float32)
        shown = _sampled(layer, _turned(place, pose.angle) / torch.tensor(half, dtype=torch.float32))
        alpha = (shown[3] / 255).clamp(0, 1)
        frame = frame * (1 - alpha) + shown[:3] * alpha
        masks = [*(mask * (1 - alpha) for mask in masks), alpha]
    return frame, torch.stack(masks).clamp(0, 1)


def _cut_out(photos: Sequence[TrainingPhoto], rng: Rng) -> Tensor | None:
    """An object of a random photo as RGBA [1, 4, h, w] in 0..255 with an empty border."""
    photo = photos[int(rng.integers(len(photos)))]
    things = [i for i, w in photo.weights.items() if w == 1.0]
    if not things:
        return None
    inside = photo.labels == things[int(rng.integers(len(things)))]
    x0, y0, x1, y1 = _box(inside)
    alpha = torch.from_numpy(inside[y0:y1, x0:x1].astype(np.float32))[None, None]
    if min(alpha.shape[-2:]) > 6:
        alpha = F.avg_pool2d(alpha, 3, 1, 1, count_include_pad=False)
    cut = torch.cat([_planes(photo.pixels[y0:y1, x0:x1]), alpha * 255], 1)
    return F.pad(cut.flip(-1) if rng.random() < 0.5 else cut, (2, 2, 2, 2))


def _base() -> Tensor:
    """Coordinates x, y of the window's pixels in -1..1: [SIDE, SIDE, 2]."""
    along = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    return torch.stack(torch.meshgrid(along, along, indexing="xy"), -1)


def _turned(place: Tensor, angle: float) -> Tensor:
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = place[..., 0], place[..., 1]
    return torch.stack([x * cos - y * sin, x * sin + y * cos], -1)


def _grid(centre: NDArray[np.float64], extent: NDArray[np.float64], angle: float, bend: Tensor | None = None) -> Tensor:
    """Where each pixel of the window lies in a source that spans -1..1."""
    place = _turned(_base() if bend is None else _base() + bend, angle)
    return place * torch.tensor(extent, dtype=torch.float32) + torch.tensor(centre, dtype=torch.float32)


def _sampled(planes: Tensor, grid: Tensor, padding: str = "zeros") -> Tensor:
    return F.grid_sample(planes, grid[None], mode="bilinear", padding_mode=padding, align_corners=False)[0]


def _planes(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

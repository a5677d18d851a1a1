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
_SMALLEST = 40  # pixels, the longer side of a cut-out and of a window on an object
_GONE = 0.08  # share in which an object is out of sight in the new frame
_ACTED = 0.25  # share of cut-outs that come from a video and move as there
_PASTED = 0.35  # share of filmed scenes with a cut-out before them
_LAST = 0.15  # least change between the recent and the new frame

Rng = np.random.Generator
Layer = tuple[Tensor, Tensor, Tensor]
"""A cut-out in each of a scene's frames: RGBA [1, 4, h, w] in 0..255 with an empty border."""


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


def composed(photos: Sequence[TrainingPhoto], rng: Rng, clips: Sequence[Clip] = ()) -> Scene | None:
    """A scene of photos, or None when the draw has no object. Cut-outs may be those of `clips`, which move."""
    photo = photos[int(rng.integers(len(photos)))]
    height, width = photo.labels.shape
    own = [i for i, w in photo.weights.items() if w == 1.0] if rng.random() < _OWN else []
    target = None
    zoom = rng.uniform(0.55, 0.95) * min(height, width)
    centre = rng.uniform(-1, 1, 2) * np.maximum(0, 1 - zoom / np.array([width, height]))
    if own:
        target = photo.labels == own[int(rng.integers(len(own)))]
        x0, y0, x1, y1 = _box(target)
        zoom = max(_SMALLEST, max(x1 - x0, y1 - y0) * rng.uniform(1.2, 2.6))
        middle = np.array([(x0 + x1) / width - 1, (y0 + y1) / height - 1])
        centre = middle + rng.normal(0, 0.15, 2) * zoom / np.array([width, height])
    count = int(rng.choice([0, 1, 2], p=[0.45, 0.35, 0.2])) if own else int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
    layers = [layer for _ in range(count) if (layer := _layer(photos, clips, rng)) is not None]
    poses = [_posed(rng) for _ in layers]
    if len(layers) > 1 and rng.random() < _TWINS:
        layers[1] = _mirrored(layers[0])
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
            poses = [pose.moved(rng, change, np.full(2, 0.3), 0.08, 0.35) for pose in poses]
        if number == 2 and poses and rng.random() < _GONE:
            poses[0] = replace(poses[0], at=np.array([3.0, 3.0]))
        grid = _grid(view.at, extent * view.size, view.angle, view.bend)
        frame = _sampled(_planes(photo.pixels), grid, "reflection")
        shown = [] if target is None else [_sampled(torch.from_numpy(target)[None, None].float(), grid)[0]]
        frame, shown = _covered(frame, shown, [layer[number] for layer in layers], poses)
        frames.append(recoloured(frame, rng))
        masks.append(torch.stack(shown).clamp(0, 1))
    return Scene(torch.stack(frames), torch.stack(masks))


def filmed(clip: Clip, rng: Rng, photos: Sequence[TrainingPhoto] = ()) -> Scene:
    """Three frames of a video, forwards or backwards, seen through windows around the object or through one window.

    A cut-out of one of `photos` may move before them; it is to be followed as well.
    """
    indices = order(len(clip.frames), rng)
    pasted = _cut_out(photos, rng) if photos and rng.random() < _PASTED else None
    pose, much = _posed(rng), rng.uniform(0.1, 0.8)
    mirrored = -1 if rng.random() < 0.5 else 1
    around = math.exp(rng.normal(0.75, 0.35))
    fixed: tuple[float, NDArray[np.float64]] | None = None
    whole = rng.random() < 0.4
    frames, masks = [], []
    for index in indices:
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
        frame = _sampled(_planes(clip.frames[index]), grid, "reflection")
        shown = [_sampled(torch.from_numpy(mask)[None, None].float(), grid)[0]]
        if pasted is not None:
            frame, shown = _covered(frame, shown, [pasted], [pose])
            pose = pose.moved(rng, much, np.full(2, 0.4), 0.06, 0.35)
        frames.append(recoloured(frame, rng))
        masks.append(torch.stack(shown).clamp(0, 1))
    return Scene(torch.stack(frames), torch.stack(masks))


def viewed(frame: Tensor, masks: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """Another view of a frame [3, SIDE, SIDE] and its masks [K, SIDE, SIDE]: moved, closer or farther, mirrored."""
    zoom = math.exp(rng.uniform(-0.45, 0.6))
    grid = _grid(rng.uniform(-0.35, 0.35, 2), np.array([-zoom if rng.random() < 0.5 else zoom, zoom]), 0.0)
    both = _sampled(torch.cat([frame, masks])[None], grid, "reflection")
    return both[:3], both[3:].clamp(0, 1)


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
        along = F.avg_pool2d(rough[None, None], (1, kernel), 1, (0, kernel // 2))  # two lines are faster than a square
        rough = F.avg_pool2d(along, (kernel, 1), 1, (kernel // 2, 0))[0, 0]
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


def order(count: int, rng: Rng) -> tuple[int, int, int]:
    """The first, the recent and the new frame of a video of `count` frames."""
    first, new = sorted(rng.choice(count, 2, replace=False).tolist())
    back = int(rng.choice([1, 1, 2]))
    if rng.random() < 0.5:
        first, new, back = new, first, -back
    between = new - back if (new - back - first) * back >= 0 else first
    return first, first if rng.random() < 0.25 else between, new


def _posed(rng: Rng) -> _Pose:
    return _Pose(rng.uniform(-0.6, 0.6, 2), rng.uniform(0.1, 0.7), 1.0, rng.normal(0, 0.15))


def _covered(
    frame: Tensor, masks: list[Tensor], layers: Sequence[Tensor], poses: Sequence[_Pose]
) -> tuple[Tensor, list[Tensor]]:
    """A frame [3, SIDE, SIDE] and masks [SIDE, SIDE] with layers over them, and theirs; later ones lie on earlier."""
    for layer, pose in zip(layers, poses, strict=True):
        height, width = layer.shape[-2:]
        longest = max(height, width)
        half = pose.size * np.array([width / longest * pose.aspect, height / longest / pose.aspect])
        place = _base() + pose.bend * (2 * pose.size) - torch.tensor(pose.at, dtype=torch.float32)
        shown = _sampled(layer, _turned(place, pose.angle) / torch.tensor(half, dtype=torch.float32))
        alpha = (shown[3] / 255).clamp(0, 1)
        frame = frame * (1 - alpha) + shown[:3] * alpha
        masks = [*(mask * (1 - alpha) for mask in masks), alpha]
    return frame, masks


def _layer(photos: Sequence[TrainingPhoto], clips: Sequence[Clip], rng: Rng) -> Layer | None:
    """A cut-out for each of three frames: of a video, as it moves there, or of a photo."""
    if not clips or rng.random() >= _ACTED:
        still = _cut_out(photos, rng)
        return None if still is None else (still, still, still)
    clip = clips[int(rng.integers(len(clips)))]
    indices = order(len(clip.frames), rng)
    if not all(clip.masks[index].any() for index in indices):
        return None
    boxes = [_box(clip.masks[index]) for index in indices]
    side = max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes)
    layer = [_cut(clip.frames[i], clip.masks[i], box, side) for i, box in zip(indices, boxes, strict=True)]
    drawn = (layer[0], layer[1], layer[2])
    return _mirrored(drawn) if rng.random() < 0.5 else drawn


def _mirrored(layer: Layer) -> Layer:
    return layer[0].flip(-1), layer[1].flip(-1), layer[2].flip(-1)


def _cut_out(photos: Sequence[TrainingPhoto], rng: Rng) -> Tensor | None:
    """An object of a random photo as RGBA [1, 4, h, w] in 0..255 with an empty border."""
    photo = photos[int(rng.integers(len(photos)))]
    things = [i for i, w in photo.weights.items() if w == 1.0]
    if not things:
        return None
    inside = photo.labels == things[int(rng.integers(len(things)))]
    x0, y0, x1, y1 = _box(inside)
    if max(x1 - x0, y1 - y0) < _SMALLEST:
        return None
    cut = _cut(photo.pixels, inside, (x0, y0, x1, y1))
    return cut.flip(-1) if rng.random() < 0.5 else cut


def _cut(
    pixels: NDArray[np.uint8], inside: NDArray[np.bool_], box: tuple[int, int, int, int], side: int | None = None
) -> Tensor:
    """RGBA [1, 4, h, w] of an object with an empty border, in the middle of a square of `side` pixels if given."""
    x0, y0, x1, y1 = box
    alpha = torch.from_numpy(inside[y0:y1, x0:x1].astype(np.float32))[None, None]
    if min(alpha.shape[-2:]) > 6:
        alpha = F.avg_pool2d(alpha, 3, 1, 1, count_include_pad=False)
    cut = torch.cat([_planes(pixels[y0:y1, x0:x1]), alpha * 255], 1)
    wide, high = (0, 0) if side is None else (side - (x1 - x0), side - (y1 - y0))
    left, top = wide // 2, high // 2
    return F.pad(cut, (2 + left, 2 + wide - left, 2 + top, 2 + high - top))


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

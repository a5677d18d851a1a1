"""Short videos to train propagation on: composed of photos with masks, or a few frames of a labelled video.

Of a scene the first frame's masks are given, and an object is to be followed through the others. From the first frame
to the second one much may change, from then on less. Composed scenes have exact masks: a photo seen through a moving
window, bent a little, with cut-outs of other photos and of videos moving over it and over each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segcli.train.propagation_warps import (
    SIDE,
    Pose,
    Rng,
    base,
    box_of,
    grid_of,
    planes_of,
    recoloured,
    sampled,
    turned,
)
from segcli.train.views import TrainingPhoto

_OWN = 0.35  # share of composed scenes that follow an object of the background photo too
_TWINS = 0.35  # share of those with several cut-outs in which two look the same
_ACTED = 0.3  # share of cut-outs that come from a video, and move as they did there
_GONE = 0.15  # share in which an object is out of sight for a frame or two
_LEAST = 0.15  # least change between two later frames
_PASTED = 0.35  # share of filmed scenes with cut-outs of photos before them
_FAR = 0.35  # share of filmed scenes whose first frame is not near the others


@dataclass(frozen=True, eq=False)
class Scene:
    """frames: float [T, 3, SIDE, SIDE] in 0..255; masks: [T, K, SIDE, SIDE] in 0..1."""

    frames: Tensor
    masks: Tensor


@dataclass(frozen=True, eq=False)
class Clip:
    """A labelled video of one object: frames uint8 [H, W, 3] and masks bool [H, W]."""

    frames: Sequence[NDArray[np.uint8]]
    masks: Sequence[NDArray[np.bool_]]


def composed(photos: Sequence[TrainingPhoto], rng: Rng, count: int, clips: Sequence[Clip] = ()) -> Scene | None:
    """A scene of `count` frames of photos, or None when the draw has no object. Cut-outs may be those of `clips`."""
    photo = photos[int(rng.integers(len(photos)))]
    height, width = photo.labels.shape
    own = [i for i, w in photo.weights.items() if w == 1.0] if rng.random() < _OWN else []
    target = None
    zoom = rng.uniform(0.55, 0.95) * min(height, width)
    centre = rng.uniform(-1, 1, 2) * np.maximum(0, 1 - zoom / np.array([width, height]))
    if own:
        target = photo.labels == own[int(rng.integers(len(own)))]
        x0, y0, x1, y1 = box_of(target)
        zoom = max(x1 - x0, y1 - y0) * rng.uniform(1.2, 2.6)
        middle = np.array([(x0 + x1) / width - 1, (y0 + y1) / height - 1])
        centre = middle + rng.normal(0, 0.15, 2) * zoom / np.array([width, height])
    many = int(rng.choice([0, 1, 2], p=[0.45, 0.35, 0.2])) if own else int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
    layers = [layer for _ in range(many) if (layer := _cut_out(photos, clips, rng, count)) is not None]
    poses = [_posed(rng) for _ in layers]
    if len(layers) > 1 and rng.random() < _TWINS:
        layers[1] = layers[0].flip(-1)
        poses[1] = replace(poses[0], at=rng.uniform(-0.7, 0.7, 2))
    if target is None and not layers:
        return None

    extent = zoom / np.array([width, height])
    view = Pose(centre, 1.0, 1.0, 0.0)
    changes = _changes(rng, count)
    away = _absence(rng, count)
    light = rng.uniform(0.4, 2.0)
    frames, masks = [], []
    for number, change in enumerate(changes):
        if change:
            view = view.moved(rng, change, 0.12 * extent, 0.03, 0.08)
            poses = [pose.moved(rng, change, np.full(2, 0.3), 0.06, 0.35) for pose in poses]
        grid = grid_of(view.at, extent * view.size, view.angle, view.bend)
        frame = sampled(planes_of(photo.pixels), grid, "reflection")
        shown = [] if target is None else [sampled(_plane_of(target), grid, "reflection")[0]]
        frame, shown = _covered(frame, shown, layers, poses, number, 0 if number in away else None)
        frames.append(recoloured(frame, rng, light))
        masks.append(torch.stack(shown).clamp(0, 1))
    return Scene(torch.stack(frames), torch.stack(masks))


def filmed(clip: Clip, rng: Rng, count: int, photos: Sequence[TrainingPhoto] = ()) -> Scene:
    """`count` frames of a video, forwards or backwards, seen through windows around the object or through one window.

    Cut-outs of `photos` may move over it.
    """
    mirrored = -1 if rng.random() < 0.5 else 1
    around = math.exp(rng.normal(0.75, 0.35))
    fixed: tuple[float, NDArray[np.float64]] | None = None
    whole = rng.random() < 0.4
    layers: list[Tensor] = []
    if photos and rng.random() < _PASTED:
        drawn = (_cut_out(photos, (), rng, count) for _ in range(int(rng.integers(1, 3))))
        layers = [layer for layer in drawn if layer is not None]
    poses = [_posed(rng) for _ in layers]
    light = rng.uniform(0.3, 1.5)
    frames, masks = [], []
    for number, index in enumerate(_moments(rng, len(clip.frames), count)):
        mask = clip.masks[index]
        height, width = mask.shape
        x0, y0, x1, y1 = box_of(mask) if mask.any() else (0, 0, width, height)
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
        grid = grid_of(centre, np.array([mirrored * zoom / width, zoom / height]), angle)
        frame = sampled(planes_of(clip.frames[index]), grid, "reflection")
        shown = [sampled(_plane_of(mask), grid, "reflection")[0]]
        if number:
            poses = [pose.moved(rng, rng.uniform(_LEAST, 0.5), np.full(2, 0.4), 0.04, 0.3) for pose in poses]
        frame, shown = _covered(frame, shown, layers, poses, number)
        frames.append(recoloured(frame, rng, light))
        masks.append(torch.stack(shown).clamp(0, 1))
    return Scene(torch.stack(frames), torch.stack(masks))


def _moments(rng: Rng, length: int, count: int) -> list[int]:
    """Indices of `count` frames of a video: one step apart, now and then more; the first one may be anywhere."""
    step = min(int(rng.choice([1, 1, 1, 2])), max(1, (length - 1) // max(1, count - 1)))
    start = int(rng.integers(0, max(1, length - step * (count - 1))))
    chosen = [min(start + step * i, length - 1) for i in range(count)]
    if rng.random() < 0.4:
        chosen.reverse()
    if rng.random() < _FAR:
        chosen[0] = int(rng.integers(length))
    return chosen


def _changes(rng: Rng, count: int) -> list[float]:
    """How much changes before each frame: nothing, then perhaps much, then less."""
    much = rng.uniform(0.2, 1.0)
    less = max(_LEAST, rng.uniform(0.05, 0.5) * much)
    second = much if rng.random() < 0.5 else less
    return [0.0, second, *(less * rng.uniform(0.6, 1.4) for _ in range(count - 2))]


def _absence(rng: Rng, count: int) -> range:
    """The frames in which an object is out of sight; mostly none."""
    if rng.random() >= _GONE:
        return range(0)
    first = int(rng.integers(1, count))
    return range(first, min(count, first + int(rng.integers(1, 3))))


def _posed(rng: Rng) -> Pose:
    return Pose(rng.uniform(-0.6, 0.6, 2), rng.uniform(0.1, 0.7), 1.0, rng.normal(0, 0.15))


def _covered(
    frame: Tensor,
    masks: list[Tensor],
    layers: Sequence[Tensor],
    poses: Sequence[Pose],
    number: int,
    missing: int | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """A frame [3, SIDE, SIDE] and its masks under layers, each on the ones before; their masks come after the others.

    number: of the frame, for layers that have a picture for each. missing: a layer that is out of sight.
    """
    for place, (layer, pose) in enumerate(zip(layers, poses, strict=True)):
        if place == missing:
            masks = [*masks, torch.zeros(SIDE, SIDE)]
            continue
        height, width = layer.shape[-2:]
        longest = max(height, width)
        half = pose.size * np.array([width / longest * pose.aspect, height / longest / pose.aspect])
        spot = base() + pose.bend * (2 * pose.size) - torch.tensor(pose.at, dtype=torch.float32)
        picture = layer[number % len(layer)][None]
        shown = sampled(picture, turned(spot, pose.angle) / torch.tensor(half, dtype=torch.float32))
        alpha = (shown[3] / 255).clamp(0, 1)
        frame = frame * (1 - alpha) + shown[:3] * alpha
        masks = [*(mask * (1 - alpha) for mask in masks), alpha]
    return frame, masks


def _cut_out(photos: Sequence[TrainingPhoto], clips: Sequence[Clip], rng: Rng, count: int) -> Tensor | None:
    """An object as RGBA in 0..255 with an empty border: [1, 4, h, w] of a photo, [count, 4, h, w] of a video."""
    if clips and rng.random() < _ACTED:
        return _acted(clips[int(rng.integers(len(clips)))], rng, count)
    photo = photos[int(rng.integers(len(photos)))]
    things = [i for i, w in photo.weights.items() if w == 1.0]
    if not things:
        return None
    inside = photo.labels == things[int(rng.integers(len(things)))]
    x0, y0, x1, y1 = box_of(inside)
    alpha = torch.from_numpy(inside[y0:y1, x0:x1].astype(np.float32))[None, None]
    if min(alpha.shape[-2:]) > 6:
        alpha = F.avg_pool2d(alpha, 3, 1, 1, count_include_pad=False)
    cut = torch.cat([planes_of(photo.pixels[y0:y1, x0:x1]), alpha * 255], 1)
    return F.pad(cut.flip(-1) if rng.random() < 0.5 else cut, (2, 2, 2, 2))


def _acted(clip: Clip, rng: Rng, count: int) -> Tensor | None:
    """A video's object in each of `count` frames, always in the middle and all at one scale."""
    chosen = _moments(rng, len(clip.frames), count)
    if not all(clip.masks[i].any() for i in chosen):
        return None
    boxes = np.array([box_of(clip.masks[i]) for i in chosen], dtype=np.float64)
    side = float((boxes[:, 2:] - boxes[:, :2]).max()) + 4
    mirrored = -1 if rng.random() < 0.5 else 1
    pictures = []
    for index, (x0, y0, x1, y1) in zip(chosen, boxes, strict=True):
        mask = clip.masks[index]
        height, width = mask.shape
        planes = torch.cat([planes_of(clip.frames[index]), _plane_of(mask) * 255], 1)
        centre = np.array([(x0 + x1) / width - 1, (y0 + y1) / height - 1])
        pictures.append(sampled(planes, grid_of(centre, np.array([mirrored * side / width, side / height]), 0.0)))
    return torch.stack(pictures)


def _plane_of(mask: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(mask)[None, None].float()

"""Training views: a square crop of a photo with the masks of a few objects, augmented.

Photos and label maps are decoded once and kept in memory as bytes (about 0.3 MB each at 384 px). A view is either
the whole photo (what a user's first click sees) or a zoom on one object (what the second look sees), and may carry
an object pasted from another photo, whose mask is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageEnhance, ImageFilter

from segcli.core.errors import StorageError

IGNORE = 255
PAD = 127  # the backbone's zero

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class TrainingPhoto:
    """A decoded photo. `weights` says how likely each object id is drawn as a click target, `names` its class."""

    pixels: Bytes  # [h, w, 3]
    labels: Bytes  # [h, w], 0 unlabelled, 255 ignore
    weights: dict[int, float]
    donors: tuple[int, ...] = ()  # ids whose cut-out may be pasted elsewhere
    names: Mapping[int, str] = field(default_factory=dict)  # of the ids whose class is known


@dataclass(frozen=True)
class View:
    """What one step sees of one photo.

    pixels:  uint8 [S, S, 3]; targets: uint8 [T, S/2, S/2], 255 times the covered part of each cell;
    valid:   bool [S/2, S/2], False on ignored and padded cells.
    """

    pixels: Bytes
    targets: Bytes
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class ViewConfig:
    """How views are drawn. Fractions are probabilities."""

    side: int = 256
    targets: int = 3
    zoom: float = 0.6
    paste: float = 0.3
    min_area: float = 0.004  # of the view, below it an object is no target


def views(photos: Sequence[TrainingPhoto], config: ViewConfig, seed: int) -> Iterator[View]:
    """Endless views, each photo once an epoch in a new order. Same seed, same views.

    Raises StorageError when no photo shows a target in ten epochs.
    """
    rng = np.random.default_rng(seed)
    barren = 0
    while barren < 10:
        barren += 1
        for index in rng.permutation(len(photos)):
            view = draw_view(photos, int(index), config, rng)
            if view is not None:
                barren = 0
                yield view
    raise StorageError(f"none of {len(photos)} photos shows an object large enough to train on")


def draw_view(photos: Sequence[TrainingPhoto], index: int, config: ViewConfig, rng: np.random.Generator) -> View | None:
    """One augmented view of photo `index`, or None when no target is visible in it."""
    photo = photos[index]
    side = config.side
    weights = dict(photo.weights)
    focus: int | None = None
    if weights and rng.random() < config.zoom:
        ids = np.array(list(weights))
        p = np.array([weights[int(i)] for i in ids])
        focus = int(rng.choice(ids, p=p / p.sum()))
        box = zoom_box(photo.labels == focus, rng)
    else:
        box = whole_box(photo.labels.shape, rng)
    pixels, labels = crop(photo, box, side)
    if rng.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    if rng.random() < config.paste:
        pasted = _paste(photos, pixels, labels, rng)
        if pasted is not None:
            pixels, labels, fresh = pasted
            weights[fresh] = 2.0
    picked = _pick(labels, weights, focus, config, rng)
    if not picked:
        return None
    targets = np.stack([_halve((labels == i).astype(np.float32) * 255) for i in picked]).astype(np.uint8)
    valid = _halve((labels != IGNORE).astype(np.float32)) > 0.99
    return View(recolour(np.ascontiguousarray(pixels), rng), targets, valid)


def _pick(
    labels: Bytes, weights: dict[int, float], focus: int | None, config: ViewConfig, rng: np.random.Generator
) -> list[int]:
    area = np.bincount(labels.ravel(), minlength=256)
    least = config.min_area * labels.size
    usable = {i: w for i, w in weights.items() if area[i] >= least}
    picked: list[int] = []
    if focus in usable:
        picked.append(focus)
        usable.pop(focus)
    while usable and len(picked) < config.targets:
        ids = np.array(list(usable))
        p = np.array([usable[int(i)] for i in ids])
        chosen = int(rng.choice(ids, p=p / p.sum()))
        picked.append(chosen)
        usable.pop(chosen)
    return picked


def whole_box(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """The whole photo or up to 35 % less of it, sometimes with a margin, as a square box around it."""
    h, w = shape
    side = max(h, w) * rng.uniform(0.65, 1.1)
    x = rng.uniform(min(0.0, w - side), max(0.0, w - side))
    y = rng.uniform(min(0.0, h - side), max(0.0, h - side))
    return x, y, x + side, y + side


def zoom_box(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A square box around an object, 1.1 to 3 times as long as it, the object anywhere in it."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return whole_box(mask.shape, rng)
    h, w = ys[-1] - ys[0] + 1, xs[-1] - xs[0] + 1
    side = float(max(h, w)) * np.exp(rng.uniform(np.log(1.1), np.log(3.0)))
    side = min(max(side, 64.0), 1.15 * max(mask.shape))
    slack_x, slack_y = (side - w) / 2, (side - h) / 2
    cx = (xs[0] + xs[-1]) / 2 + rng.uniform(-0.9, 0.9) * slack_x
    cy = (ys[0] + ys[-1]) / 2 + rng.uniform(-0.9, 0.9) * slack_y
    return cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2


def crop(photo: TrainingPhoto, box: tuple[float, float, float, float], side: int) -> tuple[Bytes, Bytes]:
    """The box resized to a square of `side`; outside of the photo is padding (ignored)."""
    h, w = photo.labels.shape
    scale = side / (box[2] - box[0])
    inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(w)), min(box[3], float(h)))
    left, top = round((inside[0] - box[0]) * scale), round((inside[1] - box[1]) * scale)
    width = max(1, min(side - left, round((inside[2] - inside[0]) * scale)))
    height = max(1, min(side - top, round((inside[3] - inside[1]) * scale)))
    pixels = np.full((side, side, 3), PAD, np.uint8)
    labels = np.full((side, side), IGNORE, np.uint8)
    here = (slice(top, top + height), slice(left, left + width))
    small = Pillow.fromarray(photo.pixels).resize((width, height), Pillow.Resampling.BILINEAR, box=inside)
    pixels[here] = np.asarray(small)
    nearest = Pillow.fromarray(photo.labels).resize((width, height), Pillow.Resampling.NEAREST, box=inside)
    labels[here] = np.asarray(nearest)
    return pixels, labels


def _paste(
    photos: Sequence[TrainingPhoto], pixels: Bytes, labels: Bytes, rng: np.random.Generator
) -> tuple[Bytes, Bytes, int] | None:
    """Another photo's object laid over this view; returns the new view and the pasted object's id."""
    donor = photos[int(rng.integers(len(photos)))]
    used = set(np.unique(labels).tolist())
    fresh = next((i for i in range(254, 0, -1) if i not in used), None)
    if not donor.donors or fresh is None:
        return None
    mask = donor.labels == donor.donors[int(rng.integers(len(donor.donors)))]
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return None
    crop = (slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1))
    side = labels.shape[0]
    longest = side * rng.uniform(0.15, 0.7)
    factor = longest / max(mask[crop].shape)
    size = (max(2, round(mask[crop].shape[1] * factor)), max(2, round(mask[crop].shape[0] * factor)))
    alpha = Pillow.fromarray(mask[crop].astype(np.uint8) * 255).resize(size, Pillow.Resampling.BILINEAR)
    cut = Pillow.fromarray(donor.pixels[crop]).resize(size, Pillow.Resampling.BILINEAR)
    if rng.random() < 0.5:
        alpha, cut = (i.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT) for i in (alpha, cut))
    at = (
        int(rng.integers(-size[0] // 4, side - size[0] * 3 // 4)),
        int(rng.integers(-size[1] // 4, side - size[1] * 3 // 4)),
    )
    canvas = Pillow.fromarray(np.ascontiguousarray(pixels))
    hard = Pillow.new("L", canvas.size)
    hard.paste(alpha, at)
    canvas.paste(cut, at, alpha)
    covered = np.asarray(hard) > 127
    labels = labels.copy()
    labels[covered & (labels != IGNORE)] = fresh
    return np.asarray(canvas), labels, fresh


def recolour(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Brightness, contrast and colour changed at random; sometimes blurred, sometimes grey."""
    image = Pillow.fromarray(pixels)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if rng.random() < 0.6:
            image = enhance(image).enhance(rng.uniform(0.65, 1.4))
    if rng.random() < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.05:
        image = image.convert("L").convert("RGB")
    return np.asarray(image)


def _halve(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of each 2x2 block."""
    h, w = plane.shape
    halved: NDArray[np.float32] = plane.reshape(h // 2, 2, w // 2, 2).mean((1, 3))
    return halved

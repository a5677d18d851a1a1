"""Views of a labelled photo as SegGPT trains on them: a random part of it, mirrored, its colours changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageEnhance

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class ViewConfig:
    """Ranges of a view (Painter's training code). Shares of the photo's area; ratios of width to height.

    instance_scale: what is cut out where masks are single objects: next to nothing, so that none is cut in two.
    jitter:         of brightness, contrast, saturation and hue, each with the others in one draw of `jittered`.
    """

    scale: tuple[float, float] = (0.3, 1.0)
    instance_scale: tuple[float, float] = (0.9999, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flipped: float = 0.5
    jittered: float = 0.8
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)


@dataclass(frozen=True, eq=False)
class LabelledPhoto:
    """pixels uint8 [H, W, 3]; codes [H, W] of what is marked, 0 for nothing and -1 where nobody knows."""

    pixels: Bytes
    codes: NDArray[np.int32]


def view(
    photo: LabelledPhoto, side: int, config: ViewConfig, rng: np.random.Generator, *, whole: bool
) -> LabelledPhoto:
    """One random view of `side` x `side` pixels; `whole` keeps the photo uncut, for single objects."""
    scale = config.instance_scale if whole else config.scale
    box = random_box(photo.codes.shape, scale, config.ratio, rng)
    seen = resized(photo, box, (side, side))
    pixels = seen.pixels
    if rng.random() < config.jittered:
        pixels = jittered(pixels, config.jitter, rng)
    codes = seen.codes
    if rng.random() < config.flipped:
        pixels, codes = pixels[:, ::-1], codes[:, ::-1]
    return LabelledPhoto(np.ascontiguousarray(pixels), np.ascontiguousarray(codes))


def random_box(
    size: tuple[int, ...], scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a random part: its share of the area and its ratio drawn, ten tries, else all."""
    height, width = size
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    return 0, 0, width, height


def resized(photo: LabelledPhoto, box: tuple[int, int, int, int], size: tuple[int, int]) -> LabelledPhoto:
    """The inside of `box` at `size` (H, W): the photo bicubic, codes nearest."""
    left, top, right, bottom = box
    part = (slice(top, bottom), slice(left, right))
    to = size[::-1]
    pixels = Pillow.fromarray(np.ascontiguousarray(photo.pixels[part])).resize(to, Pillow.Resampling.BICUBIC)
    codes = Pillow.fromarray(np.ascontiguousarray(photo.codes[part])).resize(to, Pillow.Resampling.NEAREST)
    return LabelledPhoto(np.asarray(pixels), np.asarray(codes, np.int32))


def jittered(pixels: Bytes, strength: tuple[float, float, float, float], rng: np.random.Generator) -> Bytes:
    """Brightness, contrast, saturation and hue changed at random, in random order."""
    image = Pillow.fromarray(pixels)
    for which in rng.permutation(4).tolist():
        if which == 3:
            hue, saturation, value = image.convert("HSV").split()
            shift = round(255 * rng.uniform(-strength[3], strength[3]))
            turned = Pillow.fromarray((np.asarray(hue).astype(np.int16) + shift).astype(np.uint8))
            image = Pillow.merge("HSV", (turned, saturation, value)).convert("RGB")
        else:
            enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[which]
            image = enhance(image).enhance(rng.uniform(1 - strength[which], 1 + strength[which]))
    return np.asarray(image)


def stitched(photos: list[LabelledPhoto], side: int) -> LabelledPhoto:
    """Four photos of one size as the quarters of one of `side` x `side` pixels."""
    rows = [
        LabelledPhoto(
            np.concatenate([photos[n].pixels, photos[n + 1].pixels], axis=1),
            np.concatenate([photos[n].codes, photos[n + 1].codes], axis=1),
        )
        for n in (0, 2)
    ]
    whole = stacked(*rows)
    return resized(whole, (0, 0, whole.codes.shape[1], whole.codes.shape[0]), (side, side))


def stacked(upper: LabelledPhoto, lower: LabelledPhoto) -> LabelledPhoto:
    """One photo above another."""
    return LabelledPhoto(
        np.concatenate([upper.pixels, lower.pixels], axis=0), np.concatenate([upper.codes, lower.codes], axis=0)
    )

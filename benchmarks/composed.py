"""Videos with several objects and known masks: cut-outs of the example photos, moving over other example photos."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
from numpy.typing import NDArray

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
SIZE = (384, 224)  # width, height
FRAMES = 20
_ROUND = [(0.5 + 0.5 * math.cos(k * math.pi / 12), 0.5 + 0.5 * math.sin(k * math.pi / 12)) for k in range(24)]


@dataclass(frozen=True)
class CutOut:
    """A part of a photo: box and outline, x and y as fractions of the photo and of the box."""

    photo: str
    box: tuple[float, float, float, float]
    outline: tuple[tuple[float, float], ...] = tuple(_ROUND)

    def read(self) -> PIL.Image.Image:
        """RGBA; alpha is 255 inside the outline."""
        photo = PIL.Image.open(EXAMPLES / f"{self.photo}.jpg").convert("RGB")
        x0, y0, x1, y1 = self.box
        part = photo.crop(
            (round(x0 * photo.width), round(y0 * photo.height), round(x1 * photo.width), round(y1 * photo.height))
        )
        alpha = PIL.Image.new("L", part.size)
        corners = [(x * part.width, y * part.height) for x, y in self.outline]
        PIL.ImageDraw.Draw(alpha).polygon(corners, fill=255)
        part.putalpha(alpha)
        return part


FLOWER = CutOut("flower", (0.26, 0.19, 0.70, 0.84))
SAUCER = CutOut("coffee", (0.12, 0.02, 0.81, 0.98))
HELMET = CutOut("astronaut", (0.55, 0.67, 0.97, 1.0))
HEAD = CutOut("astronaut", (0.30, 0.02, 0.59, 0.36))
EYE = CutOut("chelsea", (0.29, 0.27, 0.47, 0.50))
PAGODA = CutOut(
    "china",
    (0.10, 0.06, 0.56, 0.93),
    ((0.47, 0.0), (0.53, 0.0), (0.85, 0.25), (0.95, 0.62), (0.98, 0.95), (0.6, 1.0), (0.05, 0.75), (0.08, 0.3)),
)

SCENES: dict[str, tuple[str, tuple[CutOut, ...]]] = {
    "flowers": ("chelsea", (FLOWER, SAUCER, FLOWER)),  # two that look the same
    "harbour": ("china", (HELMET, HEAD, EYE)),
    "pad": ("rocket", (PAGODA, SAUCER, HEAD)),
    "table": ("coffee", (EYE, FLOWER, PAGODA)),
}


def scene(name: str, seed: int = 0) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Frames [H, W, 3] and labels [H, W]: object 1 lies behind object 2, and so on.

    Every object is moved, turned and scaled smoothly, and bounces at the borders; they cross each other. The background
    pans, and the light changes a little.
    """
    behind, cutouts = SCENES[name]
    rng = random.Random(f"{name} {seed}")
    photo = PIL.Image.open(EXAMPLES / f"{behind}.jpg").convert("RGB")
    bodies = [_Body(cut.read(), rng, place, len(cutouts)) for place, cut in enumerate(cutouts)]
    pan = rng.uniform(0.0, 0.12)
    for t in range(FRAMES):
        along = t / (FRAMES - 1)
        view = (pan * along * photo.width, 0.0, (0.85 + pan * along) * photo.width, 0.9 * photo.height)
        frame = photo.resize(SIZE, PIL.Image.Resampling.BILINEAR, view)
        labels = PIL.Image.new("L", SIZE)
        for number, body in enumerate(bodies, 1):
            placed = body.at(t)
            frame.paste(placed, (0, 0), placed.getchannel("A"))
            labels.paste(number, (0, 0), placed.getchannel("A").point(lambda a: 255 * (a > 127)))
        light = 1 + 0.12 * math.sin(2 * math.pi * along)
        pixels = np.clip(np.asarray(frame, np.float32) * light, 0, 255).astype(np.uint8)
        yield pixels, np.asarray(labels, np.uint8)


class _Body:
    """A cut-out with a path of its own."""

    def __init__(self, cut: PIL.Image.Image, rng: random.Random, place: int, count: int) -> None:
        self.cut = cut
        self.length = rng.uniform(0.28, 0.5) * SIZE[1]
        self.x, self.y = (place + 0.5) / count * SIZE[0], rng.uniform(0.35, 0.65) * SIZE[1]
        angle = rng.uniform(0, 2 * math.pi)
        speed = rng.uniform(6, 13)
        self.dx, self.dy = speed * math.cos(angle), 0.6 * speed * math.sin(angle)
        self.turn, self.grow = rng.uniform(-4, 4), rng.uniform(-0.02, 0.02)

    def at(self, t: int) -> PIL.Image.Image:
        """RGBA of the frame's size."""
        scale = self.length / max(self.cut.size) * math.exp(self.grow * t)
        x = _bounced(self.x + self.dx * t, SIZE[0])
        y = _bounced(self.y + self.dy * t, SIZE[1])
        angle = math.radians(self.turn * t)
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        cx, cy = self.cut.width / 2, self.cut.height / 2
        # from a frame's pixel back to the cut-out's
        back = (cos, sin, cx - cos * x - sin * y, -sin, cos, cy + sin * x - cos * y)
        return self.cut.transform(SIZE, PIL.Image.Transform.AFFINE, back, PIL.Image.Resampling.BILINEAR)


def _bounced(value: float, length: int) -> float:
    """A place that turns round a tenth before either end."""
    low, high = 0.1 * length, 0.9 * length
    turned = (value - low) % (2 * (high - low))
    return low + min(turned, 2 * (high - low) - turned)

"""A legend below a picture: which colour is which class, in letters that can be read whatever the picture's size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from segcli.core.colors import Color

_PAPER: Color = (24, 24, 24)
_INK: Color = (240, 240, 240)
_SMALLEST = 12  # pixels of a letter's height that can just be read
_LONGEST = 40  # letters of a name


def with_legend(picture: NDArray[np.uint8], rows: Sequence[tuple[str, Color]]) -> NDArray[np.uint8]:
    """uint8 [H + h, W', 3]: the picture with a strip below it; W' is W, or what the longest name needs."""
    if not rows:
        return picture
    height, width = picture.shape[:2]
    size = max(_SMALLEST, round(math.sqrt(height * width) / 45))
    font = PIL.ImageFont.load_default(size)
    names = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name, _ in rows]
    gap = size // 2
    entry = gap + size + gap + max(math.ceil(font.getlength(name)) for name in names)
    across = max(1, min((width - gap) // (entry + gap), len(rows)))
    down = math.ceil(len(rows) / across)
    line = round(1.6 * size)
    strip = PIL.Image.new("RGB", (max(width, entry + 2 * gap), down * line + gap), _PAPER)
    pen = PIL.ImageDraw.Draw(strip)
    for n, (name, (_, color)) in enumerate(zip(names, rows, strict=True)):
        column, row = divmod(n, down)  # a column is read before the next one
        x, y = gap + column * ((strip.width - gap) // across), gap // 2 + row * line
        pen.rounded_rectangle((x, y + (line - size) // 2, x + size, y + (line + size) // 2), size // 4, fill=color)
        pen.text((x + size + gap, y + line // 2), name, font=font, fill=_INK, anchor="lm")
    whole = np.full((height + strip.height, strip.width, 3), _PAPER, dtype=np.uint8)
    whole[:height, :width] = picture
    whole[height:] = np.asarray(strip)
    return whole

"""Colours: the map that indexed masks are written with, colours a user may type, and colours for overlays."""

from __future__ import annotations

import colorsys
import functools
import re
from typing import TYPE_CHECKING

from segcli.core.errors import UsageError

if TYPE_CHECKING:  # a misspelt colour on the command line must not wait for numpy
    import numpy as np
    from numpy.typing import NDArray

Color = tuple[int, int, int]

NAMES: dict[str, Color] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "silver": (192, 192, 192),
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "lime": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "brown": (165, 42, 42),
    "navy": (0, 0, 128),
    "teal": (0, 128, 128),
}


@functools.cache
def davis_palette() -> NDArray[np.uint8]:
    """The colour map of PASCAL VOC and DAVIS: uint8 [256, 3], read-only.

    Three bits of the index at a time, lowest first, fill red, green and blue from their highest bit downwards.
    """
    import numpy as np

    index = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (index >> (3 * place + channel)) & 1
            palette[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    palette.setflags(write=False)  # everybody's
    return palette


def overlay_color(index: int) -> Color:
    """A bright colour for the `index`-th mask (from 0); neighbours in the order are far apart in hue."""
    hue = (0.58 + index * 0.618033988749895) % 1.0  # golden ratio: never near the colours before it
    lightness = (0.55, 0.45, 0.65)[index // 8 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def parse_color(text: str) -> Color:
    """A colour as people type it: "#rrggbb", "#rgb", "r,g,b" or a name. Raises UsageError."""
    word = text.strip().lower()
    if word in NAMES:
        return NAMES[word]
    if match := re.fullmatch(r"#?([0-9a-f]{6})", word):
        red, green, blue = bytes.fromhex(match[1])
        return red, green, blue
    if match := re.fullmatch(r"#([0-9a-f]{3})", word):
        red, green, blue = (int(digit * 2, 16) for digit in match[1])
        return red, green, blue
    if match := re.fullmatch(r"(\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})", word):
        red, green, blue = (int(part) for part in match.groups())
        if max(red, green, blue) <= 255:
            return red, green, blue
    raise UsageError(f"'{text}' is no colour: type #rrggbb, or one of {', '.join(NAMES)}")

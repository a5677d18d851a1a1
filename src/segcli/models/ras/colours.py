"""Pixels by the name of their colour: the eleven basic colour words, split by hue, saturation and value."""

from __future__ import annotations

import torch
from torch import Tensor

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray")

_DARK, _BRIGHT = 0.2, 0.75  # values below are black, from here on greys are white
_GREY = 0.2  # saturations below are grey
_HUES = ((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (260, "blue"), (300, "purple"), (360, "red"))


def named(rgb: Tensor) -> Tensor:
    """[3, …] in [0, 1] -> int64 […], the index of each pixel's colour in `COLOURS`."""
    high, low = rgb.amax(0), rgb.amin(0)
    spread = high - low
    safe = spread.clamp(min=1e-6)
    red, green, blue = rgb
    greenish = torch.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4)
    degrees = 60 * torch.where(high == red, (green - blue) / safe % 6, greenish)
    saturation = spread / high.clamp(min=1e-6)
    index = torch.full_like(degrees, COLOURS.index("red"), dtype=torch.long)
    low_edge = 0.0
    for edge, word in _HUES:
        index[(degrees >= low_edge) & (degrees < edge)] = COLOURS.index(word)
        low_edge = edge
    warm = (degrees < 45) | (degrees >= 345)
    index[warm & (high < 0.6)] = COLOURS.index("brown")
    index[((degrees >= 300) | (degrees < 15)) & (saturation < 0.5) & (high >= 0.6)] = COLOURS.index("pink")
    index[(degrees >= 345) & (saturation >= 0.5) | (degrees < 15) & (saturation >= 0.7)] = COLOURS.index("red")
    index[(degrees >= 300) & (degrees < 345)] = COLOURS.index("pink")
    index[saturation < _GREY] = COLOURS.index("gray")
    index[(saturation < _GREY) & (high >= _BRIGHT)] = COLOURS.index("white")
    index[high < _DARK] = COLOURS.index("black")
    return index


def colour_shares(rgb: Tensor) -> Tensor:
    """[3, H, W] in [0, 1] -> float32 [colours, H, W], 1 where a pixel has that colour."""
    return torch.nn.functional.one_hot(named(rgb), len(COLOURS)).movedim(-1, 0).float()

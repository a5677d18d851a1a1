"""Photos as SAM and SAM 2 see them, and answers back at the photo's size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class Frame:
    """How a photo of `size` (H, W) lies in the model's square.

    SAM keeps the shape and pads to the right and below; SAM 2 stretches to the square.
    """

    def __init__(self, size: tuple[int, int], side: int, *, stretch: bool) -> None:
        self.size, self.side = size, side
        factor = side / max(size)
        self.used = (side, side) if stretch else (round(size[0] * factor), round(size[1] * factor))

    def pixels(self, photo: NDArray[np.uint8]) -> Tensor:
        """uint8 [h, w, 3] -> float32 [1, 3, side, side], ImageNet's mean and deviation taken out."""
        planes = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255
        small = F.interpolate(planes, size=self.used, mode="bilinear", align_corners=False, antialias=True)
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (_MEAN, _DEVIATION))
        normal = (small - mean) / deviation
        return F.pad(normal, (0, self.side - self.used[1], 0, self.side - self.used[0]))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A pixel in the model's square, scaled as the published code does (the half pixel is added inside)."""
        return x * self.used[1] / self.size[1], y * self.used[0] / self.size[0]

    def mask(self, mask: NDArray[np.bool_], side: int) -> Tensor:
        """A mask of the photo as float32 [1, 1, side, side], the covered share of each cell."""
        plane = torch.from_numpy(mask.astype(np.float32))[None, None]
        used = tuple(max(1, round(v * side / self.side)) for v in self.used)
        small = F.interpolate(plane, size=used, mode="area")
        return F.pad(small, (0, side - used[1], 0, side - used[0]))

    def back(self, logits: Tensor) -> Tensor:
        """Logits [K, s, s] over the square -> [K, H, W] of the photo."""
        whole = F.interpolate(logits[None].float(), size=(self.side, self.side), mode="bilinear", align_corners=False)
        inside = whole[..., : self.used[0], : self.used[1]]
        return F.interpolate(inside, size=self.size, mode="bilinear", align_corners=False)[0]

    def soft(self, logits: Tensor) -> NDArray[np.float16]:
        """Probabilities [K, h, w] of the photo at the model's own size."""
        side = logits.shape[-1]
        used = tuple(max(1, round(v * side / self.side)) for v in self.used)
        return np.asarray(logits[..., : used[0], : used[1]].float().sigmoid().cpu().numpy().astype(np.float16))

"""The joint space of seem-nano: places of a photo, masks and words as vectors of one length (SEEM, section 3.2).

The published members read words with a text encoder and compare class embeddings of queries with them. At this size
and with this much data a text encoder learns nothing that a table would not hold, so words are a table; what is
compared with it are the places of a look (for words that ask where) and the mean of them under a mask (for labels).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 8
_DIM = 64


@dataclass(frozen=True)
class WordImage:
    """One batch of looks: `hidden` [B, C, H/16, W/16], `places` [B, D, H/8, W/8] of length 1."""

    hidden: Tensor
    places: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of both maps."""
        return sum(t.element_size() * t.nelement() for t in (self.hidden, self.places))


class WordHead(nn.Module):
    """Backbone levels at strides 16 and 32 and the mask features -> the joint space.

    count: number of words; the table has one row more, for what has no word.
    """

    def __init__(self, channels: Mapping[str, int], features: int, count: int, width: int = 104) -> None:
        super().__init__()
        self.deep = nn.Conv2d(channels["res5"], width, 1)
        self.middle = nn.Conv2d(channels["res4"], width, 1)
        self.shallow = nn.Conv2d(features, width, 1)
        self.context = nn.Linear(width, width)
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in (1, 2))
        self.fine = nn.Conv2d(features, width, 1)
        self.place = nn.Conv2d(width, _DIM, 1)
        self.region = nn.Linear(3 * width, width)
        self.region_out = nn.Linear(width, _DIM)
        self.table = nn.Parameter(torch.randn(count + 1, _DIM) / _DIM**0.5)
        self.bias = nn.Parameter(torch.zeros(count + 1))
        self.scale = nn.Parameter(torch.tensor([2.3, 2.3]))  # log of the sharpness of places and of regions

    def forward(self, res4: Tensor, res5: Tensor, features: Tensor) -> WordImage:
        """res4 [B, C4, H/16, W/16], res5 [B, C5, H/32, W/32], features [B, F, H/8, W/8] -> the look's places."""
        deep = self.deep(res5)
        deep = deep + self.context(F.relu(deep).mean((2, 3)))[:, :, None, None]
        x = F.interpolate(deep, size=res4.shape[-2:], mode="bilinear", align_corners=False)
        x = x + self.middle(res4) + self.shallow(F.avg_pool2d(features, 2))
        x = F.relu(x)
        for block in self.blocks:
            x = block(x)
        fine = F.interpolate(x, size=features.shape[-2:], mode="bilinear", align_corners=False) + self.fine(features)
        return WordImage(x, F.normalize(self.place(F.relu(fine)).float(), dim=1))

    def where(self, image: WordImage) -> Tensor:
        """Logits of every word at every place, [B, V + 1, H/8, W/8]."""
        similarity = torch.einsum("bdhw,vd->bvhw", image.places, F.normalize(self.table.float(), dim=1))
        return similarity * self.scale[0].float().exp() + self.bias.float()[None, :, None, None]

    def what(self, image: WordImage, masks: Tensor, image_of: Tensor) -> Tensor:
        """Logits [N, V + 1] of the words for regions; masks [N, 1, H/16, W/16] are covered shares of cells."""
        hidden = image.hidden[image_of]
        weights = masks.to(hidden.dtype)
        inside = (hidden * weights).sum((2, 3)) / weights.sum((2, 3)).clamp(min=1e-3)
        strongest = (hidden * weights).amax((2, 3))
        pooled = torch.cat([inside, strongest, hidden.mean((2, 3))], 1)
        vector = F.normalize(self.region_out(F.relu(self.region(pooled))).float(), dim=1)
        return vector @ F.normalize(self.table.float(), dim=1).T * self.scale[1].float().exp() + self.bias.float()


class _Block(nn.Module):
    """x + W2 ReLU(GN(depthwise 3x3 x))."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width, bias=False)
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x + F.relu(self.mix(F.relu(self.norm(self.spatial(x)))))

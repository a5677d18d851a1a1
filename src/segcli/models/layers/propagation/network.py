"""The learned part of propagation: keys for comparing, and a head that turns evidence into a mask.

The head starts as the untrained rule (its votes, averaged) and learns what to add: at stride 8 from evidence, the
earlier mask and the frame's features, at strides 4 and 2 from the frame's borders.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.layers.propagation.evidence import CHANNELS, FEATURES
from segcli.models.layers.propagation.looks import CELL

_COMPARED = ("res3", "res4", "res5")
_SHARES = (0.7, 1.0, 0.5)  # of each level's unit vector in the comparison, before what is learned
_SPREAD = {"res1": 4.0, "res2": 8.0, "res3": 8.0, "res4": 6.0, "res5": 4.0}  # brings activations near one
_GROUPS = 12
_UNIT = 8.0  # the compared levels' activations lie at about one eighth
SUBCELL = 2  # input pixels for one value of a mask that is remembered


class Block(nn.Module):
    """Two 3x3 convolutions with group norm, residual; it begins as the identity."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm1 = nn.GroupNorm(_GROUPS, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, channels)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[K, C, h, w] -> the same."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


class Memory(nn.Module):
    """What is remembered of each cell beside how much of it is the object (the value encoder of STM and STCN)."""

    def __init__(self, channels: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.mask = nn.Conv2d((CELL // SUBCELL) ** 2, width, 3, padding=1)
        self.in8 = nn.Conv2d(channels["res3"], width, 1, bias=False)
        self.in16 = nn.Conv2d(channels["res4"], width, 1, bias=False)
        self.block = Block(width)
        self.out = nn.Conv2d(width, FEATURES, 1)

    def forward(self, maps: Mapping[str, Tensor], masks: Tensor) -> Tensor:
        """Maps of one look (or of K) and soft masks [K, 1, H/2, W/2] of it -> features [K, FEATURES, H/8 * W/8]."""
        kind = self.in8.weight.dtype
        image = self.in8(maps["res3"] / _SPREAD["res3"])
        image = image + _grow(self.in16(maps["res4"] / _SPREAD["res4"]), image)
        shape = F.pixel_unshuffle(masks.to(kind) * 2 - 1, CELL // SUBCELL)
        features: Tensor = self.out(self.block(F.relu(image + self.mask(shape))))
        return features.float().flatten(2)


class PropagationNet(nn.Module):
    """Keys and head over the maps of a backbone with outputs res1..res5 at strides 2..32.

    channels: of res1..res5. dim: of the keys. widths: of the head at strides 8, 4, 2.
    """

    def __init__(self, channels: Mapping[str, int], dim: int = 96, widths: tuple[int, int, int] = (84, 36, 12)) -> None:
        super().__init__()
        w8, w4, w2 = widths
        compared = sum(channels[level] for level in _COMPARED)
        self.key = nn.Conv2d(compared, dim, 1, bias=False)
        self.key_in = nn.Conv2d(compared, 64, 1)
        self.key_around = nn.Conv2d(64, dim, 3, padding=1, bias=False)
        self.memory = Memory(channels, 48)
        self.log_tau = nn.Parameter(torch.tensor(0.04).log())
        self.gain = nn.Parameter(torch.tensor([0.5, 0.5]))
        self.in32 = nn.Conv2d(channels["res5"], w8, 1, bias=False)
        self.in16 = nn.Conv2d(channels["res4"], w8, 1, bias=False)
        self.in8 = nn.Conv2d(channels["res3"], w8, 1)
        self.evidence = nn.Conv2d(CHANNELS + 2 * FEATURES + 1, w8, 3, padding=1, bias=False)
        self.blocks8 = nn.ModuleList([Block(w8, dilation) for dilation in (1, 2, 4, 1, 2)])
        self.global_mean = nn.Linear(w8, w8)
        self.last8 = Block(w8)
        self.out8 = nn.Conv2d(w8, 1, 1)
        self.up4 = nn.Conv2d(w8, w4, 1)
        self.in4 = nn.Conv2d(channels["res2"], w4, 3, padding=1)
        self.masks4 = nn.Conv2d(2, w4, 3, padding=1, bias=False)
        self.blocks4 = nn.ModuleList([Block(w4), Block(w4, 2), Block(w4)])
        self.out4 = nn.Conv2d(w4, 1, 3, padding=1)
        self.up2 = nn.Conv2d(w4, w2 - 1, 1)
        self.in2 = nn.Conv2d(channels["res1"] + 3, w2, 3, padding=1)
        self.mix2 = nn.Conv2d(w2, w2, 3, padding=1)
        self.conv2 = nn.Conv2d(w2, w2, 3, padding=1)
        self.out2 = nn.Conv2d(w2, 1, 3, padding=1)
        for begun in (self.key_around, self.out8, self.out4, self.out2):
            nn.init.zeros_(begun.weight)

    def keys(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Maps of B looks -> unit vectors [B, dim, h * w] at stride 8."""
        joined = joined_levels(maps).to(self.key.weight.dtype)
        around = self.key_around(F.relu(self.key_in(joined * _UNIT)))
        return F.normalize(self.key(joined).float() + around.float(), dim=1).flatten(2)

    def found(
        self, maps: Mapping[str, Tensor], evidence: Tensor, votes: Tensor, earlier: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Where K objects are: mask logits [K, 1, ., .] at strides 8 and 4, and features at stride 4 for `forward`.

        maps:     of one look (or of K): res2..res5.
        evidence: [K, CHANNELS + 2 * FEATURES, H/8, W/8]; votes: [K, 2, H/8, W/8] logits.
        earlier:  [K, 1, H/8, W/8] a rough mask in 0..1: of the frame before, or of a coarser look.
        """
        level = {name: maps[name] / spread for name, spread in _SPREAD.items() if name != "res1"}
        kind = self.in8.weight.dtype
        earlier = earlier.to(kind)
        image = self.in8(level["res3"])
        image = image + _grow(self.in16(level["res4"]), image) + _grow(self.in32(level["res5"]), image)
        x = F.relu(image + self.evidence(torch.cat([evidence.to(kind), earlier * 2 - 1], 1)))
        for block in self.blocks8:
            x = block(x)
        x = F.relu(x + self.global_mean(x.mean((2, 3)))[:, :, None, None])
        x = self.last8(x)
        logits8 = self.out8(x) + (votes.to(kind) * self.gain[None, :, None, None]).sum(1, keepdim=True)

        like = level["res2"]
        logits4 = _grow(logits8, like)
        masks = torch.cat([logits4 / 4, _grow(earlier, like) * 2 - 1], 1)
        x = F.relu(self.up4(_grow(x, like)) + self.in4(like) + self.masks4(masks))
        for block in self.blocks4:
            x = block(x)
        return logits8, logits4 + self.out4(x), x

    def forward(
        self, maps: Mapping[str, Tensor], evidence: Tensor, votes: Tensor, earlier: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mask logits [K, 1, ., .] at strides 8, 4 and 2 of K objects.

        Beside what `found` takes, maps has "res1" and "photo" [., 3, H/2, W/2] around zero.
        """
        logits8, logits4, x = self.found(maps, evidence, votes, earlier)
        fine = torch.cat([maps["res1"] / _SPREAD["res1"], maps["photo"].to(x.dtype)], 1)
        logits2 = _grow(logits4, fine)
        own = self.in2(fine)
        y = F.relu(self.mix2(torch.cat([logits2 / 4, _grow(self.up2(x), fine)], 1)) + own)
        y = F.relu(self.conv2(y) + own)
        return logits8, logits4, logits2 + self.out2(y)


def joined_levels(maps: Mapping[str, Tensor]) -> Tensor:
    """The compared levels of B looks, each of unit length times its share, side by side: [B, C, H/8, W/8]."""
    like = maps["res3"]
    levels = [
        _grow(F.normalize(maps[level].float(), dim=1) * share, like)
        for level, share in zip(_COMPARED, _SHARES, strict=True)
    ]
    return torch.cat(levels, 1)


def _grow(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)

"""What the published point tokens can't learn at nano size: prompts as maps beside the image features.

Measured on this data, plain point tokens into a small mask decoder learn next to nothing, while clicks drawn as maps
(similarity to the clicked feature, a blob at the click, the previous round's mask) carry the prompt well. The click
path is a small U-Net over such maps; what it returns are the mask features and multi-scale features that SEEM's
decoder then reads as if they came from the pixel decoder. The official checkpoints do not have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BLOBS = (2.0, 6.0)  # standard deviations of the blobs, in cells of stride 4
STRIDE = 4
_GROUPS = 8


@dataclass(frozen=True)
class PromptMaps:
    """Prompts of N objects in pixels of the padded input.

    points:   [N, P, 3] x, y and sign (1 positive, 0 negative, -1 no point).
    region:   [N, 1, H/4, W/4] 1 inside of a box prompt, 0 outside; all 0.5 where there is none.
    previous: [N, 1, H/4, W/4] probability of the previous round or of a rough mask, 0 where there is none.
    """

    points: Tensor
    region: Tensor
    previous: Tensor


@dataclass(frozen=True)
class ClickImage:
    """What `ClickPath.prepare` keeps of B images.

    units:       maps whose similarity to the clicks is drawn, of length 1 over their channels.
    entry4, entry8, entry16: the image's part of the first convolution at each stride.
    multi_scale: the pixel decoder's maps at strides 32, 16, 8.
    """

    units: tuple[Tensor, ...]
    entry4: Tensor
    entry8: Tensor
    entry16: Tensor
    multi_scale: tuple[Tensor, Tensor, Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes of all maps."""
        return sum(t.nbytes for t in (*self.units, self.entry4, self.entry8, self.entry16, *self.multi_scale))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group norm."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm1 = nn.GroupNorm(_GROUPS, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> the same."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


class ClickPath(nn.Module):
    """U-Net at strides 4, 8 and 16 from prompt maps and image features to prompt-aware features.

    levels: channels of the backbone maps whose similarity to the clicks is used.
    dim:    channels of the pixel decoder's maps, and of the output.
    widths: channels at strides 4, 8, 16.
    """

    def __init__(self, levels: Mapping[str, int], dim: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        w4, w8, w16 = widths
        maps = 2 * (len(self.levels) + 1) + 2 * len(_BLOBS) + 2
        # The image's part of each first convolution is computed once a photo, the prompts' part once an object.
        self.enter4 = nn.Conv2d(dim, w4, 3, padding=1)
        self.stem4 = nn.Conv2d(maps, w4, 3, padding=1, bias=False)
        self.enter8 = nn.Conv2d(dim, w8, 1)
        self.enter16 = nn.Conv2d(dim, w16, 1)
        self.enter32 = nn.Conv2d(dim, w16, 1)
        self.down4 = ResidualBlock(w4)
        self.to8 = nn.Conv2d(w4, w8, 3, stride=2, padding=1)
        self.down8 = ResidualBlock(w8)
        self.to16 = nn.Conv2d(w8, w16, 3, stride=2, padding=1)
        self.deep = nn.ModuleList([ResidualBlock(w16, d) for d in (1, 2, 4)])
        self.global_mean = nn.Linear(w16, w16)
        self.up8 = nn.Conv2d(w16, w8, 1)
        self.join8 = ResidualBlock(w8)
        self.up4 = nn.Conv2d(w8, w4, 1)
        self.join4 = ResidualBlock(w4)
        self.out4 = nn.Conv2d(w4, dim, 1)
        self.out8 = nn.Conv2d(w8, dim, 1)
        self.out16 = nn.Conv2d(w16, dim, 1)
        self.out32 = nn.Conv2d(w16, dim, 1)

    def prepare(
        self, backbone: Mapping[str, Tensor], mask_features: Tensor, multi_scale: Sequence[Tensor]
    ) -> ClickImage:
        """Everything about B images that no prompt changes.

        backbone:      maps by level name.
        mask_features: [B, dim, H/4, W/4]; multi_scale: strides 32, 16, 8 as the pixel decoder returns them.
        """
        s32, s16, s8 = multi_scale
        compared = [*(backbone[level] for level in self.levels), mask_features]
        return ClickImage(
            units=tuple(F.normalize(feature.float(), dim=1) for feature in compared),
            entry4=self.enter4(mask_features),
            entry8=self.enter8(s8),
            entry16=self.enter16(s16) + _grow(self.enter32(s32), s16),
            multi_scale=(s32, s16, s8),
        )

    def forward(self, image: ClickImage, prompts: PromptMaps, image_of: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Prompt-aware mask features [N, dim, H/4, W/4] and multi-scale maps (strides 32, 16, 8) of N objects.

        image_of: [N] which of the prepared images an object belongs to.
        """
        size = image.entry4.shape[-2:]
        maps = [similarity(unit, prompts.points, image_of, size) for unit in image.units]
        maps.append(blobs(prompts.points, (int(size[0]), int(size[1]))))
        drawn = torch.cat([*maps, prompts.region, prompts.previous], 1).to(image.entry4.dtype)

        x4 = self.down4(F.relu(self.stem4(drawn) + of_objects(image.entry4, image_of)))
        x8 = self.down8(F.relu(self.to8(x4) + of_objects(image.entry8, image_of)))
        x16 = F.relu(self.to16(x8) + of_objects(image.entry16, image_of))
        for block in self.deep:
            x16 = block(x16)
        x16 = F.relu(x16 + self.global_mean(x16.mean((2, 3)))[:, :, None, None])
        x8 = self.join8(x8 + _grow(self.up8(x16), x8))
        x4 = self.join4(x4 + _grow(self.up4(x8), x4))
        s32, s16, s8 = (of_objects(scale, image_of) for scale in image.multi_scale)
        x32 = F.adaptive_avg_pool2d(x16, (s32.shape[-2], s32.shape[-1]))
        seen = [s32 + self.out32(x32), s16 + self.out16(x16), s8 + self.out8(x8)]
        return self.out4(x4), seen


class DetailHead(nn.Module):
    """Learned upsampling of mask logits from stride 4 to stride 2, guided by the backbone's stem and the photo.

    The published model upsamples bilinearly, which at a nano input size leaves steps of 8 and more photo pixels.
    """

    def __init__(self, stem_channels: int, dim: int, width: int = 16) -> None:
        super().__init__()
        self.image = nn.Conv2d(stem_channels + 3, width, 3, padding=1)
        self.context = nn.Conv2d(dim, width - 1, 1)
        self.prompt = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.out.weight)  # starts as the bilinear upsampling

    def prepare(self, stem: Tensor, photo: Tensor) -> Tensor:
        """The image's part [B, width, H/2, W/2].

        stem: [B, C, H/2, W/2] of the backbone; photo: [B, 3, H/2, W/2] around zero.
        """
        prepared: Tensor = self.image(torch.cat([stem, photo.to(stem)], 1))
        return prepared

    def forward(self, logits: Tensor, features: Tensor, image: Tensor, image_of: Tensor) -> Tensor:
        """[N, K, H/4, W/4] logits and [N, dim, H/4, W/4] features -> [N, K, H/2, W/2] logits.

        image: what `prepare` returned for B images.
        """
        own = of_objects(image, image_of)
        context = self.context(features)
        refined = []
        for k in range(logits.shape[1]):
            plane = logits[:, k : k + 1]
            coarse = torch.cat([plane / 4, context.to(plane)], 1)
            x = F.relu(self.prompt(_grow(coarse, own)) + own)
            refined.append(_grow(plane, own) + self.out(F.relu(self.conv(x))))
        return torch.cat(refined, 1)


def of_objects(maps: Tensor, image_of: Tensor) -> Tensor:
    """Maps of B images [B, ...] as maps of N objects [N, ...], without a copy for a single object of a single image."""
    return maps if len(maps) == 1 == len(image_of) else maps[image_of]


def similarity(unit: Tensor, points: Tensor, image_of: Tensor, size: torch.Size) -> Tensor:
    """Largest cosine similarity of each cell to the cells under the clicks, per sign: [N, 2, *size]; -1 where none.

    unit: [B, C, h, w], of length 1 over C; points: [N, P, 3] in input pixels (stride 4 times `size`).
    """
    own = of_objects(unit, image_of)
    sign = points[..., 2]
    scale = points.new_tensor([size[1] * STRIDE, size[0] * STRIDE])
    grid = ((points[..., :2] + 0.5) / scale * 2 - 1)[:, :, None]  # [N, P, 1, 2]
    under = F.grid_sample(own, grid.to(own), align_corners=False, padding_mode="border")[..., 0]
    under = F.normalize(under, dim=1)  # [N, C, P]
    cosine = torch.bmm(under.transpose(1, 2), own.flatten(2))  # [N, P, hw]
    planes = []
    for wanted in (1, 0):
        present = (sign == wanted)[:, :, None]
        planes.append(cosine.masked_fill(~present, -1.0).amax(1))
    maps = torch.stack(planes, 1).view(len(sign), 2, *unit.shape[-2:])
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def blobs(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Gaussian blobs at the clicks, per sign and width: [N, 2 * len(_BLOBS), *size]."""
    y = torch.arange(size[0], device=points.device) * STRIDE + (STRIDE - 1) / 2
    x = torch.arange(size[1], device=points.device) * STRIDE + (STRIDE - 1) / 2
    dx = (points[..., 0:1] - x).square()[:, :, None, :]  # [N, P, 1, w]
    dy = (points[..., 1:2] - y).square()[:, :, :, None]  # [N, P, h, 1]
    distance = dx + dy
    planes = []
    for wanted in (1, 0):
        absent = (points[..., 2] != wanted)[:, :, None, None]
        nearest = distance.masked_fill(absent, torch.inf).amin(1)
        planes += [torch.exp(-nearest / (2 * (sigma * STRIDE) ** 2)) for sigma in _BLOBS]
    return torch.stack(planes, 1)


def _grow(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)

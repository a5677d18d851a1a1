"""Mask2Former's pixel decoder as PSALM trained it: convolutions with biases, a ReLU on the lateral one too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.layers.deformable import LEVELS, DeformableEncoder
from segcli.models.psalm.config import PixelDecoderConfig


class PixelDecoder(nn.Module):
    """Deformable attention over three maps, then one pyramid level."""

    def __init__(self, in_channels: Sequence[int], config: PixelDecoderConfig) -> None:
        super().__init__()
        res2, res3, res4, res5 = in_channels
        dim, groups = config.dim, config.groups
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1), nn.GroupNorm(groups, dim)) for channels in (res5, res4, res3)
        )
        self.transformer = DeformableEncoder(dim, config.heads, config.points, config.hidden, config.layers)
        self.adapter_1 = nn.Sequential(nn.Conv2d(res2, dim, 1), nn.GroupNorm(groups, dim), nn.ReLU())
        self.layer_1 = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.GroupNorm(groups, dim), nn.ReLU())
        self.mask_features = nn.Conv2d(dim, config.mask_dim, 1)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Image maps -> mask features [B, mask_dim, H/4, W/4] and maps at strides 32, 16, 8 [B, dim, h, w]."""
        projected = [proj(features[level]) for proj, level in zip(self.input_proj, LEVELS, strict=True)]
        scales = self.transformer(projected)
        lateral = self.adapter_1(features["res2"])
        y = F.interpolate(scales[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask_features(self.layer_1(lateral + y)), scales

"""SEEM's pixel decoder for the SAM backbones: deformable attention over three maps, then one pyramid level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.layers.convolution import NormedConv
from segcli.models.layers.deformable import LEVELS, DeformableEncoder


class PixelDecoderDeform(nn.Module):
    """Deformable encoder plus one pyramid level (`transformer_encoder_deform` of the released configurations).

    The arguments are those of `PixelDecoderFPN`, and `points` read by each head on each level. The encoder runs in
    float32 whatever the surrounding autocast says, as published.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        dim: int,
        mask_dim: int,
        heads: int = 8,
        hidden: int = 1024,
        layers: int = 6,
        groups: int = 32,
        points: int = 4,
    ) -> None:
        super().__init__()
        res2, res3, res4, res5 = in_channels
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1), nn.GroupNorm(groups, dim)) for channels in (res5, res4, res3)
        )
        self.transformer = DeformableEncoder(dim, heads, points, hidden, layers)
        self.adapter_1 = NormedConv(res2, dim, 1, groups, relu=False)
        self.layer_1 = NormedConv(dim, dim, 3, groups, relu=True)
        self.mask_features = nn.Conv2d(dim, mask_dim, 1)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Backbone maps -> mask features [B, mask_dim, H/4, W/4] and maps at strides 32, 16, 8 [B, dim, h, w]."""
        device = features["res2"].device.type
        with torch.autocast(device_type=device, enabled=False):
            weight_type = self.mask_features.weight.dtype
            maps = {name: value.to(weight_type) for name, value in features.items()}
            projected = [proj(maps[level]) for proj, level in zip(self.input_proj, LEVELS, strict=True)]
            multi_scale = self.transformer(projected)
            lateral = self.adapter_1(maps["res2"])
            y = F.interpolate(multi_scale[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False)
            y = self.layer_1(lateral + y)
            return self.mask_features(y), multi_scale

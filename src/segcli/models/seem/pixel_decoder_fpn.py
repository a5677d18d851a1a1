"""SEEM's pixel decoder for convolutional backbones: a transformer on the coarsest map, then a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.layers.convolution import NormedConv
from segcli.models.layers.positions import sine_positions
from segcli.models.layers.transformer import EncoderLayer

LEVELS = ("res2", "res3", "res4", "res5")
"""Backbone maps at strides 4, 8, 16, 32."""


class TransformerEncoder(nn.Module):
    """A stack of DETR encoder layers under the keys `encoder.layers.i`."""

    def __init__(self, dim: int, heads: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(EncoderLayer(dim, heads, hidden) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same."""
        height, width = x.shape[-2:]
        position = sine_positions(height, width, x.shape[1], x).flatten(2).transpose(1, 2).to(x.dtype)
        tokens = x.flatten(2).transpose(1, 2)
        for layer in self.encoder.layers:  # type: ignore[union-attr]
            tokens = layer(tokens, position)
        return tokens.transpose(1, 2).reshape(x.shape)


class PixelDecoderFPN(nn.Module):
    """Transformer encoder plus feature pyramid (`transformer_encoder_fpn` of the released configurations).

    in_channels: channels of res2, res3, res4, res5.
    dim:         channels inside and of the multi-scale maps.
    mask_dim:    channels of the mask features.
    groups:      groups of every group norm.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        dim: int,
        mask_dim: int,
        heads: int = 8,
        hidden: int = 2048,
        layers: int = 6,
        groups: int = 32,
    ) -> None:
        super().__init__()
        for k, channels in enumerate(in_channels[:-1], start=1):
            # The lateral has a norm but no activation.
            self.add_module(f"adapter_{k}", NormedConv(channels, dim, 1, groups, relu=False))
        for k in range(1, len(in_channels) + 1):
            self.add_module(f"layer_{k}", NormedConv(dim, dim, 3, groups, relu=True))
        self.input_proj = nn.Conv2d(in_channels[-1], dim, 1)
        self.transformer = TransformerEncoder(dim, heads, hidden, layers)
        self.mask_features = nn.Conv2d(dim, mask_dim, 3, padding=1)

    def encode_coarsest(self, res5: Tensor) -> Tensor:
        """The transformer's output on the coarsest map, [B, dim, h, w]."""
        encoded: Tensor = self.transformer(self.input_proj(res5))
        return encoded

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Backbone maps -> mask features [B, mask_dim, H/4, W/4] and maps at strides 32, 16, 8 [B, dim, h, w]."""
        y = self.get_submodule("layer_4")(self.encode_coarsest(features["res5"]))
        multi_scale = [y]
        for k in (3, 2, 1):
            lateral = self.get_submodule(f"adapter_{k}")(features[LEVELS[k - 1]])
            y = lateral + F.interpolate(y, size=lateral.shape[-2:], mode="nearest")
            y = self.get_submodule(f"layer_{k}")(y)
            multi_scale.append(y)
        return self.mask_features(y), multi_scale[:3]

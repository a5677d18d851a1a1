"""DaViT (Ding et al., ECCV 2022): attention over windows of pixels, then over channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.backbones.config import DavitConfig

_MLP_RATIO = 4


class Inner(nn.Module):
    """Gives a module the key prefix `fn`, which the published residual wrapper has."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        """`fn(x)`."""
        y: Tensor = self.fn(x)
        return y


class Depthwise(nn.Module):
    """3x3 depthwise convolution of tokens in their grid."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the same."""
        y: Tensor = self.dw(x.permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1)


class Net(nn.Module):
    """Feed-forward under the keys `net.fc1`, `net.fc2`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"fc1": nn.Linear(dim, _MLP_RATIO * dim), "fc2": nn.Linear(_MLP_RATIO * dim, dim)})

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        y: Tensor = self.net["fc2"](F.gelu(self.net["fc1"](x)))
        return y


class WindowAttention(nn.Module):
    """Attention inside windows. Padding (zeros, right and below) takes part as keys: there is no mask."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.heads, self.window = heads, window

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the same."""
        batch, height, width, dim = x.shape
        side = self.window
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.view(batch, rows, side, columns, side, dim).transpose(2, 3).reshape(-1, side * side, dim)
        q, k, v = self.qkv(x).view(x.shape[0], x.shape[1], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = self.proj(y).view(batch, rows, columns, side, side, dim).transpose(2, 3)
        y = y.reshape(batch, rows * side, columns * side, dim)
        cropped: Tensor = y[:, :height, :width]
        return cropped


class ChannelAttention(nn.Module):
    """Attention of channels to channels inside each group, over all pixels (section 3.3)."""

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the same."""
        batch, height, width, dim = x.shape
        count = height * width
        q, k, v = self.qkv(x).view(batch, count, 3, self.groups, -1).permute(2, 0, 3, 1, 4)
        weights = ((q * count**-0.5).transpose(-1, -2) @ k).softmax(-1)
        y = (weights @ v.transpose(-1, -2)).transpose(-1, -2)  # [B, groups, HW, C / groups]
        projected: Tensor = self.proj(y.transpose(1, 2).reshape(batch, height, width, dim))
        return projected


class NormedAttention(nn.Module):
    """Norm before attention, under the keys `norm` and `fn`."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the residual branch."""
        y: Tensor = self.fn(self.norm(x))
        return y


class Block(nn.Module):
    """Local convolution, attention, local convolution, feed-forward, each with its residual."""

    def __init__(self, dim: int, attention_name: str, attention: nn.Module) -> None:
        super().__init__()
        self.attention_name = attention_name
        self.conv1 = Inner(Depthwise(dim))
        self.add_module(attention_name, NormedAttention(dim, attention))
        self.conv2 = Inner(Depthwise(dim))
        self.ffn = NormedAttention(dim, Net(dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the same."""
        x = x + self.conv1(x)
        x = x + self.get_submodule(self.attention_name)(x)
        x = x + self.conv2(x)
        y: Tensor = x + self.ffn(x)
        return y


class ConvEmbed(nn.Module):
    """Convolution that shrinks the map, with its norm before (on the input's channels) or after."""

    def __init__(self, channels: int, dim: int, kernel: int, stride: int, padding: int, prenorm: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(channels if prenorm else dim)
        self.prenorm = prenorm

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, channels] -> [B, H / stride, W / stride, dim]."""
        if self.prenorm:
            x = self.norm(x)
        y: Tensor = self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return y if self.prenorm else self.norm(y)


class Pair(nn.Module):
    """A block over pixels, then one over channels."""

    def __init__(self, dim: int, heads: int, groups: int, window: int) -> None:
        super().__init__()
        self.spatial_block = Block(dim, "window_attn", WindowAttention(dim, heads, window))
        self.channel_block = Block(dim, "channel_attn", ChannelAttention(dim, groups))

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the same."""
        y: Tensor = self.channel_block(self.spatial_block(x))
        return y


class DaViT(nn.Module):
    """Backbone maps res2 to res5 at strides 4, 8, 16, 32, as they come (no final norm)."""

    def __init__(self, config: DavitConfig) -> None:
        super().__init__()
        self.channels: Sequence[int] = config.dims
        inputs = (3, *config.dims)
        stages = range(len(config.dims))
        self.convs = nn.ModuleList(
            ConvEmbed(
                inputs[i], config.dims[i], config.patch[i], config.stride[i], config.padding[i], config.prenorm[i]
            )
            for i in stages
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                Pair(config.dims[i], config.heads[i], config.groups[i], config.window) for _ in range(config.depths[i])
            )
            for i in stages
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Normalised image [B, 3, H, W] -> maps [B, C, h, w] by name."""
        x = image.permute(0, 2, 3, 1)
        maps = {}
        for i, (conv, stage) in enumerate(zip(self.convs, self.blocks, strict=True)):
            x = conv(x)
            assert isinstance(stage, nn.ModuleList)
            for pair in stage:
                x = pair(x)
            maps[f"res{i + 2}"] = x.permute(0, 3, 1, 2).contiguous()
        return maps

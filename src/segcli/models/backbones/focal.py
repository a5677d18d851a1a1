"""FocalNet (Yang et al., NeurIPS 2022) in the two forms that X-Decoder and SEEM use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.backbones.config import FocalConfig

_KERNEL_STEP = 2  # each focal level looks two cells farther


class FocalModulation(nn.Module):
    """Attention replaced by gated context of growing reach (section 3.1)."""

    def __init__(self, dim: int, levels: int, window: int) -> None:
        super().__init__()
        self.levels = levels
        self.f = nn.Linear(dim, 2 * dim + levels + 1)
        self.h = nn.Conv2d(dim, dim, 1)
        self.proj = nn.Linear(dim, dim)
        self.focal_layers = nn.ModuleList()
        for level in range(levels):
            kernel = _KERNEL_STEP * level + window
            conv = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
            self.focal_layers.append(nn.Sequential(conv, nn.GELU()))

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the same."""
        channels = x.shape[-1]
        query, context, gates = torch.split(self.f(x).permute(0, 3, 1, 2), [channels, channels, self.levels + 1], 1)
        total = torch.zeros_like(query)
        for level, layer in enumerate(self.focal_layers):
            context = layer(context)
            total = total + context * gates[:, level : level + 1]
        whole = F.gelu(context.mean((2, 3), keepdim=True))
        total = total + whole * gates[:, self.levels :]
        y = query * self.h(total / (self.levels + 1))
        modulated: Tensor = self.proj(y.permute(0, 2, 3, 1))
        return modulated


class Mlp(nn.Module):
    """Two linear maps with GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        mapped: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return mapped


class FocalBlock(nn.Module):
    """Modulation and MLP with layer scale and post-norm.

    The two published forms have the same flags and different formulas: with depthwise convolutions the norm stands
    after the sum, without them inside the residual branch.
    """

    def __init__(self, dim: int, levels: int, window: int, mlp_ratio: float, depthwise: bool) -> None:
        super().__init__()
        self.depthwise = depthwise
        if depthwise:
            self.dw1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
            self.dw2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.modulation = FocalModulation(dim, levels, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.gamma_1 = nn.Parameter(torch.full((dim,), 1e-4))
        self.gamma_2 = nn.Parameter(torch.full((dim,), 1e-4))

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the same."""
        if self.depthwise:
            x = x + self._local(self.dw1, x)
            x = self.norm1(x + self.gamma_1 * self.modulation(x))
            x = x + self._local(self.dw2, x)
            normed: Tensor = self.norm2(x + self.gamma_2 * self.mlp(x))
            return normed
        x = x + self.gamma_1 * self.norm1(self.modulation(x))
        added: Tensor = x + self.gamma_2 * self.norm2(self.mlp(x))
        return added

    @staticmethod
    def _local(conv: nn.Conv2d, x: Tensor) -> Tensor:
        y: Tensor = conv(x.permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """Convolution and norm that shrink the map; the input is padded with zeros to a multiple of the stride."""

    def __init__(self, channels: int, dim: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, H / stride, W / stride, dim]."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride))
        normed: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return normed


class FocalStage(nn.Module):
    """Blocks of one resolution, and the way down to the next."""

    def __init__(self, dim: int, depth: int, levels: int, window: int, config: FocalConfig, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            FocalBlock(dim, levels, window, config.mlp_ratio, config.depthwise) for _ in range(depth)
        )
        self.downsample = None if last else PatchEmbed(dim, 2 * dim, 3, 2, 1)


class FocalNet(nn.Module):
    """Backbone maps res2 to res5 at strides 4, 8, 16, 32, each with its own norm."""

    def __init__(self, config: FocalConfig) -> None:
        super().__init__()
        stages = len(config.depths)
        self.channels = tuple(config.embed_dim * 2**i for i in range(stages))
        self.patch_embed = PatchEmbed(3, config.embed_dim, 7, 4, padding=3 if config.depthwise else 2)
        self.layers = nn.ModuleList(
            FocalStage(
                self.channels[i],
                config.depths[i],
                config.focal_levels[i],
                config.focal_windows[i],
                config,
                last=i == stages - 1,
            )
            for i in range(stages)
        )
        for i, dim in enumerate(self.channels):
            self.add_module(f"norm{i}", nn.LayerNorm(dim))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Normalised image [B, 3, H, W] -> maps [B, C, h, w] by name."""
        x = self.patch_embed(image)
        maps = {}
        for i, stage in enumerate(self.layers):
            assert isinstance(stage, FocalStage)
            for block in stage.blocks:
                x = block(x)
            maps[f"res{i + 2}"] = self.get_submodule(f"norm{i}")(x).permute(0, 3, 1, 2).contiguous()
            if stage.downsample is not None:
                x = stage.downsample(x.permute(0, 3, 1, 2))
        return maps

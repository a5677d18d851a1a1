"""Swin Transformer as PSALM reads it: windows padded with zeros, a norm on each of four outputs (Liu et al., 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.psalm.config import SwinConfig

_NEVER = -100.0  # added to the attention between tokens that a shifted window only happens to hold together


class WindowAttention(nn.Module):
    """Attention within a window, with a learned bias for each relative position (equation 4)."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def _bias(self) -> Tensor:
        """Bias of each pair of tokens [heads, window^2, window^2]."""
        side = torch.arange(self.window, device=self.relative_position_bias_table.device)
        place = torch.stack(torch.meshgrid(side, side, indexing="ij")).flatten(1)
        away = place[:, :, None] - place[:, None] + self.window - 1  # [2, tokens, tokens], from 0
        index = away[0] * (2 * self.window - 1) + away[1]
        return self.relative_position_bias_table[index].permute(2, 0, 1)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """x: [B * windows, tokens, C]; apart: added to the scores of each window [windows, tokens, tokens]."""
        count, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self._bias()[None]
        if apart is not None:
            bias = (bias + apart[:, None].to(bias.dtype)).repeat(count // len(apart), 1, 1, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(count, -1, -1, -1).to(q.dtype))
        projected: Tensor = self.proj(y.transpose(1, 2).reshape(count, tokens, dim))
        return projected


class Mlp(nn.Module):
    """Two linear maps with GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        mapped: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return mapped


class SwinBlock(nn.Module):
    """Window attention and feed-forward, pre-norm; every second block of a stage shifts its windows by half."""

    def __init__(self, dim: int, heads: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift, self.drop_path = window, shift, drop_path
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)

    def _kept(self, branch: Tensor) -> Tensor:
        """The residual branch, left out for whole samples at random while training (stochastic depth)."""
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = torch.rand(len(branch), *[1] * (branch.ndim - 1), device=branch.device) >= self.drop_path
        return branch * keep.to(branch.dtype) / (1 - self.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, C] -> the same shape; windows reach into zeros where the map is no multiple of them."""
        height, width = x.shape[1:3]
        w, shift = self.window, self.shift
        y = F.pad(self.norm1(x), (0, 0, 0, -width % w, 0, -height % w))
        if shift:
            y = y.roll((-shift, -shift), (1, 2))
        batch, rows, columns = len(y), y.shape[1] // w, y.shape[2] // w
        y = y.view(batch, rows, w, columns, w, -1).transpose(2, 3).reshape(-1, w * w, y.shape[-1])
        y = self.attn(y, _apart(rows, columns, w, shift, y.device) if shift else None)
        y = y.view(batch, rows, columns, w, w, -1).transpose(2, 3).reshape(batch, rows * w, columns * w, -1)
        if shift:
            y = y.roll((shift, shift), (1, 2))
        x = x + self._kept(y[:, :height, :width])
        return x + self._kept(self.mlp(self.norm2(x)))


def _apart(rows: int, columns: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Bias [windows, tokens, tokens] that parts what lay on different borders before the shift (figure 4)."""

    def bands(count: int) -> Tensor:
        at = torch.arange(count * window, device=device)
        return (at >= count * window - window).long() + (at >= count * window - shift).long()

    region = bands(rows)[:, None] * 3 + bands(columns)[None]
    region = region.view(rows, window, columns, window).transpose(1, 2).reshape(-1, window * window)
    return (region[:, :, None] != region[:, None]).float() * _NEVER


class PatchMerging(nn.Module):
    """Halves the map and doubles the channels (section 3.1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, C] -> [B, ceil(h / 2), ceil(w / 2), 2 C]."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        reduced: Tensor = self.reduction(self.norm(x))
        return reduced


class PatchEmbed(nn.Module):
    """Patches of 4 x 4 pixels as tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, H / 4, W / 4, C]; sides are padded to multiples of 4."""
        height, width = pixels.shape[-2:]
        tokens: Tensor = self.norm(self.proj(F.pad(pixels, (0, -width % 4, 0, -height % 4))).permute(0, 2, 3, 1))
        return tokens


class Swin(nn.Module):
    """Four stages; keys as in the original detection code, a norm `norm{i}` on each output."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.embed_dim)
        self.layers = nn.ModuleList()
        total, done = sum(config.depths), 0
        for stage, (depth, heads, dim) in enumerate(zip(config.depths, config.heads, config.channels, strict=True)):
            layer = nn.Module()
            layer.blocks = nn.ModuleList(
                SwinBlock(
                    dim,
                    heads,
                    config.window,
                    (config.window // 2) * (index % 2),
                    config.drop_path * (done + index) / max(1, total - 1),  # grows with depth
                )
                for index in range(depth)
            )
            done += depth
            if stage < len(config.depths) - 1:
                layer.downsample = PatchMerging(dim)
            self.layers.append(layer)
            self.add_module(f"norm{stage}", nn.LayerNorm(dim))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Normalised pixels [B, 3, H, W] -> res2 to res5 [B, C, H / stride, W / stride], strides 4, 8, 16, 32."""
        x = self.patch_embed(pixels)
        maps: dict[str, Tensor] = {}
        for stage, layer in enumerate(self.layers):
            for block in layer.blocks:  # type: ignore[union-attr]
                x = block(x)
            maps[f"res{stage + 2}"] = self.get_submodule(f"norm{stage}")(x).permute(0, 3, 1, 2).contiguous()
            if stage < len(self.layers) - 1:
                x = layer.downsample(x)  # type: ignore[operator]
        return maps

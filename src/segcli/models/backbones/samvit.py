"""SAM's image encoder (a windowed ViT with relative positions), and the simple pyramid that SEEM puts behind it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.backbones.config import SamVitConfig

_EPSILON = 1e-6


class RelativeAttention(nn.Module):
    """Attention over a square grid with decomposed relative positions (MViTv2, section 4.1)."""

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))

    def forward(self, x: Tensor) -> Tensor:
        """[B, side, side, C] -> the same.

        score = q k / sqrt(d) + q R_rows + q R_columns, with the unscaled q in the last two. They are written as
        further channels of q against one-hot rows and columns of k, so that no [N, N] bias is ever stored.
        """
        batch, height, width, dim = x.shape
        q, k, v = self.qkv(x).view(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        apart = torch.arange(self.side, device=x.device)
        apart = apart[:, None] - apart[None] + self.side - 1  # [query, key]
        grid = q.view(batch, self.heads, height, width, -1)
        by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, self.rel_pos_h[apart]).flatten(2, 3)
        by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, self.rel_pos_w[apart]).flatten(2, 3)
        eye = torch.eye(self.side, device=x.device, dtype=x.dtype)
        rows = eye[:, None].expand(-1, width, -1).flatten(0, 1).expand(batch, self.heads, -1, -1)
        columns = eye[None].expand(height, -1, -1).flatten(0, 1).expand(batch, self.heads, -1, -1)
        q = torch.cat([q * q.shape[-1] ** -0.5, by_row, by_column], -1)
        y = F.scaled_dot_product_attention(q, torch.cat([k, rows, columns], -1), v, scale=1.0)
        projected: Tensor = self.proj(y.transpose(1, 2).reshape(batch, height, width, dim))
        return projected


class Mlp(nn.Module):
    """Two linear maps with GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        mapped: Tensor = self.lin2(F.gelu(self.lin1(x)))
        return mapped


class SamBlock(nn.Module):
    """Pre-norm block, windowed or (window 0) global. Windows are filled up with zeros after the norm."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, window: int, grid: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=_EPSILON)
        self.attn = RelativeAttention(dim, heads, window or grid)
        self.norm2 = nn.LayerNorm(dim, eps=_EPSILON)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the same."""
        y = self.norm1(x)
        x = x + (self._in_windows(y) if self.window else self.attn(y))
        added: Tensor = x + self.mlp(self.norm2(x))
        return added

    def _in_windows(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        side = self.window
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.view(batch, rows, side, columns, side, dim).transpose(2, 3).reshape(-1, side, side, dim)
        y = self.attn(x).view(batch, rows, columns, side, side, dim).transpose(2, 3)
        cropped: Tensor = y.reshape(batch, rows * side, columns * side, dim)[:, :height, :width]
        return cropped


class PatchEmbed(nn.Module):
    """Patches to tokens."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, H / patch, W / patch, dim]."""
        y: Tensor = self.proj(x)
        return y.permute(0, 2, 3, 1)


class SimplePyramid(nn.Module):
    """Four maps out of one: twice up, once up, as it is, once down, each with one-group norms."""

    def __init__(self, dim: int, out_dims: tuple[int, ...]) -> None:
        super().__init__()
        out2, out3, out4, out5 = out_dims
        wide = max(2 * out2, dim // 2)
        self.down_4 = nn.Sequential(
            nn.ConvTranspose2d(dim, wide, 2, 2),
            nn.GroupNorm(1, wide),
            nn.GELU(),
            nn.ConvTranspose2d(wide, wide // 2, 2, 2),
            nn.GroupNorm(1, wide // 2),
            nn.Conv2d(wide // 2, out2, 1),
            nn.GroupNorm(1, out2),
            nn.GELU(),
        )
        wide = max(out3, dim // 2)
        self.down_8 = nn.Sequential(
            nn.ConvTranspose2d(dim, wide, 2, 2),
            nn.GroupNorm(1, wide),
            nn.Conv2d(wide, out3, 1),
            nn.GroupNorm(1, out3),
            nn.GELU(),
        )
        self.down_16 = nn.Sequential(nn.Conv2d(dim, out4, 1), nn.GroupNorm(1, out4), nn.GELU())
        wide = max(out5, 2 * dim)
        self.down_32 = nn.Sequential(
            nn.Conv2d(dim, wide, 2, 2),
            nn.GroupNorm(1, wide),
            nn.Conv2d(wide, out5, 1),
            nn.GroupNorm(1, out5),
            nn.GELU(),
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map at stride 16 -> maps at strides 4, 8, 16, 32."""
        return {"res2": self.down_4(x), "res3": self.down_8(x), "res4": self.down_16(x), "res5": self.down_32(x)}


class SamViT(nn.Module):
    """Backbone maps res2 to res5. The input must be exactly `image_size` square: its positions aren't resized."""

    def __init__(self, config: SamVitConfig) -> None:
        super().__init__()
        self.channels = config.out_dims
        self.image_size = config.image_size
        grid = config.image_size // config.patch
        self.patch_embed = PatchEmbed(config.dim, config.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, config.dim))
        self.blocks = nn.ModuleList(
            SamBlock(
                config.dim, config.heads, config.mlp_ratio, 0 if i in config.global_blocks else config.window, grid
            )
            for i in range(config.depth)
        )
        self.neck = SimplePyramid(config.dim, config.out_dims)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Normalised image [B, 3, image_size, image_size] -> maps [B, C, h, w]; ValueError for another size."""
        if tuple(image.shape[-2:]) != (self.image_size, self.image_size):
            raise ValueError(f"this backbone reads {self.image_size}x{self.image_size}, not {tuple(image.shape[-2:])}")
        x = self.patch_embed(image) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        maps: dict[str, Tensor] = self.neck(x.permute(0, 3, 1, 2))
        return maps

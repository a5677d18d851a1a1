"""SegGPT as published: the whole forward pass, for training and as the yardstick of the faster path."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segcli.models.seggpt.block import LAYER_NORM_EPS, Block
from segcli.models.seggpt.config import SegGPTConfig
from segcli.models.seggpt.decoder import Decoder
from segcli.models.seggpt.embedding import Embedding


def half_mask(grid: tuple[int, int]) -> Tensor:
    """The mask of inference: the lower half of the token grid is hidden. Bool [1, rows*columns], row by row."""
    mask = torch.zeros(grid, dtype=torch.bool)
    mask[grid[0] // 2 :] = True
    return mask.reshape(1, -1)


class SegGPT(nn.Module):
    """A vision transformer that paints the hidden part of a canvas of colours (arXiv 2304.03284, section 3)."""

    def __init__(self, config: SegGPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        rates = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(config.embed_dim, config.num_heads, config.grid, config.mlp_ratio, rate) for rate in rates
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.decoder = Decoder(config)

    def forward(
        self,
        photos: Tensor,
        targets: Tensor,
        mask: Tensor,
        kind: Tensor | None,
        *,
        ensemble: bool = False,
        recompute: bool = False,
    ) -> Tensor:
        """Paint the hidden tokens: normalised colour canvas [B, 3, H, W].

        photos, targets: normalised canvases [B, 3, H, W] with H = 2 W. mask: [B or 1, rows*columns], true = hidden.
        kind: [B] of SEMANTIC or INSTANCE, or None for neither. ensemble: the B samples are examples of one query,
        whose features are averaged in every block (section 3.3); the answer is then the lower half of sample 0.
        recompute: blocks are computed again in the backward pass, so that the logits of one of them are held and not of
        all (at the ViT-L's size 0.6 GB a canvas and block).
        """
        x, y = self.embedding(photos, targets, mask, kind)
        tokens = torch.cat([x, y])  # [2B, rows, columns, D], photos first
        streams, skips = 2, []
        for index, block in enumerate(self.blocks):
            averaged = streams if ensemble and len(x) > 1 else 0
            if recompute and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, averaged, use_reentrant=False)
            else:
                tokens = block(tokens, averaged)
            if index == self.config.merge_after:
                photo, target = tokens.chunk(2)
                tokens, streams = (photo + target) * 0.5, 1
            if index in self.config.skips_after:
                skips.append(self.norm(tokens))
        canvas: Tensor = self.decoder(torch.cat(skips, dim=-1))
        return canvas

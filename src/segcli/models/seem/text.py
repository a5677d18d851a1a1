"""SEEM's text encoder, CLIP-like, and the class bank made with it (section 3.2; X-Decoder's joint space)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segcli.models.layers.attention import MultiHeadAttention
from segcli.models.seem.config import TextConfig
from segcli.models.seem.similarity import normalise

_EPSILON = 1e-12
_TEXTS_AT_ONCE = 128


class QuickGelu(nn.Module):
    """CLIP's x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


class TextMlp(nn.Module):
    """Feed-forward part of a block."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(dim, 4 * dim)
        self.gelu = QuickGelu()
        self.c_proj = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        mapped: Tensor = self.c_proj(self.gelu(self.c_fc(x)))
        return mapped


class TextBlock(nn.Module):
    """Pre-norm residual block with causal attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(dim, heads)
        self.ln_1 = nn.LayerNorm(dim, eps=_EPSILON)
        self.mlp = TextMlp(dim)
        self.ln_2 = nn.LayerNorm(dim, eps=_EPSILON)

    def forward(self, x: Tensor, causal: Tensor) -> Tensor:
        """x: [B, T, C]; causal: bool [1, T, T]."""
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, causal)
        mapped: Tensor = x + self.mlp(self.ln_2(x))
        return mapped


class TextTransformer(nn.Module):
    """Token and position embeddings, causal blocks, final norm. Padding isn't masked: it comes after what is read."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.positional_embedding = nn.Parameter(torch.zeros(config.context, config.width))
        self.resblocks = nn.ModuleList(TextBlock(config.width, config.heads) for _ in range(config.layers))
        self.ln_final = nn.LayerNorm(config.width, eps=_EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [B, T], T at most the context length -> hidden states [B, T, C].

        Because attention is causal, cutting ids after the last token of interest changes nothing before the cut.
        """
        length = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[:length]
        causal = torch.ones(1, length, length, dtype=torch.bool, device=ids.device).tril()
        for block in self.resblocks:
            x = block(x, causal)
        normed: Tensor = self.ln_final(x)
        return normed


class LanguageEncoder(nn.Module):
    """Text encoder and its projection into the joint space; without a `TextConfig` only the logit scale."""

    def __init__(self, config: TextConfig | None, class_dim: int) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.ones([]))
        self.lang_encoder: TextTransformer | None = None
        if config is not None:
            self.lang_encoder = TextTransformer(config)
            self.lang_proj = nn.Parameter(torch.empty(config.width, class_dim))
            nn.init.trunc_normal_(self.lang_proj, std=0.02)

    def tokens(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids [B, T] -> projected embedding of every token [B, T, C] and of the end token [B, C], not normalised.

        The end token is the first of the largest id, as in CLIP.
        """
        if self.lang_encoder is None:
            raise ValueError("this model was built without a text encoder")
        projected = self.lang_encoder(ids) @ self.lang_proj
        return projected, projected[torch.arange(ids.shape[0], device=ids.device), ids.argmax(1)]

    def sentences(self, ids: Tensor) -> Tensor:
        """Ids [N, T] -> normalised sentence embeddings [N, C].

        Texts of like length go together, cut behind the longest one's end: what follows an end token can't be seen.
        """
        ends = ids.argmax(1)
        order = ends.argsort()
        parts = []
        for chosen in torch.split(order, _TEXTS_AT_ONCE):
            longest = int(ends[chosen].max()) + 1
            parts.append(normalise(self.tokens(ids[chosen, :longest])[1]))
        return torch.cat(parts)[order.argsort()]

    def bank(self, ids: Tensor) -> Tensor:
        """Ids of every class in every template [K, templates, T] -> class bank [K, C], normalised."""
        means = self.sentences(ids.flatten(0, 1)).view(*ids.shape[:2], -1).mean(1)
        bank: Tensor = means / torch.linalg.vector_norm(means, dim=-1, keepdim=True)
        return bank

"""The mask generator: Mask2Former's masked-attention decoder, its queries and scores given by the language model.

PSALM, section 3.3 and figure 2; Cheng et al., 2022, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.layers.positions import sine_positions
from segcli.models.layers.transformer import MLP, CrossAttentionLayer, FeedForwardLayer, SelfAttentionLayer
from segcli.models.psalm.config import DecoderConfig


@dataclass(frozen=True)
class Conditions:
    """What masks are scored against: class embeddings [B, N, C], a sentence [B, 1, C], regions B x [R, C]."""

    classes: Tensor | None = None
    sentence: Tensor | None = None
    regions: Sequence[Tensor] | None = None


@dataclass(frozen=True)
class StagePrediction:
    """One of the decoder's predictions: logits of masks [B, Q, h, w] and of each condition that was given.

    classes [B, Q, N]; sentence [B, Q, 1]; regions B x [R, Q].
    """

    masks: Tensor
    classes: Tensor | None = None
    sentence: Tensor | None = None
    regions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class DecoderImage:
    """What the decoder needs of one or more photos, whatever is asked: mask features, and keys and values per layer."""

    mask_features: Tensor  # [B, C, H / 4, W / 4]
    keys: tuple[Tensor, ...]  # a layer each: [B, heads, h * w, C / heads]
    values: tuple[Tensor, ...]
    sizes: tuple[tuple[int, int], ...]  # of each layer's map

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.nbytes for t in (self.mask_features, *self.keys, *self.values))


class MaskedDecoder(nn.Module):
    """Cross-attention to one of three scales, self-attention, feed-forward; a prediction before and after each layer.

    Scores are plain dot products of a query's projection with a condition, without norm or temperature.
    """

    def __init__(self, channels: int, mask_dim: int, config: DecoderConfig) -> None:
        super().__init__()
        dim, self.levels = config.dim, 3
        if channels != dim:
            raise ValueError(f"maps of {channels} channels for a decoder of {dim}")
        layers = range(config.layers)
        self.transformer_self_attention_layers = nn.ModuleList(SelfAttentionLayer(dim, config.heads) for _ in layers)
        self.transformer_cross_attention_layers = nn.ModuleList(CrossAttentionLayer(dim, config.heads) for _ in layers)
        self.transformer_ffn_layers = nn.ModuleList(FeedForwardLayer(dim, config.hidden) for _ in layers)
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_embed = nn.Embedding(config.queries, dim)
        self.level_embed = nn.Embedding(self.levels, dim)
        self.mask_embed = MLP(dim, dim, mask_dim, 3)
        self.SEG_proj = MLP(dim, dim, dim, 2)
        self.CLASS_proj = MLP(dim, dim, dim, 2)
        self.REGION_proj = MLP(dim, dim, dim, 2)

    def prepare(self, mask_features: Tensor, scales: Sequence[Tensor]) -> DecoderImage:
        """Project keys and values of all layers once; scales: strides 32, 16, 8, each [B, C, h, w]."""
        keys, values = [], []
        sizes = tuple((int(s.shape[-2]), int(s.shape[-1])) for s in scales)
        tokens = [
            (s + embed[:, None, None]).flatten(2).transpose(1, 2)
            for s, embed in zip(scales, self.level_embed.weight, strict=True)
        ]
        places = [
            sine_positions(*size, s.shape[1], s).to(s.dtype).flatten(2).transpose(1, 2)
            for s, size in zip(scales, sizes, strict=True)
        ]
        for index, layer in enumerate(self.transformer_cross_attention_layers):
            level = index % self.levels
            key, value = layer.project(tokens[level], places[level])  # type: ignore[operator]
            keys.append(key)
            values.append(value)
        each = tuple(sizes[index % self.levels] for index in range(len(keys)))
        return DecoderImage(mask_features, tuple(keys), tuple(values), each)

    def forward(
        self, image: DecoderImage, queries: Tensor, conditions: Conditions, every: bool = True
    ) -> list[StagePrediction]:
        """Predictions of all stages, the last one being the answer; only that one when `every` is False.

        queries: [B, Q, C], the projected mask tokens.
        """
        # With fewer queries than positions (the non-decoupled ablation) the first positions are taken.
        position = self.query_embed.weight[: queries.shape[1]][None]
        x = queries
        stages: list[StagePrediction] = []
        masks = self._masks(x, image)
        parts = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        )
        for index, (cross, own, feed) in enumerate(parts):
            if every:
                stages.append(self._scored(x, masks, conditions))
            allowed = _inside(masks, image.sizes[index])
            x = cross(x, position, image.keys[index], image.values[index], allowed)
            x = feed(own(x, position))
            masks = self._masks(x, image)
        stages.append(self._scored(x, masks, conditions))
        return stages

    def _masks(self, x: Tensor, image: DecoderImage) -> Tensor:
        return torch.einsum("bqc,bchw->bqhw", self.mask_embed(self.decoder_norm(x)), image.mask_features)

    def _scored(self, x: Tensor, masks: Tensor, conditions: Conditions) -> StagePrediction:
        h = self.decoder_norm(x)
        classes = sentence = regions = None
        if conditions.classes is not None:
            classes = self.CLASS_proj(h) @ conditions.classes.transpose(1, 2)
        if conditions.sentence is not None:
            sentence = self.SEG_proj(h) @ conditions.sentence.transpose(1, 2)
        if conditions.regions is not None:
            mapped = self.REGION_proj(h)
            regions = tuple(r @ m.t() for r, m in zip(conditions.regions, mapped, strict=True))
        return StagePrediction(masks, classes, sentence, regions)


def _inside(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Where each query may look [B, Q, h * w]: inside its mask, or everywhere when nothing is inside."""
    small = F.interpolate(masks.detach(), size=size, mode="bilinear", align_corners=False)
    inside = (small.sigmoid() >= 0.5).flatten(2)
    return inside | ~inside.any(-1, keepdim=True)

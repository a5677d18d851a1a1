"""What SEEM's decoder keeps of images, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from segcli.models.seem.attention import Group
from segcli.models.seem.prompts import SpatialTokens


@dataclass(frozen=True)
class DecoderImage:
    """What the decoder keeps of a batch of images; made once by `SeemDecoder.prepare`.

    mask_features: [B, M, H/4, W/4].
    maps:          feature maps [B, C, h, w], coarse to fine, without level embedding.
    small_masks:   mask features resized to each level, [B, M, h * w].
    keys, values:  of each layer's cross-attention, [B, heads, h * w, C / heads].
    """

    mask_features: Tensor
    maps: tuple[Tensor, ...]
    small_masks: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        parts = (self.mask_features, *self.maps, *self.small_masks, *self.keys, *self.values)
        return sum(part.nbytes for part in parts)

    def take(self, index: Tensor) -> DecoderImage:
        """The images at `index` [N], repeated as often as they occur (one object a batch element)."""
        return DecoderImage(
            self.mask_features[index],
            tuple(m[index] for m in self.maps),
            tuple(m[index] for m in self.small_masks),
            tuple(m[index] for m in self.keys),
            tuple(m[index] for m in self.values),
        )


@dataclass(frozen=True)
class Answers:
    """One group of queries at one stage: hidden [B, q, C] after the last norm, mask_embeddings [B, q, M]."""

    hidden: Tensor
    mask_embeddings: Tensor


@dataclass(frozen=True)
class DecoderOutput:
    """All stages (before the first layer and after each) and what the selection of masks needs.

    query_objects: [q] which object each spatial query belongs to.
    """

    stages: tuple[Mapping[Group, Answers], ...]
    spatial: SpatialTokens | None
    visual: SpatialTokens | None
    query_objects: Tensor | None

    @property
    def last(self) -> Mapping[Group, Answers]:
        """The final stage."""
        return self.stages[-1]

    @property
    def answering(self) -> Group:
        """The queries that answer marks: their own copies, or the object queries (demo)."""
        return Group.OBJECT_QUERIES if self.query_objects is None else Group.SPATIAL_QUERIES

"""What the decoder is asked: marks on the image, words, another image's region, the previous answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PointSet:
    """Points of one image: `yx` [P, 2] as fractions of the padded image, `objects` [P], of `count` objects in all.

    As published, a fraction is index / size without half a pixel: row r of H is r / H.
    """

    yx: Tensor
    objects: Tensor
    count: int

    @classmethod
    def of_masks(cls, masks: Tensor) -> PointSet:
        """All points of bool masks [n, H, W] (of the padded image), object after object, row after row."""
        where = masks.nonzero()
        size = torch.tensor(masks.shape[-2:], device=masks.device, dtype=torch.float32)
        return cls(where[:, 1:].float() / size, where[:, 0], int(masks.shape[0]))

    @classmethod
    def none(cls, count: int, device: torch.device) -> PointSet:
        """`count` objects without a point."""
        return cls(torch.zeros(0, 2, device=device), torch.zeros(0, dtype=torch.long, device=device), count)

    def as_one(self) -> PointSet:
        """The same points, all of one object."""
        return PointSet(self.yx, torch.zeros_like(self.objects), 1)

    def take(self, index: Tensor) -> PointSet:
        """The points at `index`."""
        index = index.to(self.yx.device)
        return PointSet(self.yx[index], self.objects[index], self.count)


@dataclass(frozen=True)
class Tokens:
    """Prompt tokens of a batch: content [B, T, C], padding [B, T] (True: not a token), objects [B, T] (-1: padding)."""

    content: Tensor
    padding: Tensor
    objects: Tensor

    @classmethod
    def of_words(cls, content: Tensor, padding: Tensor | None = None) -> Tokens:
        """Tokens that belong to no object: content [B, T, C], padding [B, T]."""
        if padding is None:
            padding = torch.zeros(content.shape[:2], dtype=torch.bool, device=content.device)
        return cls(content, padding, torch.zeros_like(padding, dtype=torch.long))


@dataclass(frozen=True)
class SpatialTokens:
    """Marks as the decoder reads them: tokens for each feature level, and the mean mask feature under the marks.

    levels: one `Tokens` a level (coarse to fine); positive, negative: [B, n, C].
    Made from marks on an image, they can prompt another image (the paper's referring region).
    """

    levels: tuple[Tokens, ...]
    positive: Tensor
    negative: Tensor

    @property
    def objects(self) -> int:
        """Objects in each batch element, the largest number of the batch."""
        return int(self.positive.shape[1])

    @classmethod
    def joined(cls, parts: Sequence[SpatialTokens]) -> SpatialTokens:
        """Several marks of the same objects, each read on an image of its own, as one prompt: tokens beside each other,
        vectors as means."""
        levels = tuple(
            Tokens(
                torch.cat([tokens.content for tokens in level], 1),
                torch.cat([tokens.padding for tokens in level], 1),
                torch.cat([tokens.objects for tokens in level], 1),
            )
            for level in zip(*(part.levels for part in parts), strict=True)
        )
        positive, negative = (
            torch.stack([getattr(part, side) for part in parts]).mean(0) for side in ("positive", "negative")
        )
        return cls(levels, positive, negative)


@dataclass(frozen=True)
class Prompts:
    """Everything that may be asked at once; what is None is not asked.

    positive, negative: one entry an image, bool masks [n, H, W] of the padded image or a `PointSet`; give both or none.
    previous:  mask logits [B, n, h, w] of the previous round; wakes the memory.
    text, audio: word tokens.
    reference: marks read on another image, instead of marks on this one.
    visual:    the same beside marks on this one (demo, composed).

    Raises ValueError for positive marks without negative ones (or the other way round: give empty masks), and for
    marks beside `reference`.
    """

    positive: Sequence[Tensor | PointSet] | None = None
    negative: Sequence[Tensor | PointSet] | None = None
    previous: Tensor | None = None
    text: Tokens | None = None
    audio: Tokens | None = None
    reference: SpatialTokens | None = None
    visual: SpatialTokens | None = None

    def __post_init__(self) -> None:
        if (self.positive is None) != (self.negative is None):
            raise ValueError("give positive and negative marks together; empty masks where there are none")
        if self.positive is not None and self.reference is not None:
            raise ValueError("give marks on this image or a reference in their place; beside marks it is `visual`")

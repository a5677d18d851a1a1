"""Similarity of embeddings in the joint space of masks and words."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-7
_LARGEST_SCALE = 100.0


def normalise(x: Tensor) -> Tensor:
    """x / (|x| + 1e-7) over the last axis."""
    unit: Tensor = x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + _EPSILON)
    return unit


def class_similarity(embeddings: Tensor, bank: Tensor, logit_scale: Tensor) -> Tensor:
    """Class logits [..., K]: exp(logit_scale) times cosine of embeddings [..., C] with a normalised bank [K, C].

    The scale is not clamped here, as published.
    """
    return logit_scale.exp() * normalise(embeddings) @ bank.t()


def text_similarity(embeddings: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """Query-to-text logits [..., T]: the same with both sides normalised here and the scale clamped to 100."""
    scale = torch.clamp(logit_scale.exp(), max=_LARGEST_SCALE)
    logits: Tensor = scale * normalise(embeddings) @ normalise(texts).t()
    return logits

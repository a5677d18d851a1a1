"""From the language model's states to what masks are scored against: means over a condition's tokens (section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def class_means(hidden: Tensor, classes: Tensor, count: int) -> Tensor:
    """Mean state of each class's tokens, its [SEG] included: [L, D], class numbers from 1 [L] -> [count, D].

    A class without a token has zeros.
    """
    member = F.one_hot(classes.to(hidden.device), count + 1)[:, 1:].to(hidden.dtype)  # [L, count]
    return member.t() @ hidden / member.sum(0).clamp(min=1)[:, None]


def sentence_mean(hidden: Tensor, sentence: Tensor) -> Tensor:
    """Mean state of the sentence's tokens, [SEG] included: [L, D], bool [L] -> [1, D]."""
    return hidden[sentence.to(hidden.device)].mean(0, keepdim=True)


def states_at(hidden: Tensor, where: Tensor) -> Tensor:
    """States at the marked positions, in order: [L, D], bool [L] -> [n, D]."""
    return hidden[where.to(hidden.device)]


def canonical_order(embeddings: Tensor, shown_at: Tensor) -> Tensor:
    """Class embeddings back in the data set's order: row c comes from place `shown_at[c]`, [..., N, C] -> same.

    While training, classes are named in another order for every sample.
    """
    index = shown_at.to(embeddings.device).long()[..., None].expand_as(embeddings)
    return torch.gather(embeddings, -2, index)

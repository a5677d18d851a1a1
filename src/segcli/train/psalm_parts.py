"""The published beginning of PSALM's training: Mask2Former with Swin-B, and Phi-1.5, each from a file of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from segcli.core.errors import CheckpointError
from segcli.models.psalm.phi import Unfused
from segcli.registry.tensors import TensorFiles

_RULES: tuple[tuple[str, str | None], ...] = (
    # the first that fits; None: known and not needed here
    (r".*\.attn\.relative_position_index", None),
    (r"backbone\.(.*)", r"swin.\1"),
    (r"sem_seg_head\.pixel_decoder\.(adapter_1|layer_1)\.weight", r"pixel_decoder.\1.0.weight"),
    (r"sem_seg_head\.pixel_decoder\.(adapter_1|layer_1)\.norm\.(.*)", r"pixel_decoder.\1.1.\2"),
    (r"sem_seg_head\.pixel_decoder\.(.*)", r"pixel_decoder.\1"),
    (r"sem_seg_head\.predictor\.(static_query|query_feat|class_embed)\..*", None),
    (r"sem_seg_head\.predictor\.(.*)", r"decoder.\1"),
    (r"criterion\..*|pixel_mean|pixel_std", None),
    (r"model\.mm_projector\.(.*)", r"projector.\1"),
    (r".*\.rotary_emb\.inv_freq|.*\.num_batches_tracked|lm_head\.bias", None),
    (r"model\.(.*)", r"language.\1"),
    (r"lm_head\.(.*)", r"lm_head.\1"),
)
"""Names in those files, and in the projector's file that the first stage leaves, beside ours."""

_ROWS = ("language.embed_tokens.weight", "lm_head.weight")
"""One row a word: Phi keeps rows beyond its words, of which the tokenizer's own additions take the first."""


def our_name(key: str) -> str | None:
    """Our name of a part's tensor, None for one that is not needed. Raises KeyError for one that no part has."""
    for pattern, ours in _RULES:
        if found := re.fullmatch(pattern, key):
            return None if ours is None else found.expand(ours)
    raise KeyError(key)


def fill(model: nn.Module, tensors: Mapping[str, Tensor], heads: int, name: str) -> set[str]:
    """Put a part's tensors into the model; the rest of the model stays as it is. Returns our names that were filled.

    Raises CheckpointError for a tensor that the model has no place for, and for one of another shape.
    """
    places = dict(model.named_parameters()) | dict(model.named_buffers())
    filled: set[str] = set()
    part = Unfused(tensors, heads)
    for key in part:
        try:
            place = our_name(key)
        except KeyError:
            place = key
        if place is None:
            continue
        if place not in places:
            raise CheckpointError(f"{name}: tensor {key[:80]!r} belongs to no part of PSALM; give a part's file")
        value = part[key]
        if place in _ROWS and len(value) > len(places[place]):
            value = value[: len(places[place])]
        if value.shape != places[place].shape:
            raise CheckpointError(
                f"{name}: tensor {key[:80]!r} is {tuple(value.shape)} and should be {tuple(places[place].shape)}"
            )
        with torch.no_grad():
            places[place].copy_(value)
        filled.add(place)
    return filled


def fill_from(model: nn.Module, paths: list[Path], heads: int) -> set[str]:
    """`fill` from safetensors files. Raises CheckpointError, also for files that can't be read."""
    filled: set[str] = set()
    for path in paths:
        with TensorFiles([path], "cpu", torch.float32) as tensors:
            filled |= fill(model, tensors, heads, str(path))
    return filled

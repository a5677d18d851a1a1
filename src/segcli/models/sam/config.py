"""Sizes of the released members, in transformers' own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class SamSizes:
    """One member. values: arguments of the vision configuration (SAM) or of Hiera's (SAM 2), and `more` of the model's.

    neck: widths that SAM 2's pyramid joins, coarsest first.
    """

    family: Literal["sam", "sam2"]
    values: Mapping[str, Any]
    neck: tuple[int, ...] = ()
    more: Mapping[str, Any] | None = None


def _vit(hidden: int, layers: int, heads: int, blocks: list[int]) -> SamSizes:
    return SamSizes(
        "sam",
        {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "global_attn_indexes": blocks,
            "mlp_dim": 4 * hidden,
        },
    )


def _hiera(
    width: int, heads: int, blocks: list[int], full: list[int], background: int, windows: list[int], *, version: float
) -> SamSizes:
    widths = [width << stage for stage in range(4)]
    newer = version > 2
    return SamSizes(
        "sam2",
        {
            "hidden_size": width,
            "num_attention_heads": heads,
            "blocks_per_stage": blocks,
            "embed_dim_per_stage": widths,
            "num_attention_heads_per_stage": [heads << stage for stage in range(4)],
            "global_attention_blocks": full,
            "window_positional_embedding_background_size": [background, background],
            "window_size_per_stage": windows,
        },
        tuple(reversed(widths)),
        {
            "enable_occlusion_spatial_embedding": newer,
            "enable_temporal_pos_encoding_for_object_pointers": newer,
        },
    )


_WINDOWS, _LARGE_WINDOWS = [8, 4, 14, 7], [8, 4, 16, 8]

PRESETS = {
    "vit-b": _vit(768, 12, 12, [2, 5, 8, 11]),
    "vit-l": _vit(1024, 24, 16, [5, 11, 17, 23]),
    "vit-h": _vit(1280, 32, 16, [7, 15, 23, 31]),
    "hiera-t-v2.1": _hiera(96, 1, [1, 2, 7, 2], [5, 7, 9], 7, _WINDOWS, version=2.1),
    "hiera-s-v2.1": _hiera(96, 1, [1, 2, 11, 2], [7, 10, 13], 7, _WINDOWS, version=2.1),
    "hiera-b-plus-v2.1": _hiera(112, 2, [2, 3, 16, 3], [12, 16, 20], 14, _WINDOWS, version=2.1),
    "hiera-l-v2.1": _hiera(144, 2, [2, 6, 36, 4], [23, 33, 43], 7, _LARGE_WINDOWS, version=2.1),
    "hiera-b-plus-v2": _hiera(112, 2, [2, 3, 16, 3], [12, 16, 20], 14, _WINDOWS, version=2.0),
    "hiera-l-v2": _hiera(144, 2, [2, 6, 36, 4], [23, 33, 43], 7, _LARGE_WINDOWS, version=2.0),
}

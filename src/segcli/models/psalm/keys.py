"""How files name PSALM's parameters: the published checkpoint by prefixes, as data."""

from __future__ import annotations

import re

from segcli.models.layers.loading import KeyTable, same_names

TOKENIZER = "tokenizer"
"""Key of our own files for the bytes of a tokenizer.json; no parameter of the model."""

_PREFIXES: tuple[tuple[str, str], ...] = (
    # the first that fits; theirs, ours
    ("model.vision_tower.", "swin."),
    ("model.mm_projector.", "projector."),
    ("model.", "language."),
    ("lm_head.", "lm_head."),
    ("pixel_decoder.", "pixel_decoder."),
    ("predictor.", "decoder."),
    ("seg_query_projector.", "mask_token_projector."),
    ("SEG_token_projector.", "sentence_projector."),
    ("class_name_projector.", "class_projector."),
    ("region_projector.", "region_projector."),
)
_WHOLE = {"seg_query": "mask_tokens"}

_UNUSED = re.compile(
    r"model\.vision_tower\..*\.attn\.relative_position_index|.*\.num_batches_tracked"
    r"|predictor\.(query_feat|SEG_query_embed)\.weight|model\..*\.rotary_emb\.inv_freq"
)
"""In the published file and not needed: derived tables, counters, and two embeddings that the mask tokens replace."""


def original(key: str) -> str | None:
    """Our name of a published tensor, or None for one that is not needed; unknown names come back as they are."""
    if _UNUSED.fullmatch(key):
        return None
    if key in _WHOLE:
        return _WHOLE[key]
    for theirs, ours in _PREFIXES:
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def own(key: str) -> str | None:
    """The key table of files that seg wrote."""
    return None if key == TOKENIZER else same_names(key)


KEY_TABLES: dict[str, KeyTable] = {"original": original, "seg": own}

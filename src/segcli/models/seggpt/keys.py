"""Names of the published checkpoints' tensors, as data. Renaming only: no tensor is reshaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from segcli.core.errors import CheckpointError

Value = TypeVar("Value")

_ONCE: tuple[tuple[str, str, str], ...] = (
    # ours, the original release (dict key "model"), the hub's BAAI/seggpt-vit-large
    ("embedding.mask_token", "mask_token", "model.embeddings.mask_token"),
    ("embedding.photo_token", "segment_token_x", "model.embeddings.segment_token_input"),
    ("embedding.target_token", "segment_token_y", "model.embeddings.segment_token_prompt"),
    ("embedding.semantic_token", "type_token_cls", "model.embeddings.type_token_semantic"),
    ("embedding.instance_token", "type_token_ins", "model.embeddings.type_token_instance"),
    ("embedding.positions", "pos_embed", "model.embeddings.position_embeddings"),
    ("embedding.patch.weight", "patch_embed.proj.weight", "model.embeddings.patch_embeddings.projection.weight"),
    ("embedding.patch.bias", "patch_embed.proj.bias", "model.embeddings.patch_embeddings.projection.bias"),
    ("norm.weight", "norm.weight", "model.encoder.layernorm.weight"),
    ("norm.bias", "norm.bias", "model.encoder.layernorm.bias"),
    ("decoder.spread.weight", "decoder_embed.weight", "decoder.decoder_embed.weight"),
    ("decoder.spread.bias", "decoder_embed.bias", "decoder.decoder_embed.bias"),
    ("decoder.conv.weight", "decoder_pred.0.weight", "decoder.decoder_pred.conv.weight"),
    ("decoder.conv.bias", "decoder_pred.0.bias", "decoder.decoder_pred.conv.bias"),
    ("decoder.norm.weight", "decoder_pred.1.weight", "decoder.decoder_pred.layernorm.weight"),
    ("decoder.norm.bias", "decoder_pred.1.bias", "decoder.decoder_pred.layernorm.bias"),
    ("decoder.head.weight", "decoder_pred.3.weight", "decoder.decoder_pred.head.weight"),
    ("decoder.head.bias", "decoder_pred.3.bias", "decoder.decoder_pred.head.bias"),
)

_EACH_BLOCK: tuple[tuple[str, str, str], ...] = (
    ("norm1.weight", "norm1.weight", "layernorm_before.weight"),
    ("norm1.bias", "norm1.bias", "layernorm_before.bias"),
    ("attention.qkv.weight", "attn.qkv.weight", "attention.qkv.weight"),
    ("attention.qkv.bias", "attn.qkv.bias", "attention.qkv.bias"),
    ("attention.proj.weight", "attn.proj.weight", "attention.proj.weight"),
    ("attention.proj.bias", "attn.proj.bias", "attention.proj.bias"),
    ("attention.relative_rows", "attn.rel_pos_h", "attention.rel_pos_h"),
    ("attention.relative_columns", "attn.rel_pos_w", "attention.rel_pos_w"),
    ("norm2.weight", "norm2.weight", "layernorm_after.weight"),
    ("norm2.bias", "norm2.bias", "layernorm_after.bias"),
    ("mlp.expand.weight", "mlp.fc1.weight", "mlp.lin1.weight"),
    ("mlp.expand.bias", "mlp.fc1.bias", "mlp.lin1.bias"),
    ("mlp.contract.weight", "mlp.fc2.weight", "mlp.lin2.weight"),
    ("mlp.contract.bias", "mlp.fc2.bias", "mlp.lin2.bias"),
)

BLOCK_KEYS = {
    "original": {theirs: ours for ours, theirs, _ in _EACH_BLOCK},
    "transformers": {theirs: ours for ours, _, theirs in _EACH_BLOCK},
}
"""Their name within one block -> ours, by layout."""

_ONCE_KEYS = {
    "original": {theirs: ours for ours, theirs, _ in _ONCE},
    "transformers": {theirs: ours for ours, _, theirs in _ONCE},
}
_BLOCK_PREFIX = {"original": "blocks.", "transformers": "model.encoder.layers."}

LAYOUTS = tuple(BLOCK_KEYS)
"""Names of the known checkpoint layouts."""


def our_name(layout: str, theirs: str) -> str | None:
    """Our name for one tensor of a checkpoint, or None for a name that the layout does not have."""
    prefix = _BLOCK_PREFIX[layout]
    index, _, within = theirs.removeprefix(prefix).partition(".")
    if theirs.startswith(prefix) and index.isdecimal():
        ours = BLOCK_KEYS[layout].get(within)
        return None if ours is None else f"blocks.{index}.{ours}"
    return _ONCE_KEYS[layout].get(theirs)


KEY_TABLES: dict[str, Callable[[str], str | None]] = {layout: partial(our_name, layout) for layout in LAYOUTS}
"""One function a layout, for those who meet a file name by name."""


def key_table(layout: str, depth: int) -> dict[str, str]:
    """Every tensor name of a checkpoint with `depth` blocks -> our name. Raises KeyError for an unknown layout."""
    table = dict(_ONCE_KEYS[layout])
    for index in range(depth):
        for theirs, ours in BLOCK_KEYS[layout].items():
            table[f"{_BLOCK_PREFIX[layout]}{index}.{theirs}"] = f"blocks.{index}.{ours}"
    return table


def renamed(state: Mapping[str, Value], layout: str, depth: int) -> dict[str, Value]:
    """A checkpoint's tensors under our names, every one used once.

    Raises CheckpointError that names the first missing and the first surplus key.
    """
    table = key_table(layout, depth)
    missing, surplus = sorted(table.keys() - state.keys()), sorted(state.keys() - table.keys())
    if missing or surplus:
        parts = [
            f"{len(keys)} {what} (first: {keys[0]})"
            for what, keys in (("missing", missing), ("unknown", surplus))
            if keys
        ]
        raise CheckpointError(f"SegGPT checkpoint ({layout} layout): keys {' and '.join(parts)}; pull the file again")
    return {ours: state[theirs] for theirs, ours in table.items()}

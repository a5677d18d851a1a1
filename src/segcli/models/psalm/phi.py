"""The language model: transformers' Phi, its attention's fused weights taken apart without a second copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from segcli.models.layers.loading import KnowsShapes
from segcli.models.psalm.config import PhiSizes

_FUSED = ".self_attn.query_key_value."
_PARTS = ("q_proj", "k_proj", "v_proj")


def phi_model(sizes: PhiSizes) -> nn.Module:
    """transformers' PhiModel: embeddings, layers and final norm; its rotary table is real even under a meta device."""
    from transformers import PhiConfig, PhiModel

    config = PhiConfig(  # type: ignore[call-arg]  # it takes the share of rotary channels as a keyword of its own
        vocab_size=sizes.vocab,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        max_position_embeddings=sizes.positions,
        partial_rotary_factor=sizes.partial_rotary,
        hidden_act="gelu_new",
        layer_norm_eps=1e-5,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = PhiModel(config)
    with torch.device("cpu"):  # no file holds this buffer, so that nothing would fill it later
        model.rotary_emb = type(model.rotary_emb)(config=config)
    return cast(nn.Module, model)


Prefix = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of every layer for the beginning of a sequence: [1, heads, L, C] each."""


def new_cache(prefix: Prefix = ()) -> Any:
    """A cache of keys and values that begins with `prefix`; the model goes on from it and fills it."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for layer, (key, value) in enumerate(prefix):
        cache.update(key, value, layer)
    return cache


def prefix_of(cache: Any) -> Prefix:
    """What a cache holds."""
    return tuple((layer.keys, layer.values) for layer in cache.layers)


def run(language: nn.Module, embeddings: Tensor, cache: Any | None = None) -> Tensor:
    """Hidden states after the final norm [B, L, D] of embeddings [B, L, D], causal.

    With a cache the sequence goes on where the cache ends, and the cache grows by these positions.
    """
    output = language(inputs_embeds=embeddings, past_key_values=cache, use_cache=cache is not None)
    hidden: Tensor = output.last_hidden_state
    return hidden


class Unfused(Mapping[str, Tensor]):
    """A checkpoint's tensors with each `query_key_value` offered as q, k and v.

    The fused rows are interleaved: head by head, in each the rows of q, k and v. They are put in order in place, in
    memory that the checkpoint's tensor holds anyway (a private map of the file), so nothing is held twice. Files that
    have the three apart already pass unchanged.
    """

    def __init__(self, tensors: Mapping[str, Tensor], heads: int) -> None:
        self._tensors, self._heads = tensors, heads
        self._fused: dict[str, tuple[str, int]] = {}
        for key in tensors:
            if _FUSED in key:
                for part, word in enumerate(_PARTS):
                    self._fused[key.replace("query_key_value", word)] = (key, part)
        self._open: tuple[str, Tensor] | None = None

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it where the source can tell."""
        source, rows = self._fused.get(key, (key, -1))[0], key in self._fused
        known = isinstance(self._tensors, KnowsShapes)
        full = self._tensors.shape(source) if known else tuple(self._tensors[source].shape)  # type: ignore[attr-defined]
        return (full[0] // 3, *full[1:]) if rows else full

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._fused:
            return self._tensors[key]
        source, part = self._fused[key]
        if self._open is None or self._open[0] != source:
            self._open = (source, self._ordered(self._tensors[source]))
        return self._open[1].chunk(3)[part]

    def _ordered(self, fused: Tensor) -> Tensor:
        """Rows (head, q/k/v, channel) -> rows (q/k/v, head, channel), in the tensor's own memory."""
        ordered = fused.view(self._heads, 3, -1, *fused.shape[1:]).transpose(0, 1).reshape(fused.shape)
        return fused.copy_(ordered)

    def __iter__(self) -> Iterator[str]:
        replaced = {source for source, _ in self._fused.values()}
        yield from (key for key in self._tensors if key not in replaced)
        yield from self._fused

    def __len__(self) -> int:
        return len(self._tensors) + 2 * len(self._fused) // 3


def gradient_checkpointing(language: nn.Module) -> None:
    """Recompute each layer in the backward pass instead of keeping what it computed."""
    newer = "activation_checkpointing_enable"  # transformers 5 renames it
    getattr(language, newer if hasattr(language, newer) else "gradient_checkpointing_enable")()

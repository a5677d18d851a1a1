"""Where every token of a sequence stands and what it may look at.

    context  : [prefix][pool: pair c1 … pair cN][text, a pair at each reference]
    decoding : [pair c1 … pair cN]      the same mask tokens a second time; outputs are read at them

A pair is a pre token and a mask token (or a mask token alone, `pair` = 1). Three kinds of attention:

    causal       a plain language model: copy j sees the copies before it, so answers depend on the order.
    independent  a second copy sees the context and its own pair, all of them at the same positions: one pass gives
                 what N passes with one copy each would.
    set          besides, the pool is one block that sees itself in both directions and shares one pair of positions,
                 so that no order is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segcli.models.ras.config import DecodingAttention


@dataclass(frozen=True, eq=False)
class Layout:
    """positions: int64 [L]. allowed: bool [L, L] (row looks at column), None for plainly causal. reads: int64 [N]."""

    positions: Tensor
    allowed: Tensor | None
    reads: Tensor


def layout(prefix: int, candidates: int, text: int, pair: int, mode: DecodingAttention) -> Layout:
    """The layout of `prefix` tokens, `candidates` masks and `text` tokens (references counted as their pairs)."""
    pool = candidates * pair
    context = prefix + pool + text
    length = context + pool
    reads = context + torch.arange(candidates) * pair + pair - 1
    positions = torch.arange(length)
    if mode == "causal":
        return Layout(positions, None, reads)
    in_pair = torch.arange(pair).repeat(candidates)
    after = context
    if mode == "set":
        positions[prefix : prefix + pool] = prefix + in_pair
        start = prefix + (pair if candidates else 0)  # the text follows the block's one pair of positions
        positions[prefix + pool : context] = start + torch.arange(text)
        after = start + text
    positions[context:] = after + in_pair
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    which = torch.arange(pool) // pair
    allowed[context:, context:] &= which[:, None] == which[None, :]
    if mode == "set":
        allowed[prefix : prefix + pool, prefix : prefix + pool] = True
    return Layout(positions, allowed, reads)

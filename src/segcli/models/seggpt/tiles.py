"""Attention of a few query rows at a time, so that logits never leave the processor's cache.

The published code adds two whole bias tensors to whole logits: 157 MB each for one canvas. Here a tile of rows starts
as the bias and gets the logits added in place; the arithmetic is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TILE_ROWS = 392
"""Query rows a tile: 2.5 MB of logits for the ViT-L canvas, the fastest of those tried on one CPU core."""


def _tile(buffer: Tensor, q: Tensor, k: Tensor, bias_rows: Tensor, bias_columns: Tensor, scale: float) -> Tensor:
    """Logits [R, L] of one head in `buffer`: bias [R, H] + [R, W] and scaled q [R, d] times k [L, d]."""
    height, width = bias_rows.shape[1], bias_columns.shape[1]
    logits = buffer[: q.shape[0] * height * width].view(-1, height * width)
    torch.add(bias_rows[:, :, None], bias_columns[:, None, :], out=logits.view(-1, height, width))
    return logits.addmm_(q, k.t(), alpha=scale)


def attend(q: Tensor, k: Tensor, v: Tensor, bias_rows: Tensor, bias_columns: Tensor) -> Tensor:
    """Attention with decomposed bias: q [heads, R, d], k and v [heads, H*W, d] -> [heads, R, d].

    bias_rows [heads, R, H], bias_columns [heads, R, W].
    """
    if q.device.type != "cpu":
        return attend_fused(q, k, v, bias_rows, bias_columns)
    heads, rows, width = q.shape
    scale = width**-0.5
    out = torch.empty_like(q)
    buffer = q.new_empty(min(TILE_ROWS, rows) * k.shape[1])
    for head in range(heads):
        for start in range(0, rows, TILE_ROWS):
            tile = slice(start, start + TILE_ROWS)
            part = (bias_rows[head, tile], bias_columns[head, tile])
            logits = _tile(buffer, q[head, tile], k[head], *part, scale)
            torch.softmax(logits, dim=-1, out=logits)
            torch.mm(logits, v[head], out=out[head, tile])
    return out


def attend_fused(q: Tensor, k: Tensor, v: Tensor, bias_rows: Tensor, bias_columns: Tensor) -> Tensor:
    """The same in one call for all heads, for devices where many small calls cost more than memory traffic."""
    bias = (bias_rows[..., :, None] + bias_columns[..., None, :]).flatten(2)
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias[None])[0]


def attend_each(
    q: Tensor,
    prompts: Sequence[tuple[Tensor, Tensor]],
    query: tuple[Tensor, Tensor],
    bias_rows: Tensor,
    bias_columns: Tensor,
) -> Tensor:
    """The query's rows attend to each example and to the query itself; the mean over the examples.

    q [heads, R, d]. prompts: k and v of each example [heads, Lp, d]. query: k and v [heads, Lq, d]. An example stands
    above the query: bias_rows [heads, R, H] covers both, bias_columns [heads, R, W]. -> [heads, R, d].

    What a row has with the query's own keys is the same for all examples, so it is computed once; softmax over the
    union of two key sets is the mean of the two results weighted by their sums of exponentials.
    """
    examples = len(prompts)
    if examples == 1 or q.device.type != "cpu":
        each = (
            attend(q, torch.cat([k, query[0]], 1), torch.cat([v, query[1]], 1), bias_rows, bias_columns)
            for k, v in prompts
        )
        return torch.stack(list(each)).mean(0)
    heads, rows, width = q.shape
    scale = width**-0.5
    upper = prompts[0][0].shape[1] // bias_columns.shape[2]
    out = torch.empty_like(q)
    buffer = q.new_empty(min(TILE_ROWS, rows) * max(prompts[0][0].shape[1], query[0].shape[1]))
    for head in range(heads):
        for start in range(0, rows, TILE_ROWS):
            tile = slice(start, start + TILE_ROWS)
            each_row, each_column = bias_rows[head, tile], bias_columns[head, tile]
            own = _tile(buffer, q[head, tile], query[0][head], each_row[:, upper:], each_column, scale)
            own_log, own_mean = _reduced(own, query[1][head])
            total = torch.zeros_like(own_mean)
            for k, v in prompts:
                other = _tile(buffer, q[head, tile], k[head], each_row[:, :upper], each_column, scale)
                log, mean = _reduced(other, v[head])
                total += torch.lerp(own_mean, mean, torch.sigmoid(log - own_log))
            out[head, tile] = total / examples
    return out


def _reduced(logits: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the sum of exponentials [R, 1] and the softmax-weighted mean of `v` [R, d]; `logits` is overwritten."""
    top = logits.amax(-1, keepdim=True)
    weights = logits.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    return top + total.log(), (weights @ v).div_(total)

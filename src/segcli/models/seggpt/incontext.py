"""The published numbers of inference with every shared computation done once.

With N examples of one query the published code runs N canvases. But the lower halves of all N stay equal: the feature
ensemble replaces their attention by the mean, and everything else acts token by token. So one copy is kept, and

- the query's linear layers run once instead of N times, and its logits with itself once;
- the mask stream, whose lower half is hidden, does not see the query at all: it is run once for a set of examples;
- the last block computes of the examples only what the query attends to, and the one row that the decoder's
  convolution sees across the seam; the decoder paints the lower half of sample 0 alone;
- interpolated positions and relative tables are kept.

Nothing else is cached: from the first attention on, an example's photo tokens have seen the query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from segcli.models.seggpt.attention import relative_bias
from segcli.models.seggpt.block import Block
from segcli.models.seggpt.embedding import resized_positions
from segcli.models.seggpt.model import SegGPT
from segcli.models.seggpt.tiles import attend, attend_each

Tables = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of one stream: the upper halves of N canvases and the one lower half that they share.

    prompts [N, Lp, D], query [Lq, D].
    """

    prompts: Tensor
    query: Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """N examples, ready for any number of queries.

    photos: embedded photo tokens [N, Lp, D]. masks: the mask stream after the last block before the merge.
    kind: SEMANTIC or INSTANCE, or None.
    """

    photos: Tensor
    masks: Tokens
    kind: int | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(part.nbytes for part in (self.photos, self.masks.prompts, self.masks.query))


class InContext:
    """Answers queries from examples, with the feature ensemble when there are several.

    The model is put into evaluation mode, and its weights must not change while this object lives: it keeps tables
    made from them.
    """

    def __init__(self, model: SegGPT) -> None:
        self.model = model.eval()
        rows, columns = model.config.grid
        self._half = rows // 2
        with torch.inference_mode():
            self._positions = resized_positions(model.embedding.positions, (rows, columns))
            self._tables: list[Tables] = [cast(Block, b).attention.tables(rows, columns) for b in model.blocks]

    @torch.inference_mode()
    def prepare(self, photos: Tensor, targets: Tensor, kind: int | None) -> Examples:
        """Examples from normalised photos and masks [N, 3, side, side] and one kind for all."""
        embedding = self.model.embedding
        prompts = self._placed(embedding.patches(targets), embedding.target_token, kind, upper=True)
        hidden = embedding.mask_token.expand(1, self._half, self.model.config.grid[1], -1)
        query = self._placed(hidden, embedding.target_token, kind, upper=False)
        masks = Tokens(prompts.flatten(1, 2), query.flatten(0, 2))
        for index in range(self.model.config.merge_after + 1):
            masks = self._block(index, masks)
        photo_tokens = self._placed(embedding.patches(photos), embedding.photo_token, kind, upper=True)
        return Examples(photo_tokens.flatten(1, 2), masks, kind)

    @torch.inference_mode()
    def answer(self, examples: Examples, query: Tensor) -> Tensor:
        """Paint one normalised query [3, side, side]: normalised colours [3, side, side]."""
        embedding, config = self.model.embedding, self.model.config
        placed = self._placed(embedding.patches(query[None]), embedding.photo_token, examples.kind, upper=False)
        tokens = Tokens(examples.photos, placed.flatten(0, 2))
        seams, skips = [], []
        for index in range(config.depth):
            tokens = self._block(index, tokens)
            if index == config.merge_after:
                prompts = (tokens.prompts + examples.masks.prompts) * 0.5
                tokens = Tokens(prompts, (tokens.query + examples.masks.query) * 0.5)
            if index in config.skips_after:
                seams.append(self.model.norm(tokens.prompts[0, -config.grid[1] :]))
                skips.append(self.model.norm(tokens.query))
        lower = torch.cat(skips, dim=-1).reshape(self._half, config.grid[1], -1)
        painted: Tensor = self.model.decoder.lower_half(lower[None], torch.cat(seams, dim=-1)[None])
        return painted[0]

    def _placed(self, tokens: Tensor, stream: Tensor, kind: int | None, *, upper: bool) -> Tensor:
        """Add stream, position and type tokens to half a grid [N, h, w, D], in the published order."""
        positions = self._positions[:, : self._half] if upper else self._positions[:, self._half :]
        each = None if kind is None else torch.tensor([kind], device=tokens.device)
        return tokens + stream + positions + self.model.embedding.type_token(each)

    def _block(self, index: int, tokens: Tokens) -> Tokens:
        """One block; the last one leaves of the examples only the last row of sample 0."""
        block = cast(Block, self.model.blocks[index])
        last = index == self.model.config.depth - 1
        mixed = self._attention(block, self._tables[index], tokens, seam_only=last)
        seam = tokens.prompts[:1, -self.model.config.grid[1] :] if last else tokens.prompts
        prompts, query = seam + mixed.prompts, tokens.query + mixed.query
        # example by example, so that the wide hidden layer exists for one of them at a time
        prompts = torch.stack([each + block.mlp(block.norm2(each)) for each in prompts])
        return Tokens(prompts, query + block.mlp(block.norm2(query)))

    def _attention(self, block: Block, tables: Tables, tokens: Tokens, *, seam_only: bool) -> Tokens:
        """The attention branch of a block, the query's averaged over the examples."""
        attention, (by_row, by_column) = block.attention, tables
        columns = self.model.config.grid[1]
        q, k, v = (part[0] for part in attention.split_heads(block.norm1(tokens.query)[None]))
        pairs, prompts = [], []
        for number, each in enumerate(tokens.prompts):
            prompt_q, prompt_k, prompt_v = (part[0] for part in attention.split_heads(block.norm1(each)[None]))
            pairs.append((prompt_k, prompt_v))
            if seam_only and number:
                continue
            first = self._half - 1 if seam_only else 0
            rows = prompt_q[:, first * columns :]
            bias = self._bias(rows, by_row[first : self._half], by_column)
            both = torch.cat([prompt_k, k], dim=1), torch.cat([prompt_v, v], dim=1)
            prompts.append(self._projected(block, attend(rows, *both, *bias)))
        bias = self._bias(q, by_row[self._half :], by_column)
        mean = attend_each(q, pairs, (k, v), *bias)
        return Tokens(torch.stack(prompts), self._projected(block, mean))

    def _bias(self, q: Tensor, by_row: Tensor, by_column: Tensor) -> Tables:
        """Bias of some token rows [heads, R, d]: [heads, R, H] and [heads, R, W]."""
        rows, columns = relative_bias(q.reshape(len(q), len(by_row), -1, q.shape[2]), by_row, by_column)
        return rows.flatten(1, 2), columns.flatten(1, 2)

    def _projected(self, block: Block, mixed: Tensor) -> Tensor:
        """Heads [heads, R, d] -> tokens [R, D]. An affine map: it may follow the mean over the examples."""
        out: Tensor = block.attention.proj(mixed.transpose(0, 1).flatten(1))
        return out

"""SEEM's decoder: queries look at the image under their own last mask, then at the prompts, layer after layer.

Section 3.2 of the paper and its figure 2 ("SEEM-Decoder"). Parameters carry the names of the published checkpoints.

The order of work is ours, the results are the published ones: keys and values of the image are projected once
(`prepare`), mask features are resized to each level instead of every mask, prompt tokens that are thrown away after a
layer aren't updated in it, and full-size masks are computed for those queries that someone asks for.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.layers.positions import sine_positions
from segcli.models.layers.transformer import MLP, CrossAttentionLayer, FeedForwardLayer, SelfAttentionLayer
from segcli.models.seem.answers import Answers, DecoderImage, DecoderOutput
from segcli.models.seem.attention import Group, Part, self_attention_mask
from segcli.models.seem.config import VARIANTS, DecoderConfig, SpatialQueries, Variant
from segcli.models.seem.draws import Draws, FixedDraws
from segcli.models.seem.prompts import PointSet, Prompts, SpatialTokens, Tokens
from segcli.models.seem.sampling import as_points, draw, mean_vectors, pad, read_map
from segcli.models.seem.text import LanguageEncoder

__all__ = ["Answers", "DecoderImage", "DecoderOutput", "SeemDecoder"]

QUERIES = (Group.OBJECT_QUERIES, Group.TEXT_QUERIES, Group.SPATIAL_QUERIES)
RESET = (Group.SPATIAL_TOKENS, Group.VISUAL_TOKENS)
"""Tokens that every layer takes anew from its level; what a layer makes of them is thrown away."""


@dataclass(frozen=True)
class _Slot:
    """One group in the sequence: content and position [B, L, C], objects and padding [B, L]."""

    content: Tensor
    position: Tensor
    objects: Tensor
    padding: Tensor


class SeemDecoder(nn.Module):
    """The decoder and its heads. See `DecoderConfig` for the sizes."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        dim, heads = config.dim, config.heads
        self.config = config
        self.variant = VARIANTS[config.variant]
        self.query_feat = nn.Embedding(config.queries, dim)
        self.query_embed = nn.Embedding(config.queries, dim)
        self.level_embed = nn.Embedding(config.levels, dim)
        self.spatial_featured = nn.Embedding(config.memories, dim)
        self.spatial_embed = nn.Embedding(config.memories, dim)
        self.pn_indicator = nn.Embedding(2, dim)
        # The spelling is the checkpoints'.
        self.mask_sptial_embed = nn.ParameterList(nn.Parameter(torch.empty(dim, dim)) for _ in range(config.levels))
        self.class_embed = nn.Parameter(torch.empty(dim, config.class_dim))
        self.mask_embed = MLP(dim, dim, config.mask_dim, 3)
        self.decoder_norm = nn.LayerNorm(dim)
        layers = range(config.layers)
        self.transformer_cross_attention_layers = nn.ModuleList(CrossAttentionLayer(dim, heads) for _ in layers)
        self.transformer_self_attention_layers = nn.ModuleList(SelfAttentionLayer(dim, heads) for _ in layers)
        self.transformer_ffn_layers = nn.ModuleList(FeedForwardLayer(dim, config.ffn) for _ in layers)
        self.lang_encoder = LanguageEncoder(config.text, config.class_dim)
        for matrix in (*self.mask_sptial_embed, self.class_embed):
            nn.init.trunc_normal_(matrix, std=0.02)

    def with_variant(self, variant: Variant) -> SeemDecoder:
        """The same weights (not a copy of them) under another table of who looks at whom."""
        other = copy.copy(self)
        other.variant = variant
        return other

    def prepare(self, mask_features: Tensor, multi_scale: Sequence[Tensor]) -> DecoderImage:
        """Everything about images that no prompt changes: mask features [B, M, H/4, W/4] and maps at 32, 16, 8."""
        small, sources, positions = [], [], []
        for level, feature in enumerate(multi_scale):
            height, width = feature.shape[-2:]
            resized = F.interpolate(mask_features, size=(height, width), mode="bilinear", align_corners=False)
            small.append(resized.flatten(2))
            sources.append(feature.flatten(2).transpose(1, 2) + self.level_embed.weight[level])
            where = sine_positions(height, width, feature.shape[1], feature).to(feature.dtype)
            positions.append(where.flatten(2).transpose(1, 2))
        keys, values = [], []
        for i, layer in enumerate(self.transformer_cross_attention_layers):
            assert isinstance(layer, CrossAttentionLayer)
            level = i % self.config.levels
            key, value = layer.project(sources[level], positions[level])
            keys.append(key)
            values.append(value)
        return DecoderImage(mask_features, tuple(multi_scale), tuple(small), tuple(keys), tuple(values))

    def read_marks(
        self,
        image: DecoderImage,
        positive: Sequence[Tensor | PointSet],
        negative: Sequence[Tensor | PointSet],
        draws: Draws | None = None,
    ) -> SpatialTokens:
        """Marks on images as tokens of every level; also what a reference image gives to another image's prompts.

        positive, negative: one entry an image, bool masks [n, H, W] of the padded image, or point sets. v0 and demo
        know one object an image: there all masks of an image are one mark, as published.
        """
        draws = draws or FixedDraws()
        by_object = self.variant.spatial_queries is SpatialQueries.PER_OBJECT
        marks = tuple(
            [one if by_object else one.as_one() for one in as_points(masks)] for masks in (positive, negative)
        )
        objects = max(one.count for one in (*marks[0], *marks[1]))

        def drawn(points: Sequence[PointSet]) -> list[PointSet]:
            return draw(points, self.config.point_budget, draws, by_object)

        means = [
            mean_vectors(image.mask_features, drawn(points), objects, self.variant.empty_vector) for points in marks
        ]
        levels = []
        for level, feature in enumerate(image.maps):
            signed = [drawn(points) for points in marks]
            both = [
                PointSet(torch.cat([p.yx, n.yx]), torch.cat([p.objects, n.objects]), objects)
                for p, n in zip(*signed, strict=True)
            ]
            yx, owner = pad(both)
            read = read_map(feature, yx) + self.level_embed.weight[level]
            positives = torch.tensor([p.objects.numel() for p in signed[0]], device=yx.device)
            sign = (torch.arange(yx.shape[1], device=yx.device) >= positives[:, None]).long()
            padding = owner < 0
            indicator = self.pn_indicator(sign).masked_fill(padding[:, :, None], 0.0)
            levels.append(Tokens(read @ self.mask_sptial_embed[level] + indicator, padding, owner))
        return SpatialTokens(tuple(levels), means[0], means[1])

    def forward(
        self,
        image: DecoderImage,
        prompts: Prompts | None = None,
        *,
        draws: Draws | None = None,
        objects: bool = True,
    ) -> DecoderOutput:
        """Answer prompts about prepared images.

        draws:   how points, queries and memory slots are chosen; fixed by default.
        objects: False leaves the object queries out, which changes no answer to a prompt (except in the demo variant,
                 where they are the ones that answer, and which therefore raises ValueError).

        Raises ValueError for prompts that this variant can't hear, for no prompt and no object queries at all, and for
        marks, references and previous masks of different numbers of objects.
        """
        prompts = prompts or Prompts()
        draws = draws or FixedDraws()
        spatial = prompts.reference
        if prompts.positive is not None and prompts.negative is not None:
            spatial = self.read_marks(image, prompts.positive, prompts.negative, draws)
        slots, query_objects = self._begin(image, prompts, spatial, draws, objects)
        self._check(slots, prompts, spatial, prompts.visual)
        stages = [self._heads(slots)]
        for i in range(self.config.layers):
            level = i % self.config.levels
            if prompts.previous is not None:
                slots[Group.MEMORY] = self._assign_memory(slots[Group.MEMORY], prompts.previous, draws)
            self._cross(i, slots, stages[-1], image, prompts.previous)
            for group, source in ((Group.SPATIAL_TOKENS, spatial), (Group.VISUAL_TOKENS, prompts.visual)):
                if source is not None:
                    slots[group] = _token_slot(source.levels[level])
            self._exchange(i, slots)
            stages.append(self._heads(slots))
        return DecoderOutput(tuple(stages), spatial, prompts.visual, query_objects)

    # Heads

    def masks(self, mask_embeddings: Tensor, image: DecoderImage) -> Tensor:
        """Mask logits [B, q, H/4, W/4] of mask embeddings [B, q, M]."""
        return torch.einsum("bqm,bmhw->bqhw", mask_embeddings, image.mask_features)

    def class_embeddings(self, hidden: Tensor) -> Tensor:
        """Embeddings in the joint space with words, [B, q, class_dim]; see `similarity` for the logits."""
        return hidden @ self.class_embed

    def spatial_scores(self, output: DecoderOutput) -> Tensor:
        """How well each query answers each object's marks, [B, q, n]: product with the mean feature under them.

        Queries of other objects have -inf. Raises ValueError when no marks were given.
        """
        marks = output.spatial or output.visual
        if marks is None:
            raise ValueError("no marks were given, so that no query answers them")
        vectors = marks.positive
        if output.spatial is not None and output.visual is not None:  # a reference speaks where no mark does
            silent = (vectors == self.variant.empty_vector).all(-1, keepdim=True)
            vectors = torch.where(silent, output.visual.positive, vectors)
        scores = torch.einsum("bqm,bnm->bqn", output.last[output.answering].mask_embeddings, vectors)
        if output.query_objects is not None and self.variant.spatial_queries is SpatialQueries.PER_OBJECT:
            numbers = torch.arange(scores.shape[2], device=scores.device)
            scores = scores.masked_fill(output.query_objects[:, None] != numbers, -torch.inf)
        return scores

    def spatial_masks(self, output: DecoderOutput, image: DecoderImage, rank: int = 0) -> Tensor:
        """Mask logits [B, n, H/4, W/4] of the objects that were marked, the next round's `previous`.

        Of each object's queries the best-scored one answers; `rank` 1 gives the second-best's mask, and so on. Of equal
        scores the first query comes first, as published: in v0 all are equal where no positive mark is.
        """
        chosen = self.spatial_scores(output).argsort(dim=1, descending=True, stable=True)[:, rank]
        embeddings = output.last[output.answering].mask_embeddings
        picked = embeddings.gather(1, chosen[:, :, None].expand(-1, -1, embeddings.shape[2]))
        return self.masks(picked, image)

    def _heads(self, slots: Mapping[Group, _Slot]) -> dict[Group, Answers]:
        present = [group for group in QUERIES if group in slots]
        hidden = self.decoder_norm(torch.cat([slots[group].content for group in present], 1))
        embeddings = self.mask_embed(hidden)
        lengths = [slots[group].content.shape[1] for group in present]
        parts = zip(present, torch.split(hidden, lengths, 1), torch.split(embeddings, lengths, 1), strict=True)
        return {group: Answers(h, e) for group, h, e in parts}

    # Layers

    def _begin(
        self, image: DecoderImage, prompts: Prompts, spatial: SpatialTokens | None, draws: Draws, objects: bool
    ) -> tuple[dict[Group, _Slot], Tensor | None]:
        """The sequence before the first layer, and the objects of the spatial queries."""
        batch = image.mask_features.shape[0]
        device = image.mask_features.device
        kind = self.variant.spatial_queries
        if not objects and kind is SpatialQueries.NONE:
            raise ValueError("in the demo variant the object queries answer the prompts: they can't be left out")

        def of(content: Tensor, position: Tensor, owner: Tensor | None = None) -> _Slot:
            length = content.shape[0]
            owner = torch.zeros(length, dtype=torch.long, device=device) if owner is None else owner
            no_padding = torch.zeros(batch, length, dtype=torch.bool, device=device)
            return _Slot(
                content.expand(batch, -1, -1), position.expand(batch, -1, -1), owner.expand(batch, -1), no_padding
            )

        every = of(self.query_feat.weight, self.query_embed.weight)
        slots: dict[Group, _Slot] = {}
        query_objects = None
        if objects:
            slots[Group.OBJECT_QUERIES] = every
        if self.variant.text_copies and (prompts.text is not None or prompts.audio is not None):
            slots[Group.TEXT_QUERIES] = every
        marks = spatial or prompts.visual
        if marks is not None and kind is SpatialQueries.COPIES:
            slots[Group.SPATIAL_QUERIES] = every
            query_objects = torch.zeros(self.config.queries, dtype=torch.long, device=device)
        elif marks is not None and kind is SpatialQueries.PER_OBJECT:
            each = self.config.queries_per_object
            index = draws.queries(marks.objects, each, self.config.queries).to(device)
            query_objects = torch.arange(marks.objects, device=device).repeat_interleave(each)
            slots[Group.SPATIAL_QUERIES] = of(
                self.query_feat.weight[index], self.query_embed.weight[index], query_objects
            )
        for group, tokens in ((Group.TEXT_TOKENS, prompts.text), (Group.AUDIO_TOKENS, prompts.audio)):
            if tokens is not None:
                slots[group] = _token_slot(tokens)
        if prompts.previous is not None:
            slots[Group.MEMORY] = of(self.spatial_featured.weight, self.spatial_embed.weight)
        return slots, query_objects

    def _check(
        self,
        slots: Mapping[Group, _Slot],
        prompts: Prompts,
        spatial: SpatialTokens | None,
        visual: SpatialTokens | None,
    ) -> None:
        asking = [group for group in QUERIES if group in slots]
        if not asking:
            raise ValueError("nothing is asked: there is no prompt and the object queries are left out")
        told = [group for group in slots if group not in QUERIES]
        told += [group for group, tokens in zip(RESET, (spatial, visual), strict=True) if tokens is not None]
        for group in told:
            if all(self.variant.table.rule(query, group) == "." for query in asking):
                raise ValueError(f"the {self.variant.table.name} decoder has no queries that look at {group}")
        counts = [marks.objects for marks in (spatial, visual) if marks is not None]
        if prompts.previous is not None and counts and self.variant.spatial_queries is SpatialQueries.PER_OBJECT:
            counts.append(int(prompts.previous.shape[1]))
        if len(set(counts)) > 1:
            raise ValueError(f"marks, references and previous masks are of {counts} objects: give the same for all")

    def _assign_memory(self, slot: _Slot, previous: Tensor, draws: Draws) -> _Slot:
        """Share the memory slots out among the objects (each layer anew, as published)."""
        if self.variant.spatial_queries is not SpatialQueries.PER_OBJECT:
            return slot
        owner = draws.memories(self.config.memories, previous.shape[1]).to(previous.device)
        return replace(slot, objects=owner.expand_as(slot.objects))

    def _cross(
        self,
        i: int,
        slots: dict[Group, _Slot],
        stage: Mapping[Group, Answers],
        image: DecoderImage,
        previous: Tensor | None,
    ) -> None:
        """Masked cross-attention: a query looks where its last mask is, a memory slot where the last round's was."""
        level = i % self.config.levels
        groups = [group for group in (*QUERIES, Group.MEMORY) if group in slots]
        with torch.no_grad():
            allowed = [
                torch.einsum("bqm,bmp->bqp", stage[group].mask_embeddings, image.small_masks[level]) >= 0
                for group in groups
                if group in stage
            ]
            if previous is not None:
                size = image.maps[level].shape[-2:]
                resized = F.interpolate(previous, size=size, mode="bilinear", align_corners=False).flatten(2) >= 0
                owner = slots[Group.MEMORY].objects
                allowed.append(resized.gather(1, owner[:, :, None].expand(-1, -1, resized.shape[2])))
            mask = self.cross_mask(i, torch.cat(allowed, 1))
        content = torch.cat([slots[group].content for group in groups], 1)
        position = torch.cat([slots[group].position for group in groups], 1)
        layer = self.transformer_cross_attention_layers[i]
        self._put(slots, groups, layer(content, position, image.keys[i], image.values[i], mask))

    def cross_mask(self, i: int, inside: Tensor) -> Tensor:
        """Which places of the map layer i's rows may look at: those inside the row's mask, or all if there are none."""
        return inside | ~inside.any(-1, keepdim=True)

    def self_mask(self, i: int, parts: Sequence[Part]) -> Tensor:
        """Which place of the sequence may look at which in layer i."""
        return self_attention_mask(self.variant.table, parts)

    def _exchange(self, i: int, slots: dict[Group, _Slot]) -> None:
        """Self-attention over queries, tokens and memory, then feed-forward, for all that outlives the layer."""
        groups = [group for group in Group if group in slots]
        content = torch.cat([slots[group].content for group in groups], 1)
        position = torch.cat([slots[group].position for group in groups], 1)
        mask = self.self_mask(i, [Part(g, slots[g].objects, slots[g].padding) for g in groups])
        kept, index, start = [], [], 0
        for group in groups:
            length = slots[group].content.shape[1]
            if group not in RESET:
                kept.append(group)
                index.append(torch.arange(start, start + length, device=content.device))
            start += length
        rows = torch.cat(index)
        x = self.transformer_self_attention_layers[i](
            content[:, rows], position[:, rows], mask[:, rows], content, position
        )
        self._put(slots, kept, self.transformer_ffn_layers[i](x))

    @staticmethod
    def _put(slots: dict[Group, _Slot], groups: Sequence[Group], content: Tensor) -> None:
        parts = torch.split(content, [slots[group].content.shape[1] for group in groups], 1)
        for group, part in zip(groups, parts, strict=True):
            slots[group] = replace(slots[group], content=part)


def _token_slot(tokens: Tokens) -> _Slot:
    # Position is the content as it came, without gradient.
    return _Slot(tokens.content, tokens.content.detach(), tokens.objects, tokens.padding)

"""The decoder in the order in which the released code works: the oracle of our own, quicker order.

Everything is computed for every query in every layer: image keys and values projected anew, class logits and full-size
masks at every stage, prompt tokens read from whole projected maps and updated although the next layer replaces them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.layers.positions import sine_positions
from segcli.models.seem.attention import Group, Part, self_attention_mask
from segcli.models.seem.config import SpatialQueries
from segcli.models.seem.decoder import SeemDecoder
from segcli.models.seem.draws import Draws, FixedDraws
from segcli.models.seem.prompts import PointSet, Prompts
from segcli.models.seem.sampling import draw, mean_vectors, pad, read_map
from segcli.models.seem.similarity import class_similarity

QUERIES = (Group.OBJECT_QUERIES, Group.TEXT_QUERIES, Group.SPATIAL_QUERIES)


def published_call(
    decoder: SeemDecoder,
    mask_features: Tensor,
    multi_scale: Sequence[Tensor],
    prompts: Prompts,
    bank: Tensor,
    draws: Draws | None = None,
) -> dict[str, Tensor]:
    """One call with marks, words and memory; `masks.<group>`, `classes.<group>` and, with marks, `chosen`."""
    draws = draws or FixedDraws()
    config, batch, device = decoder.config, mask_features.shape[0], mask_features.device
    by_object = decoder.variant.spatial_queries is SpatialQueries.PER_OBJECT
    sources = [f.flatten(2).transpose(1, 2) + decoder.level_embed.weight[level] for level, f in enumerate(multi_scale)]
    positions = [sine_positions(f.shape[2], f.shape[3], f.shape[1], f).flatten(2).transpose(1, 2) for f in multi_scale]

    content: dict[Group, Tensor] = {}
    position: dict[Group, Tensor] = {}
    owner: dict[Group, Tensor] = {}
    padding: dict[Group, Tensor] = {}

    def put(group: Group, value: Tensor, where: Tensor, objects: Tensor | None = None) -> None:
        content[group], position[group] = value.expand(batch, -1, -1), where.expand(batch, -1, -1)
        nothing = torch.zeros(batch, value.shape[-2], dtype=torch.long, device=device)
        owner[group] = nothing if objects is None else objects.expand(batch, -1)
        padding[group] = nothing.bool()

    put(Group.OBJECT_QUERIES, decoder.query_feat.weight, decoder.query_embed.weight)
    marks: list[list[PointSet]] = []
    if prompts.positive is not None and prompts.negative is not None:
        marks = [[PointSet.of_masks(m) for m in masks] for masks in (prompts.positive, prompts.negative)]
    objects = max((one.count for points in marks for one in points), default=0)
    vectors, tokens = [], []
    for points in marks:
        kept = draw(points, config.point_budget, draws, by_object)
        vectors.append(mean_vectors(mask_features, kept, objects, decoder.variant.empty_vector))
    for level in range(config.levels) if marks else ():
        height, width = multi_scale[level].shape[-2:]
        whole = (sources[level] @ decoder.mask_sptial_embed[level]).transpose(1, 2).reshape(batch, -1, height, width)
        signed = [draw(points, config.point_budget, draws, by_object) for points in marks]
        both = [
            PointSet(torch.cat([p.yx, n.yx]), torch.cat([p.objects, n.objects]), objects)
            for p, n in zip(*signed, strict=True)
        ]
        yx, numbers = pad(both)
        read = read_map(whole, yx)
        for b, (p, n) in enumerate(zip(*signed, strict=True)):
            count, both_count = p.objects.numel(), p.objects.numel() + n.objects.numel()
            read[b, :count] += decoder.pn_indicator.weight[0]
            read[b, count:both_count] += decoder.pn_indicator.weight[1]
        tokens.append((read, numbers))
    query_objects = torch.zeros(0, dtype=torch.long, device=device)
    if marks and by_object:
        each = config.queries_per_object
        index = draws.queries(objects, each, config.queries).to(device)
        query_objects = torch.arange(objects, device=device).repeat_interleave(each)
        put(Group.SPATIAL_QUERIES, decoder.query_feat.weight[index], decoder.query_embed.weight[index], query_objects)
    elif marks:
        put(Group.SPATIAL_QUERIES, decoder.query_feat.weight, decoder.query_embed.weight)
    if prompts.text is not None:
        put(Group.TEXT_QUERIES, decoder.query_feat.weight, decoder.query_embed.weight)
        put(Group.TEXT_TOKENS, prompts.text.content, prompts.text.content)
        padding[Group.TEXT_TOKENS] = prompts.text.padding
    if prompts.previous is not None:
        put(Group.MEMORY, decoder.spatial_featured.weight, decoder.spatial_embed.weight)

    def heads() -> dict[str, Tensor]:
        found = {}
        for group in QUERIES:
            if group in content:
                y = decoder.decoder_norm(content[group])
                found[f"embedding.{group}"] = decoder.mask_embed(y)
                found[f"masks.{group}"] = torch.einsum("bqc,bchw->bqhw", found[f"embedding.{group}"], mask_features)
                classes = y @ decoder.class_embed
                found[f"classes.{group}"] = class_similarity(classes, bank, decoder.lang_encoder.logit_scale)
        return found

    stage = heads()
    for i in range(config.layers):
        level = i % config.levels
        size = multi_scale[level].shape[-2:]
        if prompts.previous is not None and by_object:
            slots = draws.memories(config.memories, prompts.previous.shape[1]).to(device)
            owner[Group.MEMORY] = slots.expand(batch, -1)
        groups = [g for g in (*QUERIES, Group.MEMORY) if g in content]
        masks = []
        for group in groups:
            if group is Group.MEMORY:
                assert prompts.previous is not None
                full = torch.stack([prompts.previous[b, owner[group][b]] for b in range(batch)])
            else:
                full = stage[f"masks.{group}"]
            small = F.interpolate(full, size=size, mode="bilinear", align_corners=False)
            masks.append(small.sigmoid().flatten(2) < 0.5)
        blocked = torch.cat(masks, 1)
        blocked[blocked.all(-1)] = False
        x = torch.cat([content[g] for g in groups], 1)
        where = torch.cat([position[g] for g in groups], 1)
        layer = decoder.transformer_cross_attention_layers[i]
        y = layer.multihead_attn(x + where, sources[level] + positions[level], sources[level], ~blocked)
        spread(content, groups, layer.norm(x + y))

        if marks:
            read, numbers = tokens[level]
            content[Group.SPATIAL_TOKENS] = position[Group.SPATIAL_TOKENS] = read
            owner[Group.SPATIAL_TOKENS], padding[Group.SPATIAL_TOKENS] = numbers, numbers < 0
        groups = [g for g in Group if g in content]
        x = torch.cat([content[g] for g in groups], 1)
        where = torch.cat([position[g] for g in groups], 1)
        allowed = self_attention_mask(decoder.variant.table, [Part(g, owner[g], padding[g]) for g in groups])
        x = decoder.transformer_self_attention_layers[i](x, where, allowed)
        spread(content, groups, decoder.transformer_ffn_layers[i](x))
        stage = heads()
    if marks:
        scores = torch.einsum("bqc,bnc->bqn", stage[f"embedding.{Group.SPATIAL_QUERIES}"], vectors[0])
        if by_object:
            scores = scores.masked_fill(query_objects[:, None] != torch.arange(objects, device=device), -torch.inf)
        best = scores.argmax(1)
        full = stage[f"masks.{Group.SPATIAL_QUERIES}"]
        stage["chosen"] = torch.stack([full[b, best[b]] for b in range(batch)])
    return stage


def spread(content: dict[Group, Tensor], groups: Sequence[Group], x: Tensor) -> None:
    start = 0
    for group in groups:
        length = content[group].shape[1]
        content[group] = x[:, start : start + length]
        start += length

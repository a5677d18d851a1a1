"""The attention tables, compared with the boolean masks that the released code used."""

from __future__ import annotations

import pytest
import torch
from tests.goldens.__main__ import read_manifest
from tests.goldens.seem_kinds.decoder import variant_of
from tests.goldens.seem_kinds.recorded import Recorded
from tests.models.seem.conftest import DATA, golden

from segcli.models.seem.attention import COMPOSED, DEMO, TABLES, V0, V1, Group, Part, self_attention_mask

NAMES = {
    "queries_object": Group.OBJECT_QUERIES,
    "queries_grounding": Group.TEXT_QUERIES,
    "queries_spatial": Group.SPATIAL_QUERIES,
    "tokens_grounding": Group.TEXT_TOKENS,
    "tokens_spatial": Group.SPATIAL_TOKENS,
    "tokens_visual": Group.VISUAL_TOKENS,
    "tokens_audio": Group.AUDIO_TOKENS,
    "memories_spatial": Group.MEMORY,
}


@pytest.mark.parametrize("name", [each.name for each in read_manifest(DATA) if each.entry["kind"] == "dec"])
def test_a_group_looks_at_a_group_in_the_recording_exactly_where_the_table_says_so(name: str):
    recorded = Recorded.read(golden(name))
    table = TABLES[variant_of(recorded)]
    compared = 0
    for call, layout in recorded.golden.entry["safety"]["self_layout"].items():
        blocked = recorded.tensors.get(f"out.{call}.self_mask.0")
        if blocked is None:
            continue
        groups = [NAMES[part] for part, _ in layout]
        assert groups == sorted(groups, key=list(Group).index), "the recorded order of the sequence is ours"
        lengths = [length for _, length in layout]
        rows = torch.split(~blocked, lengths, 1)
        for row, rows_of in zip(groups, rows, strict=True):
            for column, block in zip(groups, torch.split(rows_of, lengths, 2), strict=True):
                assert bool(block.any()) == (table.rule(row, column) != "."), (call, row, column)
                compared += 1
    assert compared


def test_object_queries_of_v0_v1_and_composed_are_seen_by_nobody_else():
    for table in (V0, V1, COMPOSED):
        assert table.isolates([Group.OBJECT_QUERIES])
    assert not DEMO.isolates([Group.OBJECT_QUERIES])


def test_words_and_marks_meet_in_composed_and_nowhere_in_v1():
    for query, token in ((Group.SPATIAL_QUERIES, Group.TEXT_TOKENS), (Group.TEXT_QUERIES, Group.SPATIAL_TOKENS)):
        assert V1.rule(query, token) == "."
        assert COMPOSED.rule(query, token) == "x"


def test_padding_is_an_empty_row_and_column_under_x_and_looks_at_padding_under_equal_objects():
    padding = torch.tensor([[False, True]])
    words = Part(Group.TEXT_TOKENS, torch.zeros(1, 2, dtype=torch.long), padding)
    marks = Part(Group.SPATIAL_TOKENS, torch.tensor([[0, -1]]), padding)
    assert self_attention_mask(V1, [words])[0].tolist() == [[True, False], [False, False]]
    assert self_attention_mask(V1, [marks])[0].tolist() == [[True, False], [False, True]]
    assert self_attention_mask(V0, [marks])[0].tolist() == [[True, False], [False, False]]

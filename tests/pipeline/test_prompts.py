"""Prompt lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.ask import Ask, Point
from segcli.core.errors import ItemError
from segcli.core.geometry import Percent
from segcli.io.stream import ask_to_json
from segcli.pipeline.prompts import parse

numbers = st.floats(-1e6, 1e6) | st.integers(-1000, 1000) | st.floats(0, 100).map(Percent)
points = st.builds(Point, numbers, numbers, st.booleans())
asks = st.lists(points, min_size=1, max_size=4).map(
    lambda found: Ask(points=tuple(sorted(found, key=lambda point: not point.positive)))
)


@given(st.lists(asks, min_size=1, max_size=3), st.none() | st.text(max_size=5), st.booleans())
def test_what_was_written_is_what_is_read(rounds, ident, refine):
    named = {"image": "a.jpg", "refine": refine} | ({} if ident is None else {"id": ident})
    line = parse(json.dumps(named | {"rounds": [ask_to_json(ask) for ask in rounds]}), "x")
    assert (line.image, line.rounds, line.id, line.refine) == ("a.jpg", tuple(rounds), ident, refine)
    one = parse(json.dumps(named | ask_to_json(rounds[0])), "x")
    assert (one.rounds, one.id) == ((rounds[0],), ident)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_other_line_is_one_error_that_starts_with_its_name(text):
    with pytest.raises(ItemError) as caught:
        parse(text, "asks.jsonl:3")
    assert str(caught.value).startswith("asks.jsonl:3")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ({"at": [1, 1]}, "image"),
        ({"image": 5, "at": [1, 1]}, "image"),
        ({"image": "", "at": [1, 1]}, "image"),
        ({"image": "a"}, "nothing is asked"),
        ({"image": "a", "at": [1]}, "at"),
        ({"image": "a", "att": [1, 1]}, "att"),
        ({"image": "a", "rounds": {}}, "rounds"),
        ({"image": "a", "rounds": [{"at": [1, 1]}], "box": [1, 1, 2, 2]}, "box"),
        ({"image": "a", "rounds": [{"at": [1, 1]}, {}]}, "round 2"),
        ({"image": "a", "at": [1, 1], "refine": "1"}, "refine"),
        ({"image": "a", "mask": "no/such/mask.png"}, "no/such/mask.png"),
    ],
)
def test_a_line_that_means_nothing_says_which_key(line, word):
    with pytest.raises(ItemError, match=word):
        parse(json.dumps(line), "line 1")

"""Large JSON objects in passing: every value is found where it stands, whatever the blocks of reading cut through."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.errors import ItemError
from segcli.io import jsonscan
from segcli.io.jsonscan import open_json, scan

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(["rows", "info", ""]), values, max_size=4)


@given(objects, st.booleans(), st.sampled_from([None, 1]), st.integers(1, 40))
def test_every_value_is_found_where_it_stands(value, ascii_only, indent, block):
    file = io.BytesIO(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonscan, "_BLOCK", block)
        places = [place for place, _ in scan(file, {"rows"})]
    found = {}
    for place in places:
        if place.listed:
            found.setdefault("rows", []).append(place.read(file))
        else:
            found[place.key] = place.read(file)
    assert found == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends"),
        ("[]", "missing"),
        ("{", "ends"),
        ('{"rows": [1, 2', "ends"),
        ('{"rows": [1 2]}', "missing"),
        ('{"a": tru}', "Expecting value"),
        ('{"a" 1}', "missing"),
        ("{1: 2}", "not a text"),
    ],
)
def test_what_is_no_object_is_said(text, said):
    with pytest.raises(ValueError, match=said):
        list(scan(io.BytesIO(text.encode()), {"rows"}))


def test_what_nests_without_end_is_said():
    with pytest.raises(ValueError, match="deep"):
        list(scan(io.BytesIO(b'{"a": ' + b"[" * 100_000), {"rows"}))


def test_json_that_is_not_utf8_is_said_and_a_mark_at_its_start_is_passed_over(tmp_path):
    (tmp_path / "wide.json").write_bytes('{"a": 1}'.encode("utf-16"))
    with pytest.raises(ItemError, match="UTF-16"):
        open_json(tmp_path / "wide.json")
    (tmp_path / "marked.json").write_bytes('{"a": 1}'.encode("utf-8-sig"))
    with open_json(tmp_path / "marked.json") as file:
        assert [value for _, value in scan(file, ())] == [1]

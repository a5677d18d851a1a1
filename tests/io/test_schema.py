"""The schema of the stream says what is written, no more and no less."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import ValidationError
from tests.schema import check_line, validator

from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.io import stream
from segcli.pipeline.events import Summary

from .test_stream import asks

MASK = encode(np.eye(6, 9))
FULL = Prediction(
    (6, 9),
    (MASK, MASK),
    (0.5, float("nan")),
    ("cat", None),
    label_scores=(0.25, None),
    phrases=("a cat", None),
    things=(True, None),
    references=(MASK,),
    examples=("b.jpg",),
)


def written(line: dict) -> dict:
    return json.loads(stream.dumps(line))


@given(asks, st.booleans())
def test_whatever_is_asked_its_line_is_one_of_the_schema(ask, timed):
    more = {"files": ["a.png"], "seconds": 0.5} if timed else {}
    check_line(written(stream.record("a.jpg", ask, FULL, "m", **more)))


def test_every_key_that_lines_have_is_in_the_schema_and_no_other():
    """Of masks: the record's fullest line and the schema name the same keys."""
    (mask, _) = written(stream.record("a.jpg", stream.ask_from_json({}, "-"), FULL, "m"))["masks"]
    assert set(mask) == set(validator().schema["$defs"]["mask"]["properties"])
    assert set(validator().schema["$defs"]["ask"]["properties"]) == stream.ASK_KEYS
    assert set(validator().schema["$defs"]["summary"]["properties"]["summary"]["properties"]) == set(
        Summary().line()["summary"]
    )


def test_failures_and_summaries_are_lines_of_the_schema():
    check_line(written(stream.failure("a.jpg", "a.jpg: no such file", 3)))
    check_line(written(Summary(total=3, stopped="stopped: 3 failed").line()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("seg",), 2),
        (("size",), [6]),
        (("masks", 0, "id"), 0),
        (("masks", 0, "score"), 1.5),
        (("masks", 0, "rle", "counts"), "\x01"),
        (("masks", 0, "bbox"), [0, 0, 1]),
        (("masks", 0, "colour"), "red"),
        (("ask", "at"), [[1]]),
        (("ask", "att"), [[1, 2]]),
        (("frame",), 3),
    ],
)
def test_a_line_that_differs_is_found(path, value):
    line = written(stream.record("a.jpg", stream.ask_from_json({}, "-"), FULL, "m"))
    check_line(line)
    broken = copy.deepcopy(line)
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        check_line(broken)

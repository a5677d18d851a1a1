from __future__ import annotations

import json

import pytest
from tests.io.formats.answers import answered, blobs, read, write

from segcli.core.errors import ItemError
from segcli.io import stream


def test_every_line_is_a_record_of_the_stream(tmp_path):
    answers = [answered(blobs(n), f"{n}.jpg") for n in range(3)]
    (path,) = write("jsonl", answers, tmp_path)
    lines = path.read_bytes().splitlines()
    for one, text in zip(answers, lines, strict=True):
        line = stream.parse(text)
        assert (line.image, line.ask, line.model) == (str(one.relative), one.ask, one.model)
        assert line.prediction.masks == one.prediction.masks
        assert "seconds" not in json.loads(text)  # the same run twice is the same file


def test_failed_items_and_blank_lines_hold_no_masks(tmp_path):
    path = tmp_path / "a.jsonl"
    good = stream.dumps(stream.record("a.jpg", answered().ask, answered().prediction, "m"))
    path.write_bytes(stream.dumps(stream.failure("b.jpg", "b.jpg: broken", 3)) + b"\n" + good)
    assert len(read("jsonl", path)) == 3


def test_a_bad_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(stream.dumps(stream.failure("b.jpg", "x", 3)) + b"{oops\n")
    with pytest.raises(ItemError, match=r"a\.jsonl, line 2: not JSON"):
        read("jsonl", path)

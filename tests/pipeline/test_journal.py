"""What the journal survives, and what it looks like after a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.pipeline import fake
from tests.pipeline.fake import Heard, do

from segcli.core.errors import StorageError
from segcli.pipeline.journal import Journal
from segcli.pipeline.plan import Plan
from segcli.pipeline.shard import Shard

NAME = ".seg-journal.jsonl"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1))
def test_a_journal_cut_anywhere_leads_to_the_same_files(inputs, tmp_path, cut):
    out = tmp_path / "cut"
    do(fake.plan(inputs, out), force=True)
    whole = fake.tree(out)
    data = (out / NAME).read_bytes()
    kept = data[: round(cut * len(data))]
    (out / NAME).write_bytes(kept)
    heard = Heard()
    summary = do(fake.plan(inputs, out), events=heard, force=True)
    lines = [line for line in kept.splitlines(keepends=True) if line.endswith(b"\n")]
    assert summary.skipped == sum(line.startswith(b'{"done"') for line in lines)
    assert summary.done == 8 - summary.skipped
    assert not heard.notices
    assert fake.tree(out) == whole
    assert [json.loads(line) | {"seconds": 0} for line in (out / NAME).read_bytes().splitlines()] == [
        json.loads(line) | {"seconds": 0} for line in data.splitlines()
    ]


def test_damaged_lines_are_counted_told_and_their_photos_done_again(inputs, out):
    do(fake.plan(inputs, out))
    lines = (out / NAME).read_bytes().splitlines(keepends=True)
    (out / NAME).write_bytes(b"\0\0\0\n" + b"".join(lines[1:]) + b"[1]\n{}\n")
    (out / "mask" / "000.png").unlink()
    heard = Heard()
    summary = do(fake.plan(inputs, out), events=heard)
    assert (summary.done, summary.skipped) == (1, 7)
    assert "3 damaged lines" in heard.notices[0]


def test_a_failed_item_is_a_line_until_it_is_done(inputs, out):
    (inputs / "000.png").write_bytes(b"no photo")
    do(fake.plan(inputs, out))
    failed = [line for line in read(out) if "failed" in line]
    assert [line["failed"] for line in failed] == ["000.png"]
    assert failed[0]["code"] == 3
    fake.photo(inputs / "000.png", 0)
    do(fake.plan(inputs, out))
    assert not [line for line in read(out) if "failed" in line]


def read(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / NAME).read_text().splitlines()]


def test_after_a_run_the_journal_holds_each_photo_once_in_the_plans_order(inputs, out):
    plan = fake.plan(inputs, out)
    do(Plan(plan.items[4:], plan.output, "x", "bright"), workers=3)
    do(plan, workers=3)
    do(plan, fake.never)
    lines = read(out)
    assert [line.get("done") for line in lines] == [item.key for item in plan.items] + [None]
    assert lines[-1]["run"] == "areas.json"
    assert not list(out.rglob("*.tmp"))


def test_names_that_are_no_text_survive(tmp_path, out):
    name = b"\xff caf\xc3\xa9\n.png".decode("utf-8", "surrogateescape")
    try:
        fake.photo(tmp_path / "in" / name, 1)
    except OSError:
        pytest.skip("this file system takes only text as names")
    heard = Heard(records=True)
    assert do(fake.plan(tmp_path / "in", out), events=heard).done == 1
    assert do(fake.plan(tmp_path / "in", out), fake.never).skipped == 1
    assert (out / "mask" / name).exists()


def test_one_lock_a_directory_and_shards_of_one_division_side_by_side(tmp_path):
    first = Journal(tmp_path, Shard(1, 3))
    second = Journal(tmp_path, Shard(2, 3))
    for shard in (None, Shard(1, 3), Shard(1, 2)):
        with pytest.raises(StorageError, match="another seg process"):
            Journal(tmp_path, shard)
    first.close()
    with pytest.raises(StorageError, match="another seg process"):
        Journal(tmp_path)
    second.close()
    whole = Journal(tmp_path)
    with pytest.raises(StorageError, match="another seg process"):
        Journal(tmp_path, Shard(1, 3))
    whole.close()
    whole.close()
    Journal(tmp_path, Shard(1, 3)).close()

"""What a second run skips, refuses and replaces."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.pipeline import fake
from tests.pipeline.fake import Heard, do

from segcli.core.ask import Ask, Point
from segcli.core.errors import StorageError
from segcli.pipeline.plan import Output, Plan

OTHER = (Ask(points=(Point(20, 20),)),)


def test_other_options_are_refused_file_by_file_and_forced(inputs, out):
    do(fake.plan(inputs, out, formats=("mask",)))
    before = fake.tree(out, hidden=True)
    heard = Heard()
    summary = do(fake.plan(inputs, out, formats=("mask",), print_="y"), fake.never, heard)
    assert (summary.failed, summary.exit_code) == (8, 3)
    assert "exists, made with other options: --force replaces it" in str(heard.errors[0])
    assert fake.tree(out) == {k: v for k, v in before.items() if not Path(k).name.startswith(".seg")}
    assert do(fake.plan(inputs, out, formats=("mask",), print_="y"), force=True).done == 8
    assert do(fake.plan(inputs, out, formats=("mask",), print_="y"), fake.never).skipped == 8


def test_what_was_replaced_is_not_taken_for_done(inputs, out):
    do(fake.plan(inputs, out, formats=("mask",)))
    do(fake.plan(inputs, out, formats=("mask",), asks=OTHER), force=True)
    summary = do(fake.plan(inputs, out, formats=("mask",)), fake.never)
    assert (summary.skipped, summary.failed) == (0, 8)
    assert do(fake.plan(inputs, out, formats=("mask",)), force=True).done == 8


def test_other_formats_in_the_same_directory_do_not_disturb_each_other(inputs, out):
    do(fake.plan(inputs, out, formats=("mask",)))
    do(fake.plan(inputs, out, formats=("copy",)))
    assert do(fake.plan(inputs, out, formats=("mask",)), fake.never).skipped == 8
    assert do(fake.plan(inputs, out, formats=("copy",)), fake.never).skipped == 8


def test_a_file_of_another_program_is_never_replaced_without_force(inputs, out):
    out.mkdir()
    (out / "000.png").write_text("mine")
    heard = Heard()
    summary = do(fake.plan(inputs, out, formats=("mask",)), events=heard)
    assert (summary.done, summary.failed) == (7, 1)
    assert (out / "000.png").read_text() == "mine"
    assert "another program" in str(heard.errors[0])
    assert do(fake.plan(inputs, out, formats=("mask",)), force=True).done == 1


def test_a_changed_photo_is_noticed_even_with_the_old_time_and_size(inputs, out):
    do(fake.plan(inputs, out, formats=("mask",)))
    victim = inputs / "000.png"
    status, size = victim.stat(), victim.stat().st_size
    data = bytearray(fake.photo(inputs / "new.png", 77).read_bytes())
    (inputs / "new.png").unlink()
    victim.write_bytes(bytes(data).ljust(size, b"\0")[: max(size, len(data))])
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    heard = Heard()
    summary = do(fake.plan(inputs, out, formats=("mask",)), fake.never, heard)
    assert (summary.skipped, summary.failed) == (7, 1)
    assert "the photo has changed since" in str(heard.errors[0])
    assert do(fake.plan(inputs, out, formats=("mask",)), force=True).done == 1


def test_a_touched_or_copied_photo_is_the_same_photo(inputs, out):
    do(fake.plan(inputs, out))
    for path in inputs.rglob("*.png"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        os.utime(path, (time.time() + 5, time.time() + 5))
    assert do(fake.plan(inputs, out), fake.never).skipped == 8


def test_deleted_outputs_are_made_again_and_cut_ones_are_refused(inputs, out):
    do(fake.plan(inputs, out))
    whole = fake.tree(out)
    (out / "mask" / "000.png").unlink()
    (out / "mask" / "001.png").write_bytes(b"cut")
    heard = Heard()
    summary = do(fake.plan(inputs, out), events=heard)
    assert (summary.done, summary.skipped, summary.failed) == (1, 6, 1)
    assert "001.png has changed since it was made" in str(heard.errors[0])
    assert "not written" in heard.notices[-1]
    summary = do(fake.plan(inputs, out), force=True)
    assert (summary.done, summary.skipped) == (1, 7)
    assert fake.tree(out) == whole


def test_force_replaces_a_file_that_was_edited_without_changing_its_size(inputs, out):
    do(fake.plan(inputs, out))
    whole = fake.tree(out)
    data = bytearray((out / "mask" / "000.png").read_bytes())
    data[-1] ^= 1
    (out / "mask" / "000.png").write_bytes(data)
    assert do(fake.plan(inputs, out), force=True).done == 1
    assert fake.tree(out) == whole


def test_no_photo_is_ever_replaced(inputs):
    before = fake.tree(inputs)
    heard = Heard()
    summary = do(fake.plan(inputs, inputs, formats=("mask",)), events=heard, force=True)
    assert summary.failed == 8
    assert "is one of the photos" in str(heard.errors[0])
    assert fake.tree(inputs) == before


def test_a_run_file_of_another_program_or_other_options_stops_the_run_before_it_begins(inputs, out):
    out.mkdir()
    (out / "areas.json").write_text("mine")
    with pytest.raises(StorageError, match="made by another program"):
        do(fake.plan(inputs, out), fake.never)
    assert (out / "areas.json").read_text() == "mine"
    do(fake.plan(inputs, out), force=True)
    with pytest.raises(StorageError, match="made with other options"):
        do(fake.plan(inputs, out, print_="y"), fake.never)


def test_a_run_file_grows_with_its_plan_and_never_loses_photos_silently(inputs, out):
    plan = fake.plan(inputs, out)
    do(Plan(plan.items[:5], plan.output, "x", "bright"))
    assert (out / "areas.json").read_text().count("\n") == 5
    do(plan)
    assert (out / "areas.json").read_text().count("\n") == 8
    with pytest.raises(StorageError, match="holds other photos too"):
        do(Plan(plan.items[:5], plan.output, "x", "bright"))
    do(Plan(plan.items[:5], plan.output, "x", "bright"), force=True)
    assert (out / "areas.json").read_text().count("\n") == 5


def test_other_asks_in_a_run_file_are_refused_until_forced(inputs, out):
    do(fake.plan(inputs, out, formats=("areas",)))
    before = (out / "areas.json").read_text()
    assert do(fake.plan(inputs, out, formats=("areas",), asks=OTHER)).failed == 8
    assert (out / "areas.json").read_text() == before
    assert do(fake.plan(inputs, out, formats=("areas",), asks=OTHER), force=True).done == 8
    assert (out / "areas.json").read_text() != before
    assert do(fake.plan(inputs, out, formats=("areas",), asks=OTHER), fake.never).skipped == 8


def test_asks_that_are_a_function_are_compared_by_what_they_say(inputs, out):
    def asked(text: str) -> Plan:
        plan = fake.plan(inputs, out)
        items = [type(i)(i.relative, i.source, lambda size: [fake.ASK], asked=text) for i in plan.items]
        return Plan(items, Output(out, formats=("mask",)), "x", "m")

    assert do(asked("one")).done == 8
    assert do(asked("one"), fake.never).skipped == 8
    assert do(asked("two"), fake.never).failed == 8

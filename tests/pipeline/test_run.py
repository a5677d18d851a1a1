"""A run as a whole: order, independence of how it is done, failures, memory, stdout."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from tests.pipeline import fake
from tests.pipeline.fake import ASK, FORMATS, Bright, Heard, do

from segcli.core.ask import Ask, Point
from segcli.core.errors import DeviceError, StorageError, UsageError
from segcli.pipeline import engine
from segcli.pipeline.plan import Item, Output, Plan
from segcli.pipeline.run import How, run


@pytest.fixture
def whole(inputs: Path, tmp_path: Path) -> dict[str, str]:
    """The files of an undisturbed run, one photo and one thread at a time."""
    do(fake.plan(inputs, tmp_path / "whole"), batch=1, workers=1)
    return fake.tree(tmp_path / "whole")


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_files_and_lines_do_not_depend_on_batch_size_or_threads(inputs, out, whole, batch, workers):
    heard = Heard()
    summary = do(fake.plan(inputs, out), events=heard, batch=batch, workers=workers)
    assert fake.tree(out) == whole
    assert summary.done == 8
    assert summary.exit_code == 0
    assert [image for _, image in heard.order] == [str(path) for path in sorted(inputs.rglob("*.png"))]


def test_journals_of_two_undisturbed_runs_are_equal_apart_from_seconds(inputs, tmp_path):
    journals = []
    for name, workers in (("a", 1), ("b", 4)):
        do(fake.plan(inputs, tmp_path / name), batch=2, workers=workers)
        lines = (tmp_path / name / ".seg-journal.jsonl").read_text().splitlines()
        journals.append([{**json.loads(line), "seconds": 0} for line in lines])
    assert journals[0] == journals[1]
    assert len(journals[0]) == 9


def test_a_finished_plan_opens_no_model(inputs, out):
    do(fake.plan(inputs, out))
    summary = do(fake.plan(inputs, out), fake.never)
    assert (summary.done, summary.skipped) == (0, 8)


def test_a_resumed_run_tells_the_same_records(inputs, out):
    first, second = Heard(records=True), Heard(records=True)
    do(fake.plan(inputs, out), events=first)
    do(fake.plan(inputs, out), fake.never, second)
    assert first.lines == second.lines
    assert first.lines[0]["files"] == [str(out / "mask" / "000.png")]


def test_a_bad_photo_fails_alone_and_is_tried_again(inputs, out):
    (inputs / "003.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (inputs / "004.png").unlink()
    (inputs / "004.png").symlink_to("nowhere")
    heard = Heard()
    summary = do(fake.plan(inputs, out), events=heard)
    assert (summary.done, summary.failed, summary.exit_code) == (6, 2, 3)
    assert [line["image"] for line in heard.lines] == [str(inputs / "003.png"), str(inputs / "004.png")]
    assert all(line["code"] == 3 and "\n" not in line["error"] for line in heard.lines)
    assert "003" not in (out / "areas.json").read_text()

    fake.photo(inputs / "003.png", 3)
    (inputs / "004.png").unlink()
    fake.photo(inputs / "004.png", 4)
    summary = do(fake.plan(inputs, out))
    assert (summary.done, summary.skipped, summary.exit_code) == (2, 6, 0)
    assert "003" in (out / "areas.json").read_text()


def test_a_click_outside_fails_the_item_and_alone_it_is_exit_2(inputs, out, tmp_path):
    outside = Ask(points=(Point(500, 5),))
    plan = fake.plan(inputs, out)
    items = [Item(item.relative, item.source, (outside,)) if n == 2 else item for n, item in enumerate(plan.items)]
    heard = Heard()
    summary = do(Plan(items, plan.output, "x", "m"), events=heard)
    assert (summary.done, summary.failed, summary.exit_code) == (7, 1, 3)
    assert "500,5" in str(heard.errors[0])
    assert do(Plan(items[2:3], Output(tmp_path / "alone"), "x", "m")).exit_code == 2


def test_a_bug_at_one_photo_does_not_cost_the_others_and_is_exit_1(inputs, out):
    class Buggy(Bright):
        def decode(self, encoded, asks):
            if encoded.values[0, 0] == first:
                raise ZeroDivisionError("oh")
            return super().decode(encoded, asks)

    first = Bright().encode([fake_image(inputs / "000.png")])[0].values[0, 0]
    summary = do(fake.plan(inputs, out), Buggy())
    assert (summary.done, summary.failed, summary.exit_code) == (7, 1, 1)


def fake_image(path: Path):
    from segcli.io.images import read_image

    return read_image(path, str(path))


def test_max_failures_stops_and_tells_what_is_done(inputs, out):
    for name in ("000.png", "001.png"):
        (inputs / name).write_bytes(b"no photo")
    heard = Heard()
    summary = do(fake.plan(inputs, out), events=heard, batch=1, workers=1, max_failures=1)
    assert summary.stopped
    assert summary.exit_code == 3
    assert 1 <= summary.failed <= 2
    assert summary.done + summary.failed == len(heard.order) < 8
    assert not (out / "areas.json").exists()
    assert set(fake.tree(out)) == {f"mask/{Path(i).relative_to(inputs)}" for what, i in heard.order if what == "done"}


def test_out_of_memory_halves_the_batch_and_says_so(inputs, out, whole):
    heard, model = Heard(), Bright(room=3)
    assert do(fake.plan(inputs, out), model, heard, batch=8).done == 8
    assert "going on with 4" in heard.notices[0]
    assert "going on with 2" in heard.notices[1]
    assert set(model.batches) == {2}
    assert fake.tree(out) == whole


def test_out_of_memory_at_one_photo_fails_it_with_the_models_hint(inputs, out):
    heard = Heard()
    summary = do(fake.plan(inputs, out), Bright(room=0), heard, batch=4)
    assert (summary.failed, summary.exit_code) == (8, 3)
    assert all(isinstance(error, DeviceError) and "give --device cpu" in str(error) for error in heard.errors)
    assert str(inputs / "000.png") in str(heard.errors[0])
    plan = fake.plan(inputs, out)
    assert do(Plan(plan.items[:1], plan.output, "x", "m"), Bright(room=0)).exit_code == 6


def test_out_of_memory_while_decoding_asks_fewer_at_a_time(inputs, tmp_path):
    asks = tuple(Ask(points=(Point(n, n),), id=f"n{n}") for n in range(5))
    model = Bright(asks_room=2)
    do(fake.plan(inputs, tmp_path / "a", asks=asks), model)
    do(fake.plan(inputs, tmp_path / "b", asks=asks))
    assert max(model.asked) == 2
    assert fake.tree(tmp_path / "a") == fake.tree(tmp_path / "b")
    assert (tmp_path / "a" / "mask" / "000-n3.png").exists()


def test_each_round_remembers_the_one_before(inputs, tmp_path):
    one = do_one(inputs, tmp_path / "one", (ASK,))
    two = do_one(inputs, tmp_path / "two", ((ASK, ASK),))
    assert "previous" not in one["ask"]
    assert two["ask"]["previous"] == one["masks"][0]["rle"]


def do_one(inputs: Path, out: Path, asks) -> dict:
    heard = Heard(records=True)
    do(fake.plan(inputs, out, asks=asks), events=heard)
    return heard.lines[0]


def test_photos_waiting_stay_within_the_memory_given(tmp_path, monkeypatch):
    fake.photos(tmp_path / "in", 40, (64, 64))
    held = []
    room = engine.Engine._room

    def watched(self):
        found = room(self)
        held.append((len(self._slots), sum(self._bytes(slot) for slot in self._slots)))
        return found

    monkeypatch.setattr(engine.Engine, "_room", watched)
    monkeypatch.setattr(engine, "_UNSEEN", 64 * 64 * 3)
    plan = fake.plan(tmp_path / "in", tmp_path / "out")
    limit = 6 * 64 * 64 * 7
    heard = Heard()
    found = engine_run(plan, limit, heard)
    assert found == 40
    assert max(count for count, _ in held) <= 12
    assert max(nbytes for _, nbytes in held) <= 2 * limit


def engine_run(plan: Plan, limit: int, heard: Heard) -> int:
    from segcli.pipeline.answering import Here
    from segcli.pipeline.names import Names
    from segcli.pipeline.signals import Stop
    from segcli.pipeline.work import Writer

    writer = Writer(
        Plan(plan.items, Output(None, formats=("mask",)), "x", "m"), FORMATS, Names([], plan.output), None, False
    )
    moving = engine.Engine(Here(Bright(), 4, heard.notice), writer, None, 2, limit, Stop())
    try:
        return sum(isinstance(outcome, engine.Finished) for outcome in moving.outcomes(plan.items))
    finally:
        moving.close()


def test_two_photos_of_one_name_are_refused_before_anything_is_done(inputs, out):
    items = [Item(PurePosixPath("a.png"), inputs / name, (ASK,)) for name in ("000.png", "001.png")]
    with pytest.raises(UsageError, match=r"000\.png and .*001\.png"):
        do(Plan(items, Output(out), "x", "m"), fake.never)
    assert not out.exists()


def test_a_dry_run_touches_nothing(inputs, out):
    heard = Heard()
    summary = do(fake.plan(inputs, out), fake.never, heard, dry_run=True)
    assert (summary.planned, summary.exit_code) == (8, 0)
    assert not out.exists()
    do(fake.plan(inputs, out))
    before = fake.tree(out, hidden=True)
    fake.photo(inputs / "zzz.png", 99)
    heard = Heard()
    summary = do(fake.plan(inputs, out), fake.never, heard, dry_run=True)
    assert (summary.planned, summary.skipped) == (1, 8)
    assert heard.order[-1] == ("planned", str(inputs / "zzz.png"))
    assert fake.tree(out, hidden=True) == before


def test_one_file_goes_to_stdout_and_several_are_refused(inputs, tmp_path):
    plan = fake.plan(inputs, None, formats=("mask",))
    stdout = io.BytesIO()
    run(Plan(plan.items[:1], plan.output, "x", "m"), Bright(), How(), formats=FORMATS, stdout=stdout)
    do(fake.plan(inputs, tmp_path / "out", formats=("mask",)))
    assert stdout.getvalue() == (tmp_path / "out" / "000.png").read_bytes()
    with pytest.raises(UsageError, match="give -o DIR"):
        run(plan, Bright(), How(), formats=FORMATS, stdout=io.BytesIO())


def test_several_files_of_one_photo_are_refused_before_stdout_has_one(inputs):
    plan = fake.plan(inputs, None, formats=("mask",), asks=(ASK, replace(ASK, id="b")))
    stdout = io.BytesIO()
    with pytest.raises(UsageError, match="give -o DIR"):
        run(Plan(plan.items[:1], plan.output, "x", "m"), Bright(), How(), formats=FORMATS, stdout=stdout)
    assert stdout.getvalue() == b""


def test_a_run_file_is_streamed_to_stdout_photo_by_photo(inputs):
    stdout = io.BytesIO()
    seen = []

    class Watching(Heard):
        def done(self, image, files, records, masks):
            seen.append(stdout.getvalue().count(b"\n"))

    run(fake.plan(inputs, None, formats=("areas",)), Bright(), How(), Watching(), formats=FORMATS, stdout=stdout)
    assert seen == list(range(8))
    assert stdout.getvalue().count(b"\n") == 8


def test_bytes_from_stdin_are_an_item_like_others(inputs, out):
    item = Item(PurePosixPath("stdin"), None, (ASK,), (inputs / "000.png").read_bytes())
    plan = Plan([item], Output(out), "x", "m")
    assert do(plan).done == 1
    assert (out / "stdin.png").exists()
    assert do(plan, fake.never).skipped == 1


def test_an_output_directory_that_can_not_be_made_is_exit_4(inputs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        do(fake.plan(inputs, tmp_path / "file" / "out"))


def test_finished_is_told_whatever_ended_the_run(inputs, out):
    heard = Heard()

    def broken():
        raise DeviceError("cuda is not there")

    with pytest.raises(DeviceError):
        do(fake.plan(inputs, out), broken, heard)
    assert heard.summary is not None
    assert heard.summary.done == 0

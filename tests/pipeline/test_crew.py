"""A run whose photos are answered by workers: the same files, lines and codes, whatever becomes of the workers."""

from __future__ import annotations

import json
import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline import fake
from tests.pipeline.fake import ASK, Bright, Heard, do
from tests.pipeline.fake_cluster import FakeCluster

from segcli.core.ask import Ask, Point
from segcli.core.errors import CheckpointError, DeviceError, ItemError
from segcli.pipeline import crew, on_ray
from segcli.pipeline.on_ray import Wish
from segcli.pipeline.plan import Item, Output, Plan


@dataclass
class Clusters:
    """The engines that runs of a test have started, and what the next ones are like."""

    workers: int = 2
    like: dict[str, Any] = field(default_factory=dict)
    started: list[FakeCluster] = field(default_factory=list)

    def engage(self, wish: Wish, opener: Callable[[], object], batch: int, notice: object) -> FakeCluster:
        self.started.append(FakeCluster(opener, batch, self.workers, **self.like))
        return self.started[-1]


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Clusters:
    found = Clusters()
    monkeypatch.setattr(on_ray, "engage", found.engage)
    return found


@pytest.fixture
def plain(inputs: Path, tmp_path: Path) -> Path:
    """The output of a run in this process."""
    do(fake.plan(inputs, tmp_path / "plain"))
    return tmp_path / "plain"


def spread(plan: Plan, model: Any = None, events: Heard | None = None, **how: Any):
    return do(plan, model, events, on=Wish(), **how)


def journal(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / ".seg-journal.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


@pytest.mark.parametrize("workers", [1, 2, 5, 20])
@pytest.mark.parametrize("batch", [1, 3])
def test_files_lines_and_journal_do_not_depend_on_who_answers(inputs, out, plain, clusters, workers, batch):
    clusters.workers = workers
    heard = Heard()
    summary = spread(fake.plan(inputs, out), events=heard, batch=batch)
    assert (summary.done, summary.exit_code) == (8, 0)
    assert fake.tree(out) == fake.tree(plain)
    assert journal(out) == journal(plain)
    assert [image for _, image in heard.order] == [str(path) for path in sorted(inputs.rglob("*.png"))]
    assert len(clusters.started) == 1
    assert clusters.started[0].closed


def test_answers_that_come_late_are_told_in_the_plans_order(inputs, out, plain, clusters):
    clusters.workers = 3
    clusters.like["turns"] = lambda numbers: numbers[-1:]  # the first worker does something only when no other can
    heard = Heard(records=True)
    spread(fake.plan(inputs, out), events=heard, batch=1)
    assert [line["image"] for line in heard.lines] == [str(path) for path in sorted(inputs.rglob("*.png"))]
    assert fake.tree(out) == fake.tree(plain)


@pytest.mark.parametrize("moment", range(7))
@pytest.mark.parametrize("what", ["open", "answer"])
def test_a_worker_that_is_lost_at_any_moment_changes_nothing(inputs, out, plain, clusters, moment, what):
    seen = []

    def dies(number: int, told: str, names: tuple[str, ...]) -> bool:
        seen.append(told)
        return told == what and seen.count(what) == moment + 1

    clusters.like["dies"] = dies
    summary = spread(fake.plan(inputs, out), batch=2)
    assert (summary.done, summary.failed) == (8, 0)
    assert fake.tree(out) == fake.tree(plain)
    assert journal(out) == journal(plain)
    assert len(clusters.started[0].hired) == 2 + (seen.count(what) > moment)


def test_all_workers_may_be_lost_more_than_once(inputs, out, plain, clusters):
    clusters.like["dies"] = lambda number, told, names: told == "answer" and number < 4 and number % 2 == len(names) % 2
    assert spread(fake.plan(inputs, out), batch=2).done == 8
    assert fake.tree(out) == fake.tree(plain)


def test_a_photo_that_kills_its_worker_each_time_fails_alone(inputs, out, plain, clusters):
    bad = str(inputs / "004.png")
    clusters.like["dies"] = lambda number, told, names: bad in names
    heard = Heard()
    summary = spread(fake.plan(inputs, out), events=heard, batch=4)
    assert (summary.done, summary.failed, summary.exit_code) == (7, 1, 3)
    (error,) = heard.errors
    assert isinstance(error, ItemError)
    assert str(error).startswith(f"{bad}: cost 3 workers (its machine was lost)")
    assert len(clusters.started[0].hired) == 2 + crew.LOSSES
    left = {name: content for name, content in fake.tree(plain).items() if name != "areas.json"}
    del left["mask/004.png"]
    assert {name: content for name, content in fake.tree(out).items() if name != "areas.json"} == left
    assert "a worker was lost (its machine was lost): " in heard.notices[0]

    clusters.like.clear()
    assert spread(fake.plan(inputs, out)).done == 1
    assert fake.tree(out) == fake.tree(plain)


def test_when_every_photo_kills_its_worker_the_run_gives_up(inputs, out, clusters):
    clusters.like["dies"] = lambda number, told, names: told == "answer"
    with pytest.raises(DeviceError, match="5 photos in a row cost 3 workers each"):
        spread(fake.plan(inputs, out), batch=1)
    assert clusters.started[0].closed
    assert not any(worker.alive for worker in clusters.started[0].hired)


@pytest.mark.parametrize("what", ["arrive", "open"])
def test_workers_that_die_before_their_model_is_open_end_the_run(inputs, out, clusters, what):
    clusters.like["dies"] = lambda number, told, names: told == what
    with pytest.raises(DeviceError, match="3 workers were lost before their model was open"):
        spread(fake.plan(inputs, out))
    assert len(clusters.started[0].hired) <= 2 + 3


def test_what_opening_the_model_raises_is_the_runs_error(inputs, out, clusters):
    def broken() -> Any:
        raise CheckpointError("bright: weights.safetensors is cut short; type seg models verify")

    heard = Heard()
    with pytest.raises(CheckpointError, match="cut short"):
        spread(fake.plan(inputs, out), broken, heard)
    assert heard.summary is not None
    assert clusters.started[0].closed


def test_workers_of_another_seg_or_with_other_weights_are_refused(inputs, out, clusters):
    def older(number: int, told: str, value: bytes) -> bytes:
        return pickle.dumps(replace(pickle.loads(value), version="0.0.1")) if told == "open" else value

    def other(number: int, told: str, value: bytes) -> bytes:
        return pickle.dumps(replace(pickle.loads(value), revision=str(number))) if told == "open" else value

    clusters.like["changed"] = older
    with pytest.raises(DeviceError, match=r"a worker has seg 0\.0\.1"):
        spread(fake.plan(inputs, out))
    clusters.like["changed"] = other
    with pytest.raises(DeviceError, match="workers have different files of bright"):
        spread(fake.plan(inputs, out))


def test_a_run_without_a_place_for_workers_gives_up(inputs, out, clusters, monkeypatch):
    clusters.like["room"] = lambda number: False
    monkeypatch.setattr(crew.Crew.__init__, "__defaults__", (0.0,))
    with pytest.raises(DeviceError, match="no worker found a place"):
        spread(fake.plan(inputs, out))


def test_a_worker_that_never_finds_a_place_is_not_waited_for(inputs, out, plain, clusters):
    clusters.workers = 3
    clusters.like["room"] = lambda number: number == 1
    assert spread(fake.plan(inputs, out), batch=1).done == 8
    assert fake.tree(out) == fake.tree(plain)


class Moody(Bright):
    """Fails at three photos, each in its own way."""

    def decode(self, encoded: Any, asks: Any) -> Any:
        mood = int(encoded.values[0, 0]) % 4
        if mood == 0:
            raise ItemError("nothing to see")
        if mood == 1:
            raise ZeroDivisionError("oh")
        if mood == 2:
            raise DeviceError("out of memory: give --device cpu, or smaller photos")
        return super().decode(encoded, asks)


def test_failures_of_photos_are_told_in_the_same_words(inputs, tmp_path, clusters):
    (inputs / "003.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    plan = fake.plan(inputs, tmp_path / "here")
    items = [*plan.items[:-1], Item(plan.items[-1].relative, plan.items[-1].source, (Ask(points=(Point(500, 5),)),))]
    told = []
    for name, way in (("here", do), ("there", spread)):
        heard = Heard()
        summary = way(
            replace(plan, items=items, output=replace(plan.output, directory=tmp_path / name)), Moody(), heard
        )
        told.append((summary.exit_code, summary.failed, heard.lines, [str(error) for error in heard.errors]))
    assert told[0] == told[1]
    assert told[0][0] == 1
    assert len(told[0][2]) >= 4
    assert fake.tree(tmp_path / "here") == fake.tree(tmp_path / "there")


def test_a_bugs_traceback_comes_along(inputs, out, clusters):
    class Broken(Bright):
        def decode(self, encoded: Any, asks: Any) -> Any:
            raise UnpicklableError(open)

    heard = Heard()
    assert spread(fake.plan(inputs, out), Broken(), heard).exit_code == 1
    assert "UnpicklableError" in str(heard.errors[0])
    assert "in decode" in heard.errors[0].__notes__[0]


class UnpicklableError(Exception):
    def __init__(self, what: Any) -> None:
        super().__init__(lambda: what)


def test_out_of_memory_halves_a_workers_batch_and_says_so_once(inputs, out, plain, clusters):
    heard = Heard()
    assert spread(fake.plan(inputs, out), lambda: Bright(room=1), heard, batch=4).done == 8
    assert heard.notices.count("out of memory with 4 photos at a time: going on with 2") == 1
    assert fake.tree(out) == fake.tree(plain)


def test_what_workers_say_is_heard_here_once(inputs, out, clusters, capsys):
    def talking() -> Bright:
        import sys

        print("seg: bright on cpu", file=sys.stderr)
        return Bright()

    heard = Heard()
    spread(fake.plan(inputs, out), talking, heard)
    assert heard.notices == ["bright on cpu"]
    assert capsys.readouterr().err == ""


def test_a_finished_plan_starts_no_engine(inputs, out, clusters):
    do(fake.plan(inputs, out))
    assert spread(fake.plan(inputs, out), fake.never).skipped == 8
    assert clusters.started == []


def test_a_run_goes_on_there_where_it_stopped_here_and_the_other_way_round(inputs, out, plain, clusters):
    for photo in ("001.png", "006.png"):
        (inputs / photo).rename(inputs / f"{photo}.away")
    plan = fake.plan(inputs, out)
    first = replace(plan, items=[item for item in plan.items if not item.name.endswith(".away")])
    assert spread(first).done == 6
    for photo in ("001.png", "006.png"):
        (inputs / f"{photo}.away").rename(inputs / photo)
    summary = do(fake.plan(inputs, out))
    assert (summary.done, summary.skipped) == (2, 6)
    assert fake.tree(out) == fake.tree(plain)


def test_the_first_failure_stops_the_run_and_what_is_under_way_is_left_to_the_next(inputs, out, plain, clusters):
    kept = (inputs / "000.png").read_bytes()
    (inputs / "000.png").write_bytes(b"no photo")
    heard = Heard()
    summary = spread(fake.plan(inputs, out), events=heard, batch=1, workers=1, max_failures=1)
    assert summary.stopped
    assert summary.exit_code == 3
    assert summary.done + summary.failed == len(heard.order) < 8
    assert clusters.started[0].closed
    (inputs / "000.png").write_bytes(kept)
    assert spread(fake.plan(inputs, out)).exit_code == 0
    assert fake.tree(out) == fake.tree(plain)


@pytest.mark.parametrize("moment", ["start", "middle"])
def test_ctrl_c_drops_what_is_under_way_and_the_same_command_goes_on(inputs, out, tmp_path, clusters, moment):
    fake.photos(inputs, 40)
    do(fake.plan(inputs, tmp_path / "plain"))
    opened = []

    def opening() -> Bright:
        opened.append(moment)
        if opened == ["start"]:
            os.kill(os.getpid(), signal.SIGINT)
        return Bright()

    class Impatient(Heard):
        def done(self, image, files, records, masks):
            super().done(image, files, records, masks)
            if len(self.order) == 2 and moment == "middle":
                os.kill(os.getpid(), signal.SIGINT)

    summary = spread(fake.plan(inputs, out), opening, Impatient(), batch=1, workers=1)
    assert summary.exit_code == 130
    assert summary.done < 40
    assert clusters.started[0].closed
    assert spread(fake.plan(inputs, out)).exit_code == 0
    assert fake.tree(out) == fake.tree(tmp_path / "plain")


def test_photos_under_way_are_bounded_however_many_there_are(tmp_path, clusters):
    fake.photos(tmp_path / "in", 60)
    # the worker with the first photos does nothing until nobody else has anything to do
    clusters.like["turns"] = lambda numbers: numbers[-1:]
    assert spread(fake.plan(tmp_path / "in", tmp_path / "out"), batch=2, workers=1).done == 60
    (cluster,) = clusters.started
    assert cluster.most <= 2 * 2 * 2


def test_arrays_that_come_back_may_be_written_to(inputs, out, clusters):
    class Soft(Bright):
        def decode(self, encoded: Any, asks: Any) -> Any:
            image = encoded.values
            image += 0.0  # a model may work in place on what it encoded
            return [replace(p, soft=np.ones((1, 4, 4), np.float16)) for p in super().decode(encoded, asks)]

    assert spread(fake.plan(inputs, out), Soft()).done == 8


def test_stdout_gets_the_same_bytes(inputs, tmp_path, clusters):
    import io

    from segcli.pipeline.run import How, run

    plan = fake.plan(inputs, None, formats=("areas",))
    streams = [io.BytesIO(), io.BytesIO()]
    run(plan, Bright(), How(), formats=fake.FORMATS, stdout=streams[0])
    run(plan, Bright(), How(on=Wish()), formats=fake.FORMATS, stdout=streams[1])
    assert streams[0].getvalue() == streams[1].getvalue()


def test_formats_that_show_the_photo_get_all_its_pixels(inputs, tmp_path, clusters):
    model = replace(Bright(), reads=8)
    for name, way in (("here", do), ("there", spread)):
        way(fake.plan(inputs, tmp_path / name, formats=("copy", "mask")), model)
    assert fake.tree(tmp_path / "here") == fake.tree(tmp_path / "there")


def test_one_photo_that_costs_its_workers_is_its_own_exit_code(inputs, out, clusters):
    clusters.like["dies"] = lambda number, told, names: bool(names)
    plan = fake.plan(inputs, out)
    assert spread(Plan(plan.items[:1], Output(out), "x", "m")).exit_code == ItemError.exit_code
    assert plan.items[0].asks == (ASK,)

"""Runs whose results and journal lie in a store: what holds in a directory of this machine holds there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

pytest.importorskip("fsspec")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import stores
from tests.pipeline import fake
from tests.pipeline.fake import Heard, do
from tests.stores import hooked, refusing

from segcli.core.ask import Ask, Point
from segcli.core.errors import StorageError
from segcli.io.remote import Remote
from segcli.pipeline import mirror
from segcli.pipeline.journal import Journal
from segcli.pipeline.mirror import Mirror
from segcli.pipeline.shard import Shard

OTHER = (Ask(points=(Point(20, 20),)),)
BOTH = pytest.mark.parametrize("store", ["disk", "bucket"])


@pytest.fixture
def root(tmp_path, monkeypatch):
    stores.install(tmp_path / "stores", monkeypatch)
    (tmp_path / "stores/b").mkdir(parents=True)
    return tmp_path / "stores/b/out"


@pytest.fixture
def whole(inputs, tmp_path):
    do(fake.plan(inputs, tmp_path / "whole"))
    return fake.tree(tmp_path / "whole")


def journal_objects(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".seg-journal").iterdir())


@BOTH
def test_the_files_are_those_of_a_local_run_and_a_second_run_skips_them(inputs, root, whole, store):
    plan = fake.plan(inputs, Remote(f"{store}://b/out"))
    assert do(plan).done == 8
    assert fake.tree(root) == whole
    assert len(journal_objects(root)) == 1
    kept = fake.tree(root, hidden=True)
    assert do(plan, fake.never).skipped == 8
    assert fake.tree(root, hidden=True) == kept


@BOTH
def test_files_are_written_only_after_the_journal_says_so_in_the_store(inputs, root, store):
    """So another machine, too, knows what a killed run may have left."""
    told: set[str] = set()
    early: list[str] = []

    def watch(request, path):
        if "/.seg-journal/" in path:
            for one in (root / ".seg-journal").iterdir() if (root / ".seg-journal").exists() else ():
                for line in one.read_bytes().splitlines() if one.suffix == ".jsonl" else ():
                    told.update(json.loads(line).get("files", ()) if b'"begin"' in line else ())
        elif request == "pipe_file" and store == "bucket":
            watch("ls", "/.seg-journal/")
            early.extend(name for name in [path.removeprefix("b/out/")] if name.startswith("mask") and name not in told)

    with hooked(watch):
        do(fake.plan(inputs, Remote(f"{store}://b/out")))
    assert early == []
    assert len(told) == 9 or store == "disk"


@BOTH
def test_killed_before_each_request_in_turn_the_next_run_finishes_cleanly(tmp_path, root, store):
    inputs = tmp_path / "few"
    fake.photos(inputs, 1 if store == "disk" else 2)  # a file takes four requests of a disk
    do(fake.plan(inputs, tmp_path / "whole"))
    whole = fake.tree(tmp_path / "whole")
    place, alive = 0, False
    while not alive:
        place += 1
        out, plan = root / str(place), fake.plan(inputs, Remote(f"{store}://b/out/{place}"))
        alive = survives(plan, place, workers=2, batch=1)
        found = fake.tree(out) if out.exists() else {}
        assert {name: content for name, content in found.items() if not name.endswith(".tmp")}.items() <= whole.items()
        heard = Heard()
        assert do(plan, events=heard).exit_code == 0, heard.errors
        assert fake.tree(out) == whole
    assert place > 8


def survives(plan, request: int, **how) -> bool:
    """Do the plan in a process that is killed at the n-th request; False if it was."""
    child = os.fork()
    if child == 0:
        left = [request]

        def deadly(*_):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            with hooked(deadly):
                do(plan, **how)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL
    return os.WIFEXITED(status)


ASKS = [(Ask(points=(Point(n, n),)),) for n in (2, 12, 22)]
runs = st.tuples(
    st.integers(0, len(ASKS) - 1),
    st.booleans(),  # force
    st.sampled_from([None, None, "1/2", "2/2", "2/3"]),
    st.none() | st.integers(1, 60),  # the request at which it is killed
    st.booleans(),  # whether the store lets remove anything
)


@BOTH
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=st.lists(runs | st.integers(0, 3), max_size=5), last=st.integers(0, len(ASKS) - 1))
def test_whatever_happened_before_a_run_that_says_it_is_done_is_done(tmp_path, root, store, history, last):
    inputs = tmp_path / "in"
    if not (tmp_path / "whole0").exists():
        fake.photos(inputs, 4)
        for n, asks in enumerate(ASKS):
            do(fake.plan(inputs, tmp_path / f"whole{n}", asks=asks))
    shutil.rmtree(root, ignore_errors=True)
    whole = [fake.tree(tmp_path / f"whole{n}") for n in range(len(ASKS))]
    place = Remote(f"{store}://b/out")
    for deed in history:
        if isinstance(deed, int):
            masks = sorted(root.rglob("*.png"))
            if masks:
                masks[deed % len(masks)].unlink()
            continue
        asks, force, shard, death, removes = deed
        plan = fake.plan(inputs, place, asks=ASKS[asks])
        part = Shard.parse(shard) if shard else None
        if death is not None:
            survives(plan, death, force=force, shard=part)
            continue
        try:
            denied = () if removes else ("rm_file",)
            with hooked(refusing(PermissionError("no s3:DeleteObject"), *denied, at=".jsonl")):
                summary = do(plan, force=force, shard=part)
        except StorageError:  # areas.json was made with other options
            assert not force
            continue
        if summary.exit_code == 0:
            found = fake.tree(root)
            for item in plan.items:
                if part is None or part.owns(item.key):
                    assert found[f"mask/{item.key}"] == whole[asks][f"mask/{item.key}"]
    assert do(fake.plan(inputs, place, asks=ASKS[last]), force=True).exit_code == 0
    assert fake.tree(root) == whole[last]
    assert do(fake.plan(inputs, place, asks=ASKS[last]), fake.never).skipped == 4


@BOTH
def test_existing_files_are_refused_and_replaced_as_on_this_machine(inputs, root, store):
    place = Remote(f"{store}://b/out")
    (root / "deep").mkdir(parents=True)
    (root / "000.png").write_text("mine")
    heard = Heard()
    summary = do(fake.plan(inputs, place, formats=("mask",)), events=heard)
    assert (summary.done, summary.failed, (root / "000.png").read_text()) == (7, 1, "mine")
    assert f"{place}/000.png exists, made by other options or another program" in str(heard.errors[0])
    assert do(fake.plan(inputs, place, formats=("mask",)), force=True).done == 1
    heard = Heard()
    assert do(fake.plan(inputs, place, formats=("mask",), asks=OTHER), fake.never, heard).failed == 8
    assert "exists, made with other options: --force replaces it" in str(heard.errors[0])
    (root / "001.png").write_bytes(b"cut")
    heard = Heard()
    assert do(fake.plan(inputs, place, formats=("mask",)), events=heard).failed == 1
    assert "has changed since it was made" in str(heard.errors[0])
    assert do(fake.plan(inputs, place, formats=("mask",)), force=True).done == 1


def test_photos_of_a_store_are_never_replaced(tmp_path, root):
    from dataclasses import replace

    fake.photos(root, 2)
    before = fake.tree(root)
    plan = fake.plan(root, Remote("bucket://b/out"), formats=("mask",))
    items = [replace(item, source=Remote(f"bucket://b/out/{item.relative}")) for item in plan.items]
    heard = Heard()
    assert do(replace(plan, items=items), events=heard, force=True).failed == 2
    assert "is one of the photos" in str(heard.errors[0])
    assert fake.tree(root) == before


@BOTH
def test_shards_keep_journals_of_their_own_and_the_last_writes_the_run_file(inputs, root, whole, store):
    plan = fake.plan(inputs, Remote(f"{store}://b/out"))
    heard = Heard()
    first = do(plan, events=heard, shard=Shard(1, 2))
    assert "areas.json: left to the last shard" in " ".join(heard.notices)
    second = do(plan, shard=Shard(2, 2))
    assert (first.done + second.done, second.run_files) == (8, ["areas.json"])
    assert fake.tree(root) == whole
    assert do(plan, fake.never).skipped == 8


@BOTH
def test_a_shard_reads_what_others_wrote_while_it_ran(inputs, root, whole, store):
    plan = fake.plan(inputs, Remote(f"{store}://b/out"))

    class Meanwhile(fake.Bright):
        def encode(self, images):
            if not self.batches:
                do(plan, shard=Shard(2, 2))
            return super().encode(images)

    assert do(plan, Meanwhile(), shard=Shard(1, 2)).run_files == ["areas.json"]
    assert fake.tree(root) == whole


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError("Access Denied"), "no permission to write there"),
        (FileNotFoundError("NoSuchBucket"), "no such bucket or directory"),
        (TimeoutError(), "the store gives no answer"),
    ],
    ids=["denied", "missing", "silent"],
)
def test_a_store_that_takes_nothing_is_noticed_before_the_model_is_opened(inputs, root, error, words):
    with hooked(refusing(error, "pipe_file")), pytest.raises(StorageError) as raised:
        do(fake.plan(inputs, Remote("bucket://b/out")), fake.never)
    assert str(raised.value) == f"bucket://b/out: can't be written: {words}"
    with hooked(refusing(error, "ls")):
        if isinstance(error, FileNotFoundError):
            return
        with pytest.raises(StorageError, match=r"^bucket://b/out: can't be looked at: "):
            do(fake.plan(inputs, Remote("bucket://b/out")), fake.never)


@BOTH
@pytest.mark.parametrize("request_", ["pipe_file", "half"])
def test_each_upload_failing_in_turn_stops_the_run_and_the_next_one_mends_it(tmp_path, root, store, request_):
    inputs = tmp_path / "two"
    fake.photos(inputs, 2)
    do(fake.plan(inputs, tmp_path / "whole"))
    whole = fake.tree(tmp_path / "whole")
    for number in range(100):
        plan, left = fake.plan(inputs, Remote(f"{store}://b/out/{number}")), [number]

        def fail(request, path, left=left):
            left[0] -= request == request_
            if left[0] < 0 and request == request_:
                raise OSError("the line was cut")

        try:
            with hooked(fail):
                do(plan, workers=1, batch=1)
        except StorageError as error:
            said = str(error)
        else:
            break
        assert "can't be written: the line was cut" in said
        found = fake.tree(root / str(number)) if (root / str(number)).exists() else {}
        assert found.items() <= whole.items()
        do(plan)
        assert fake.tree(root / str(number)) == whole
    assert number > 5


def test_lines_that_wait_together_go_in_one_request_and_are_there_when_it_returns(root):
    sent, going = [], threading.Event()

    def watch(request, path):
        if request == "half":
            sent.append(path)
            going.wait(5)

    one = Mirror(Remote("bucket://b/out"), None)
    going.set()
    one.begin()
    with hooked(watch):
        going.clear()
        lines = [f'{{"begin": {n}}}\n'.encode() for n in range(30)]

        def write(line):
            one.add(line)
            one.commit()
            assert line in b"".join(p.read_bytes() for p in (root / ".seg-journal").iterdir())

        threads = [threading.Thread(target=write, args=(line,)) for line in lines]
        for thread in threads:
            thread.start()
        going.set()
        for thread in threads:
            thread.join()
    one.close()
    assert len(sent) < 30
    (path,) = (root / ".seg-journal").iterdir()
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_a_long_journal_is_kept_in_pieces_so_that_little_is_sent_again(inputs, root, whole, monkeypatch):
    monkeypatch.setattr(mirror, "_FULL", 400)
    sizes = []

    def watch(request, path):
        if request == "ls" and (root / ".seg-journal").exists():
            sizes.extend(one.stat().st_size for one in (root / ".seg-journal").iterdir())

    plan = fake.plan(inputs, Remote("bucket://b/out"))

    class Stops(fake.Bright):
        def encode(self, images):
            if len(self.batches) == 3:
                raise StorageError("pulled the plug")
            return super().encode(images)

    assert do(plan, Stops(), batch=1, workers=1).failed
    with hooked(watch):
        assert do(plan).exit_code == 0
    assert fake.tree(root) == whole
    assert len(journal_objects(root)) == 1


def test_a_journal_that_can_t_be_removed_is_followed_by_a_later_one_that_counts(inputs, root):
    place = Remote("bucket://b/out")
    with hooked(refusing(PermissionError("no s3:DeleteObject"), "rm_file")):
        do(fake.plan(inputs, place, formats=("mask",)))
        do(fake.plan(inputs, place, formats=("mask",), asks=OTHER), force=True)
        assert len(journal_objects(root)) == 4
        assert do(fake.plan(inputs, place, formats=("mask",), asks=OTHER), fake.never).skipped == 8
        assert do(fake.plan(inputs, place, formats=("mask",)), fake.never).failed == 8


def test_a_second_process_on_the_same_url_is_refused_with_a_line(root):
    held = Journal(Remote("bucket://b/out"))
    with pytest.raises(StorageError, match=r"^bucket://b/out/: another seg process is writing to it"):
        Journal(Remote("bucket://b/out/"))
    held.close()
    Journal(Remote("bucket://b/out/")).close()


def test_a_dry_run_writes_nothing_to_a_store(inputs, root):
    def only_looks(request, path):
        assert request in ("ls", "info", "cat_file")

    plan = fake.plan(inputs, Remote("bucket://b/out"))
    with hooked(only_looks):
        assert do(plan, fake.never, dry_run=True).planned == 8
    do(plan)
    with hooked(only_looks):
        assert do(plan, fake.never, dry_run=True).skipped == 8


def test_nothing_of_a_run_stays_on_this_machine(inputs, root, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    do(fake.plan(inputs, Remote("bucket://b/out")))
    assert not [path for path in (tmp_path / "temporary").rglob("*") if path.is_file() and "lock" not in path.name]

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

import pytest

from segcli.core.errors import ItemError, SegError, StorageError
from segcli.io import atomic

CALLS = ("os_open", "os_write", "os_fsync", "os_close", "os_replace", "os_mkdir")


class Faults:
    """Lets the `after`-th of all watched calls fail with an error number, and records what was called."""

    def __init__(self, monkeypatch, number=None, after=None):
        self.calls = []
        for name in CALLS:
            real = getattr(atomic, name)
            monkeypatch.setattr(atomic, name, self.watch(name, real, number, after))

    def watch(self, name, real, number, after):
        def call(*arguments):
            self.calls.append(name)
            if after is not None and len(self.calls) == after:
                if name == "os_close":
                    real(*arguments)  # a failed close still closes
                raise OSError(number, os.strerror(number))
            return real(*arguments)

        return call


def strays(directory):
    return [path for path in directory.rglob("*") if path.name.startswith(atomic.PREFIX)]


def test_the_file_is_written_synced_renamed_and_the_rename_is_synced(tmp_path, monkeypatch):
    faults = Faults(monkeypatch)
    atomic.write(tmp_path / "a.png", b"data")
    assert faults.calls == [
        "os_open",
        "os_write",
        "os_fsync",
        "os_close",
        "os_replace",
        "os_open",
        "os_fsync",
        "os_close",
    ]
    assert (tmp_path / "a.png").read_bytes() == b"data"
    assert not strays(tmp_path)


STEPS = range(1, 9)  # each of the eight calls above
DISK = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", DISK)
@pytest.mark.parametrize("before", [None, b"old"])
def test_whichever_call_fails_the_file_is_old_or_new_and_never_partial(tmp_path, monkeypatch, step, number, before):
    target = tmp_path / "a.png"
    if before is not None:
        target.write_bytes(before)
    Faults(monkeypatch, number, step)
    with pytest.raises(StorageError, match=r"a\.png: can't be written: ") as caught:
        atomic.write(target, b"new data")
    assert "\n" not in str(caught.value)
    now = target.read_bytes() if target.exists() else None
    assert now == (before if step <= 5 else b"new data")
    assert not strays(tmp_path)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "disk reported an error"),
    ],
)
def test_the_message_says_what_is_wrong(tmp_path, monkeypatch, number, words):
    Faults(monkeypatch, number, 2)
    with pytest.raises(StorageError, match=words):
        atomic.write(tmp_path / "a.png", b"x")


def test_a_write_in_small_pieces_is_completed(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(atomic, "os_write", lambda fd, data: real(fd, bytes(data[:3])))
    atomic.write(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_chunks_are_streamed(tmp_path):
    atomic.write(tmp_path / "a", (bytes([n]) for n in range(200)))
    assert (tmp_path / "a").read_bytes() == bytes(range(200))


def test_an_error_of_the_data_itself_leaves_nothing_behind(tmp_path):
    def chunks():
        yield b"half"
        raise ItemError("a.jpg: broken")

    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ItemError, match="broken"):
        atomic.write(tmp_path / "a", chunks())
    assert (tmp_path / "a").read_bytes() == b"old"
    assert not strays(tmp_path)


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "os_fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_can_not_be_is_the_items_failure(tmp_path):
    with pytest.raises(ItemError, match="name is too long"):
        atomic.write(tmp_path / ("x" * 300), b"")
    (tmp_path / "taken").mkdir()
    with pytest.raises(ItemError, match="directory of that name"):
        atomic.write(tmp_path / "taken", b"")
    with pytest.raises(ItemError, match="can't be written"):
        atomic.write(tmp_path / "nu\0ll", b"")
    assert not strays(tmp_path)


def test_a_directory_that_is_not_there_is_said(tmp_path):
    with pytest.raises(StorageError, match="directory does not exist"):
        atomic.write(tmp_path / "no" / "a", b"")


def test_names_at_the_limit_of_the_file_system_can_be_written(tmp_path):
    atomic.write(tmp_path / ("x" * 255), b"ok")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"ok"


def test_file_systems_whose_directories_need_no_sync_are_served(tmp_path, monkeypatch):
    Faults(monkeypatch, errno.EINVAL, 7)
    atomic.write(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_the_umask_is_obeyed(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.write(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_directories_are_made_with_those_above_them(tmp_path):
    atomic.make_directory(tmp_path / "a" / "b" / "c")
    atomic.make_directory(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


@pytest.mark.parametrize("step", range(1, 9))
@pytest.mark.parametrize("number", DISK)
def test_whichever_call_fails_while_making_directories_it_is_said(tmp_path, monkeypatch, step, number):
    Faults(monkeypatch, number, step)
    with pytest.raises(StorageError, match="can't be written"):
        atomic.make_directory(tmp_path / "a" / "b")


def test_a_file_in_the_way_of_a_directory_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(SegError, match=r"/a"):
        atomic.make_directory(tmp_path / "a" / "b")
    with pytest.raises(StorageError, match="is a file"):
        atomic.make_directory(tmp_path / "a")


def leftover(directory, host=None, process=None, run="deadbeef"):
    name = f"{atomic.PREFIX}{host or atomic._HOST}-{process or os.getpid()}-{run}-0{atomic.SUFFIX}"
    path = directory / name
    path.write_bytes(b"half")
    return path


def test_leftovers_of_dead_runs_are_swept_and_nothing_else(tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gone = [leftover(tmp_path, process=dead.pid), leftover(below, process=dead.pid), leftover(tmp_path)]
    ours = leftover(tmp_path, run=atomic._RUN)
    alive = leftover(tmp_path, process=os.getppid())
    young, old = leftover(tmp_path, host="0" * 8), leftover(below, host="0" * 8)
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    other = below / ".seg-notes.tmp"
    other.write_bytes(b"mine")
    assert atomic.sweep(tmp_path) == 4
    assert not any(path.exists() for path in (*gone, old))
    assert all(path.exists() for path in (ours, alive, young, other))


def test_a_run_that_was_killed_leaves_only_what_sweep_removes(tmp_path):
    code = (
        "import os, sys, pathlib; from segcli.io import atomic\n"
        "def chunks():\n    yield b'half'\n    os.kill(os.getpid(), 9)\n"
        f"atomic.write(pathlib.Path({str(tmp_path)!r}) / 'a', chunks())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(strays(tmp_path)) == 1
    assert atomic.sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []

"""Writing to stores: all or nothing, one line, whatever goes wrong in the middle."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("fsspec")

from tests import stores
from tests.stores import hooked, refusing

from segcli.core.errors import ItemError, StorageError
from segcli.io import atomic, outputs, remote, upload
from segcli.io.remote import Remote


class NoCredentialsError(Exception):
    """As botocore's: of no common base."""


@pytest.fixture
def root(tmp_path, monkeypatch):
    stores.install(tmp_path, monkeypatch)
    (tmp_path / "b").mkdir()
    return tmp_path


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


BOTH = pytest.mark.parametrize("store", ["disk", "bucket"])
CONTENT = pytest.mark.parametrize("data", [b"new content", [b"new ", b"content"]], ids=["bytes", "chunks"])


@BOTH
@CONTENT
def test_an_object_is_written_in_whatever_directory_and_replaced(root, store, data):
    outputs.write(Remote(f"{store}://b/deep/er/a.png"), b"old")
    outputs.write(Remote(f"{store}://b/deep/er/a.png"), data)
    assert files(root) == {"b/deep/er/a.png": b"new content"}


@BOTH
@CONTENT
@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("request_", ["pipe_file", "half", "mv"])
def test_whatever_fails_the_object_is_old_or_new_and_nothing_else_is_left(root, store, data, before, request_):
    target = Remote(f"{store}://b/a.png")
    if before is not None:
        outputs.write(target, before)
    seen = []

    def fail(request, path):
        seen.append((root / "b/a.png").read_bytes() if (root / "b/a.png").exists() else None)
        if request == request_:
            raise OSError("the line was cut")

    with hooked(fail):
        if (store, request_) == ("bucket", "mv"):
            outputs.write(target, data)
        else:
            with pytest.raises(StorageError, match=rf"^{store}://b/a.png: can't be written: the line was cut$"):
                outputs.write(target, data)
    whole = {before, b"new content"} if store == "bucket" else {before}
    assert set(seen) <= whole | {None}
    assert set(files(root).values()) <= {before, b"new content"}
    assert set(files(root)) <= {"b/a.png"}


@BOTH
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError("Access Denied"), "no permission to write there"),
        (FileNotFoundError("The specified bucket does not exist"), "no such bucket or directory"),
        (TimeoutError(), "the store gives no answer"),
        (NoCredentialsError("Unable to locate credentials"), "no credentials were found (Unable to locate"),
        (NotImplementedError(), "nothing can be written to such URLs"),
        (RuntimeError("SlowDown\nplease"), "RuntimeError: SlowDown please"),
        (OSError(28, "No space left on device"), "no space left on device"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_store_refuses_is_one_line_and_concerns_the_whole_output(root, store, error, line):
    with hooked(refusing(error, "pipe_file")), pytest.raises(StorageError) as raised:
        outputs.write(Remote(f"{store}://b/a.png"), b"data")
    assert str(raised.value).startswith(f"{store}://b/a.png: can't be written: {line}")
    assert "\n" not in str(raised.value)
    assert files(root) == {}


def test_a_missing_bucket_is_said_and_never_made(root):
    with pytest.raises(StorageError, match=r"^bucket://gone/a.png: can't be written: no such bucket or directory$"):
        outputs.write(Remote("bucket://gone/a.png"), b"data")
    assert not (root / "gone").exists()


@BOTH
def test_a_name_that_is_a_directory_fails_that_item_alone(root, store):
    (root / "b/a.png").mkdir()
    if store == "disk":  # of a store that has directories
        outputs.write(Remote("disk://b/a.png/x.png"), b"file")
        with pytest.raises(ItemError, match=r"disk://b/a.png/x.png/y.png: can't be written"):
            outputs.write(Remote("disk://b/a.png/x.png/y.png"), b"below a file")
    else:
        with pytest.raises(ItemError), hooked(refusing(IsADirectoryError(), "pipe_file")):
            outputs.write(Remote("bucket://b/a.png"), b"data")


@BOTH
def test_a_request_without_an_answer_is_made_again(root, store):
    calls = []

    def slow(request, path):
        calls.append(request)
        if calls.count("pipe_file") < 3 and request == "pipe_file":
            raise TimeoutError

    with hooked(slow):
        outputs.write(Remote(f"{store}://b/a.png"), b"data")
    assert files(root) == {"b/a.png": b"data"}
    assert calls.count("pipe_file") == 3


def test_a_denied_request_is_not_made_again(root):
    calls = []

    def deny(request, path):
        calls.append(request)
        raise PermissionError

    with hooked(deny), pytest.raises(StorageError):
        outputs.write(Remote("bucket://b/a.png"), b"data")
    assert calls == ["pipe_file"]


def test_a_client_that_can_be_told_a_time_limit_is_told_it(root, monkeypatch):
    import asyncio

    from fsspec.asyn import AsyncFileSystem, get_loop

    class Slow(AsyncFileSystem):
        cachable = False

        async def _pipe_file(self, path, value, **more):
            await asyncio.sleep(30)

    monkeypatch.setattr(remote, "LIMIT", 0.05)
    with pytest.raises(TimeoutError):
        remote.call(Slow(loop=get_loop()), "pipe_file", "a", b"data")


@BOTH
def test_errors_of_what_is_written_pass_through_and_nothing_is_there(root, store):
    def chunks():
        yield b"first"
        raise ItemError("a.jpg: broken")

    with pytest.raises(ItemError, match=r"a\.jpg: broken"):
        outputs.write(Remote(f"{store}://b/all.jsonl"), chunks())
    assert files(root) == {}


@BOTH
def test_what_is_large_is_sent_from_a_file(root, store, monkeypatch):
    monkeypatch.setattr(upload, "_WHOLE", 10)
    outputs.write(Remote(f"{store}://b/all.jsonl"), (bytes([n]) * 7 for n in range(9)))
    assert files(root) == {"b/all.jsonl": b"".join(bytes([n]) * 7 for n in range(9))}


def test_no_room_for_temporary_files_is_said(root, monkeypatch):
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="temporary files can't be written: no space left on the disk"):
        outputs.write(Remote("bucket://b/all.jsonl"), iter([b"data"]))


def test_temporary_files_of_dead_processes_are_removed_and_of_living_ones_are_not(root):
    dead = subprocess.run(
        [sys.executable, "-c", "from segcli.io.atomic import temporary_name; print(temporary_name())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (root / "b/deep").mkdir()
    for name in (dead, atomic.temporary_name()):
        (root / "b/deep" / name).write_bytes(b"half")
    assert upload.sweep(Remote("bucket://b")) == 0
    assert upload.sweep(Remote("disk://b")) == 1
    assert dead not in {path.name for path in (root / "b/deep").iterdir()}
    assert len(files(root)) == 1

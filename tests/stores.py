"""Two stores over a directory of this machine, in which requests can be denied, lost, cut and counted.

`bucket://` is an object store: objects arrive as a whole, directories are what names say, and what is not in an
existing bucket is refused. `disk://` is a file server: files grow where everybody sees them, directories must be made,
and nothing is moved onto a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from segcli.io import remote, upload

Hook = Callable[[str, str], None]
"""Called with a request and its path before it is done, with "half" in the middle of an upload; may raise."""


class Disk(AbstractFileSystem):
    protocol = "disk"
    cachable = False
    root: ClassVar[Path]
    hook: ClassVar[Hook | None] = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("disk://").removeprefix("bucket://").rstrip("/")

    def asked(self, request: str, path: str) -> Path:
        """The place of a path, after the hook."""
        path = self._strip_protocol(path)
        if type(self).hook is not None:
            type(self).hook(request, path)
        return self.root / path

    def info(self, path: str, **more: Any) -> dict[str, Any]:
        place = self.asked("info", path)
        if not place.exists():
            raise FileNotFoundError(path)
        status = place.stat()
        kind = "directory" if place.is_dir() else "file"
        return {"name": self._strip_protocol(path), "size": status.st_size, "type": kind, "at": status.st_mtime_ns}

    def ls(self, path: str, detail: bool = True, **more: Any) -> list[Any]:
        place = self.asked("ls", path)
        if not place.is_dir():
            raise FileNotFoundError(path)
        path = self._strip_protocol(path)
        found = [
            {
                "name": f"{path}/{one.name}" if path else one.name,
                "size": one.stat().st_size,
                "type": "directory" if one.is_dir() else "file",
            }
            for one in sorted(place.iterdir())
        ]
        return found if detail else [one["name"] for one in found]

    def cat_file(self, path: str, *given: Any, **more: Any) -> bytes:
        return self.asked("cat_file", path).read_bytes()

    def pipe_file(self, path: str, value: bytes, **more: Any) -> None:
        place = self.asked("pipe_file", path)
        if place.is_dir():
            raise IsADirectoryError(path)
        with place.open("wb") as file:
            file.write(value[: len(value) // 2])
            file.flush()
            self.asked("half", path)
            file.write(value[len(value) // 2 :])

    def put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        place = self.asked("makedirs", path)
        if place.is_file():
            raise FileExistsError(path)
        place.mkdir(parents=True, exist_ok=exist_ok)

    def mv(self, path1: str, path2: str, **more: Any) -> None:
        place, target = self.asked("mv", path1), self.root / self._strip_protocol(path2)
        if target.exists():
            raise FileExistsError(path2)
        place.rename(target)

    def rm_file(self, path: str) -> None:
        self.asked("rm_file", path).unlink()


class Bucket(Disk):
    protocol = "bucket"

    def pipe_file(self, path: str, value: bytes, **more: Any) -> None:
        place = self.asked("pipe_file", path)
        if not (self.root / self._strip_protocol(path).partition("/")[0]).is_dir():
            raise FileNotFoundError("The specified bucket does not exist")
        self.asked("half", path)
        place.parent.mkdir(parents=True, exist_ok=True)
        arriving = self.root / f".arriving-{os.getpid()}-{place.name}"  # in no bucket, so nobody sees it
        arriving.write_bytes(value)
        arriving.replace(place)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        raise AssertionError("an object store has no directories, and making one might make a bucket")

    def mv(self, path1: str, path2: str, **more: Any) -> None:
        raise AssertionError("an object store moves nothing")


STORES = {"disk": Disk, "bucket": Bucket}


def install(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Make both known to fsspec and to seg, with their content below `root`."""
    for name, system in STORES.items():
        fsspec.register_implementation(name, system, clobber=True)
        patch.setattr(system, "root", root, raising=False)
        patch.setattr(system, "hook", None)
    patch.setattr(upload, "STORES", upload.STORES | {"bucket"})
    patch.setattr(remote, "WAITS", (0.0, 0.0))


@contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Requests go past this hook meanwhile."""
    Disk.hook = Bucket.hook = staticmethod(hook)  # type: ignore[assignment]
    try:
        yield
    finally:
        Disk.hook = Bucket.hook = None


def refusing(error: Exception, *requests: str, at: str = "") -> Hook:
    """A hook that raises at these requests, of paths that contain `at`."""

    def hook(request: str, path: str) -> None:
        if request in requests and at in path:
            raise error

    return hook

"""Objects in stores and on other machines, by URL: `s3://bucket/a.jpg`, `gs://…`, `memory://…`, through fsspec.

fsspec is imported when the first URL is looked at; paths of this machine never come here. `file://` is one of those.
Reading is here, writing in `segcli.io.upload`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from segcli.core.errors import ItemError, SegError, StorageError, UsageError

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MISSING = re.compile(r"install\s+[`'\"]?([A-Za-z0-9_.-]+)", re.IGNORECASE)  # what fsspec says of an absent package

LIMIT = 120.0
"""Seconds that one request may take, beside what its bytes need; a store that gives no answer must not hold a run."""

_SLOWEST = 100_000.0  # bytes a second, under which a store counts as one that gives no answer
WAITS = (0.5, 2.0)
"""Seconds before a request that found no answer is made again; clients repeat some by themselves."""


def is_url(text: str) -> bool:
    """True for text such as `s3://bucket/a.jpg`, but not for a file of this machine that is called so."""
    return _URL.match(text) is not None and not os.path.lexists(text)


def local(text: str) -> str:
    """The path behind a `file://` or `local://` URL; any other text as it stands."""
    for scheme in ("file://", "local://"):
        if text.lower().startswith(scheme):
            from urllib.parse import unquote

            return unquote(text[len(scheme) :])
    return text


@dataclass(frozen=True)
class Status:
    """What a store tells of an object, under the names of `os.stat_result`.

    Stores have no change time: in its place stands a number made of all that they tell (size, time, etag). Where that
    differs, the content decides. Nor have they inodes: the number is one of the object's whole name.
    """

    st_size: int
    st_ctime_ns: int
    st_ino: int
    st_mtime_ns: int = 0
    st_dev: int = -1


@dataclass(frozen=True)
class Remote:
    """One object, or what lies below a URL, with as much of `Path` as is needed. Methods raise OSError."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, below: str | os.PathLike[str]) -> Remote:
        return Remote(f"{self.url}{'' if self.url.endswith('/') else '/'}{os.fspath(below)}")

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rstrip("/").rpartition("/")[2]

    def read_bytes(self) -> bytes:
        """The whole object."""
        with as_os_error():
            system, path = open_system(self.url)
            return bytes(call(system, "cat_file", path))

    def stat(self) -> Status:
        """What the store tells of it."""
        with as_os_error():
            system, path = open_system(self.url)
            told = call(system, "info", path)
            if told.get("type") == "directory":
                raise IsADirectoryError(self.url)
            inode = hash((type(system).__name__, path))
            return Status(int(told.get("size") or 0), int(system.ukey(path)[:15], 16), inode)

    def lstat(self) -> Status:
        """The same: stores have no links."""
        return self.stat()

    def is_symlink(self) -> bool:
        """Never."""
        return False

    def exists(self) -> bool:
        """Whether there is such an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        except IsADirectoryError:
            return True
        return True

    def is_below(self, other: Remote) -> bool:
        """True when this is the other one, or lies below it."""
        (system, path), (another, root) = open_system(self.url), open_system(other.url)
        root = root.rstrip("/")
        return type(system) is type(another) and (path.rstrip("/") == root or path.startswith(root + "/"))


def below(url: str, *, recursive: bool) -> list[tuple[str, Remote]] | None:
    """The objects below a URL as (path below it, object), unordered; None when the URL is an object itself.

    Raises StorageError when there is nothing of that name, or when it can't be looked at.
    """
    system, path = open_system(url)
    try:
        with as_os_error():
            if system.isfile(path):
                return None
            found = call(system, "find", path, maxdepth=None if recursive else 1)
            if not found and not system.exists(path):
                raise FileNotFoundError
    except FileNotFoundError:
        raise StorageError(f"{url}: no such object, directory or bucket") from None
    except OSError as error:
        raise unseen(url, error) from None
    root = str(system._strip_protocol(path)).rstrip("/") + "/"
    return [(name.removeprefix(root), Remote(url) / name.removeprefix(root)) for name in found]


def download(url: str, folder: Path, suffixes: Container[str]) -> Path:
    """Put an object, or those below a URL with one of these suffixes, into a folder of this machine; returns its path
    there. Hidden ones are left out.

    Raises StorageError (see `below`), ItemError for an object that can't be had or whose name leads out of the folder.
    """
    found = below(url, recursive=True)
    root = folder / (Remote(url).name or "store")
    if found is None:
        _download(Remote(url), root)
        return root
    root.mkdir()
    for name, source in found:
        path = PurePosixPath(name)
        if ".." in path.parts or path.is_absolute():
            raise ItemError(f"{source}: its name leads out of {url}")
        if path.suffix.lower() in suffixes and not any(part.startswith(".") for part in path.parts):
            (root / path.parent).mkdir(parents=True, exist_ok=True)
            _download(source, root / path)
    return root


def _download(source: Remote, path: Path) -> None:
    try:
        with as_os_error():
            system, theirs = open_system(source.url)
            call(system, "get_file", theirs, str(path))
    except FileNotFoundError:
        raise ItemError(f"{source}: no such file") from None
    except OSError as error:
        words = "no permission to read it" if isinstance(error, PermissionError) else f"can't be read: {reason(error)}"
        raise ItemError(f"{source}: {words}") from None


def sizes(url: str, place: str | None = None) -> dict[str, int]:
    """Bytes of the objects right below a URL, by name; none when there is no such directory.

    Raises StorageError (or UsageError), which names `place` where that is what the user typed.
    """
    system, path = open_system(url, place)
    try:
        with as_os_error():
            system.invalidate_cache(path)
            found = call(system, "ls", path, detail=True)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unseen(place or url, error) from None
    return {
        str(one["name"]).rstrip("/").rpartition("/")[2]: int(one.get("size") or 0)
        for one in found
        if one.get("type") != "directory"
    }


def open_system(url: str, place: str | None = None) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises UsageError when nothing here reads such URLs, StorageError when a client can't begin; both name `place`
    where that is what the user typed.
    """
    place = place or url
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"{place}: URLs need fsspec; type pip install 'segcli[remote]'") from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        said = " ".join(str(error).split())
        package = _MISSING.search(said)
        more = f"{package[1]} is not installed; type pip install {package[1]}" if package else said
        raise UsageError(f"{place}: {more}") from None
    except ValueError as error:
        raise UsageError(f"{place}: {' '.join(str(error).split())}") from None
    except Exception as error:  # what a client says to settings that it can't use
        raise StorageError(f"{place}: can't be opened: {reason(error)}") from None
    return system, path


def call(system: Any, method: str, *given: Any, nbytes: int = 0, **more: Any) -> Any:
    """One request of a file system, within a time limit where its client can be told one, and repeated where no answer
    came. Only for requests that may be made twice. Raises what the client does, TimeoutError for no answer."""
    for wait in (*WAITS, None):
        try:
            if getattr(system, "async_impl", False) and hasattr(system, "_" + method):
                from fsspec.asyn import sync

                limit = LIMIT + nbytes / _SLOWEST
                return sync(system.loop, getattr(system, "_" + method), *given, timeout=limit, **more)
            return getattr(system, method)(*given, **more)
        except (TimeoutError, ConnectionError):
            if wait is None:
                raise
            time.sleep(wait)
    raise AssertionError


def reason(error: BaseException) -> str:
    """What a store's client raised in a few words."""
    name = type(error).__name__
    said = " ".join(str(error).split())[:200]
    if "credential" in name.lower():
        return f"no credentials were found ({said.rstrip('.')})"
    if isinstance(error, TimeoutError) and not said:
        return "the store gives no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return said if isinstance(error, OSError) and said else f"{name}: {said}"


def unseen(url: str, error: OSError) -> StorageError:
    """The line for a URL that can't be listed or asked about."""
    words = "no permission to look there" if isinstance(error, PermissionError) else reason(error)
    return StorageError(f"{url}: can't be looked at: {words}")


@contextmanager
def as_os_error() -> Iterator[None]:
    """Let what stores raise in their own ways be an OSError in one line."""
    try:
        yield
    except (OSError, SegError):
        raise
    except Exception as error:  # clients of stores have exceptions of their own, without a common base
        raise OSError(reason(error)) from error


Source = Path | Remote
"""Where bytes are: a file of this machine, or an object."""

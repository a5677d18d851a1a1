"""Photos in object stores and on other machines, by URL: `s3://bucket/a.jpg`, `gs://…`, `memory://…`, through fsspec.

fsspec is imported when the first URL is looked at; paths of this machine never come here. `file://` is one of those.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcli.core.errors import StorageError, UsageError

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_url(text: str) -> bool:
    """True for text such as `s3://bucket/a.jpg`, but not for a file of this machine that is called so."""
    return _URL.match(text) is not None and not os.path.lexists(text)


def local(text: str) -> str:
    """The path behind a `file://` URL; any other text as it stands."""
    if not text.lower().startswith("file://"):
        return text
    from urllib.parse import unquote

    return unquote(text[7:])


@dataclass(frozen=True)
class Status:
    """What a store tells of an object, under the names of `os.stat_result`.

    Stores have no change time: in its place stands a number made of all that they tell (size, time, etag). Where that
    differs, the content decides.
    """

    st_size: int
    st_ctime_ns: int
    st_mtime_ns: int = 0
    st_dev: int = -1
    st_ino: int = -1


@dataclass(frozen=True)
class Remote:
    """One object, with as much of `Path` as reading takes. Methods raise OSError."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rstrip("/").rpartition("/")[2]

    def read_bytes(self) -> bytes:
        """The whole object."""
        with _as_os_error():
            system, path = _system(self.url)
            return bytes(system.cat_file(path))

    def stat(self) -> Status:
        """What the store tells of it."""
        with _as_os_error():
            system, path = _system(self.url)
            told = system.info(path)
            return Status(int(told.get("size") or 0), int(system.ukey(path)[:15], 16))

    def is_symlink(self) -> bool:
        """Never."""
        return False

    def exists(self) -> bool:
        """Whether there is such an object."""
        with _as_os_error():
            system, path = _system(self.url)
            return bool(system.exists(path))


def below(url: str, *, recursive: bool) -> list[tuple[str, Remote]] | None:
    """The objects below a URL as (path below it, object), unordered; None when the URL is an object itself.

    Raises StorageError when there is nothing of that name, or when it can't be looked at.
    """
    system, path = _system(url)
    try:
        with _as_os_error():
            if system.isfile(path):
                return None
            found = system.find(path, maxdepth=None if recursive else 1)
            if not found and not system.exists(path):
                raise FileNotFoundError
    except FileNotFoundError:
        raise StorageError(f"{url}: no such object, directory or bucket") from None
    except OSError as error:
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        raise StorageError(f"{url}: can't be looked at: {reason}") from None
    root = str(system._strip_protocol(path)).rstrip("/") + "/"
    return [(name.removeprefix(root), Remote(f"{url.rstrip('/')}/{name.removeprefix(root)}")) for name in found]


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Raises UsageError when nothing here reads such URLs."""
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"{url}: URLs need fsspec; type pip install 'segcli[remote]'") from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{url}: {' '.join(str(error).split())}") from None
    return system, path


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Let what stores raise in their own ways be an OSError in one line."""
    try:
        yield
    except (OSError, UsageError):
        raise
    except Exception as error:  # clients of stores have exceptions of their own, without a common base
        raise OSError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


Source = Path | Remote
"""Where the bytes of a photo are."""

"""Small file work that several parts of the registry need: locks, hashes, texts written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from segcli.core.errors import CheckpointError, StorageError


@contextmanager
def locked(path: Path, waiting: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file `path`, the same way the hub's library does; says `waiting` once if another process holds it.

    The system gives the lock back when its process dies, however it dies. Raises StorageError.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            say(f"seg: {waiting}")
            lock.acquire()
    except OSError as error:
        words = error.strerror or error
        raise StorageError(
            f"{path}: can't be locked ({words}); set HF_HOME and SEG_CACHE to folders of your own"
        ) from error
    except NotImplementedError as error:
        raise StorageError(
            f"{path}: this file system has no locks; set HF_HOME and SEG_CACHE to a local disk"
        ) from error
    try:
        yield
    finally:
        lock.release()


def sha256_of(path: Path) -> str:
    """sha256 of a file, hex. Raises CheckpointError when it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` through a temporary name. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)

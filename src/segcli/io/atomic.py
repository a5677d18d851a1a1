"""Files that are either there and whole or not there: temporary name, fsync, rename, fsync of the directory."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from segcli.core.errors import ItemError, SegError, StorageError

# Every call that can fail goes through one of these names, so that a test can make each of them fail in turn.
os_open = os.open
os_write = os.write
os_fsync = os.fsync
os_close = os.close
os_replace = os.replace
os_unlink = os.unlink
os_mkdir = os.mkdir

PREFIX = ".seg-"
SUFFIX = ".tmp"
_HOST = hashlib.sha256(socket.gethostname().encode("utf-8", "surrogateescape")).hexdigest()[:8]
_RUN = secrets.token_hex(4)  # tells this process from an earlier one that had the same number
_COUNTER = itertools.count()
_TEMPORARY = re.compile(re.escape(PREFIX) + r"([0-9a-f]{8})-(\d+)-([0-9a-f]{8})-\d+" + re.escape(SUFFIX))
_FOREIGN_AGE = 24 * 3600.0  # seconds after which another machine's temporary file is taken for a leftover

# About this one name; the directory can still take others.
_ITEM_ERRNOS = frozenset({errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EILSEQ, errno.EINVAL, errno.ENOTEMPTY})


def write(path: Path, data: bytes | Iterable[bytes], *, sync: bool = True) -> None:
    """Put `data` (or its chunks, streamed) at `path`, replacing what was there, with all or nothing.

    When this returns, the bytes and the name are on disk; without `sync`, which is for many small files in a row, they
    are there for every process, and on disk after `sync_files`. Raises StorageError (no space, no permission,
    read-only, disk error) or ItemError (this name can't be used) with one line; then no temporary file is left, and
    what was at `path` before is still there. Errors that `data` raises while it is read pass through.
    """
    chunks = (data,) if isinstance(data, bytes | bytearray | memoryview) else data
    temporary = path.parent / temporary_name()
    try:
        descriptor = os_open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from None
    try:
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os_write(descriptor, view) :]
            if sync:
                os_fsync(descriptor)
        finally:
            os_close(descriptor)
        try:
            os_replace(temporary, path)
        except ValueError as error:  # a NUL in the name
            raise OSError(errno.EINVAL, str(error)) from None
    except BaseException as error:
        with contextlib.suppress(OSError):
            os_unlink(temporary)
        if isinstance(error, OSError):
            raise _refusal(path, error) from None
        raise
    if sync:
        try:
            _sync_directory(path.parent)
        except OSError as error:
            raise _refusal(path, error) from None


def temporary_name() -> str:
    """A name that no other file has, and that says whose it is."""
    return f"{PREFIX}{_HOST}-{os.getpid()}-{_RUN}-{next(_COUNTER)}{SUFFIX}"


def is_abandoned(name: str) -> bool:
    """True for the name of a temporary file of this machine whose process is no more."""
    match = _TEMPORARY.fullmatch(name)
    return match is not None and match[1] == _HOST and not _lives(match)


def sync_files(paths: Sequence[Path]) -> None:
    """Put files that were written without `sync` on disk, with their names. Raises StorageError or ItemError."""
    for path in paths:
        try:
            descriptor = os_open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            try:
                os_fsync(descriptor)
            finally:
                os_close(descriptor)
        except OSError as error:
            raise _refusal(path, error) from None
    for directory in {path.parent for path in paths}:
        try:
            _sync_directory(directory)
        except OSError as error:
            raise _refusal(directory, error) from None


def make_directory(path: Path) -> None:
    """Create a directory and those above it, on disk when this returns. Raises StorageError or ItemError."""
    missing = []
    here = path
    while not here.is_dir():
        missing.append(here)
        if here.parent == here:
            break
        here = here.parent
    for directory in reversed(missing):
        try:
            os_mkdir(directory)
        except FileExistsError:
            if not directory.is_dir():
                raise StorageError(f"{directory}: is a file, a directory of that name is needed") from None
        except (OSError, ValueError) as error:
            raise _refusal(directory, error) from None
        else:
            try:
                _sync_directory(directory.parent)
            except OSError as error:
                raise _refusal(directory, error) from None


def sweep(directory: Path) -> int:
    """Remove temporary files that dead runs left in a directory and below it; returns how many.

    Those of this machine go when their process is no more, those of other machines after a day. Files that can't be
    removed are left: they are in nobody's way.
    """
    removed = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            match = _TEMPORARY.fullmatch(name)
            if match and _is_stray(Path(parent, name), match):
                with contextlib.suppress(OSError):
                    os_unlink(Path(parent, name))
                    removed += 1
    return removed


def describe(error: BaseException) -> str:
    """An operating system's error in a few words, lower case."""
    words = {
        errno.ENOSPC: "no space left on the disk",
        errno.EDQUOT: "the disk quota is used up",
        errno.EACCES: "no permission to write there",
        errno.EPERM: "no permission to write there",
        errno.EROFS: "the file system is read-only",
        errno.EIO: "the disk reported an error",
        errno.ENOENT: "the directory does not exist",
        errno.ENAMETOOLONG: "the name is too long for the file system",
        errno.EISDIR: "a directory of that name is in the way",
    }
    if isinstance(error, OSError) and error.errno is not None:
        return words.get(error.errno, os.strerror(error.errno).lower())
    return str(error)


def _is_stray(path: Path, match: re.Match[str]) -> bool:
    if match[1] == _HOST:
        return not _lives(match)
    try:
        return time.time() - path.stat().st_mtime > _FOREIGN_AGE
    except OSError:
        return False


def _lives(match: re.Match[str]) -> bool:
    """Whether the process of this machine that a temporary file names may still be there."""
    process, run = int(match[2]), match[3]
    if process == os.getpid():
        return run == _RUN
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _sync_directory(directory: Path) -> None:
    descriptor = os_open(directory, os.O_RDONLY)
    try:
        os_fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems whose directories need no syncing
            raise
    finally:
        os_close(descriptor)


def _refusal(path: Path, error: BaseException) -> SegError:
    about_item = isinstance(error, ValueError) or getattr(error, "errno", None) in _ITEM_ERRNOS
    return (ItemError if about_item else StorageError)(f"{path}: can't be written: {describe(error)}")

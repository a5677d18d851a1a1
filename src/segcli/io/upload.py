"""Objects that are either there and whole or not there.

An object store takes an object as a whole, so it is sent under its own name. Elsewhere (sftp, smb, hdfs, …) a file
would be seen while it grows: it is sent under a temporary name in the same directory and then moved. Of what is too
large for the memory a copy lies on this machine until all of it is known, for no store takes a part back.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from segcli.core.errors import ItemError, SegError, StorageError
from segcli.io import atomic
from segcli.io.remote import Remote, as_os_error, call, open_system, reason

STORES = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "ocilake", "r2", "obs", "hf", "memory"}
)
"""Protocols whose puts are all or nothing."""

_WHOLE = 64 << 20
"""Bytes that are sent in one piece; more is left to the client, which sends parts and joins them at the end."""

_NAME_IS_WRONG = (IsADirectoryError, NotADirectoryError, FileExistsError)


def write(target: Remote, data: bytes | Iterable[bytes], place: Remote | None = None) -> None:
    """Put `data` (or its chunks) at a URL, replacing what was there, with all or nothing.

    place: what messages call it, where that is another than the object itself.

    Raises StorageError (no such bucket, no permission, no answer, no credentials) or ItemError (this name can't be
    used) with one line. What was there before is still there then, but for a server that moves nothing onto a file.
    Errors that `data` raises while it is read pass through.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        _send(target, bytes(data), place or target)
        return
    with _gathered(data) as path:
        _send(target, path.read_bytes() if path.stat().st_size <= _WHOLE else path, place or target)


def takes_whole(directory: Remote) -> bool:
    """True for an object store: an object that is sent again is the old or the new one at any moment."""
    return _takes_whole(open_system(directory.url)[0])


def remove(target: Remote) -> None:
    """Remove an object, if it can be."""
    with suppress(OSError), as_os_error():
        system, path = open_system(target.url)
        _remove(system, path)


def sweep(directory: Remote) -> int:
    """Remove temporary files that dead runs of this machine left below a URL; returns how many. Stores have none."""
    system, root = open_system(directory.url)
    if _takes_whole(system):
        return 0
    strays = []
    with suppress(OSError), as_os_error():
        strays = [path for path in call(system, "find", root) if atomic.is_abandoned(path.rpartition("/")[2])]
        for path in strays:
            _remove(system, path)
    return len(strays)


def _send(target: Remote, data: bytes | Path, place: Remote) -> None:
    system, path = open_system(target.url, place.url)
    try:
        with as_os_error():
            if _takes_whole(system):
                _put(system, path, data)
            else:
                _put_and_move(system, path, data)
    except OSError as error:
        raise _refusal(place, error) from None


def _put(system: Any, path: str, data: bytes | Path) -> None:
    if isinstance(data, bytes):
        call(system, "pipe_file", path, data, nbytes=len(data))
    else:
        call(system, "put_file", str(data), path, nbytes=data.stat().st_size)


def _put_and_move(system: Any, path: str, data: bytes | Path) -> None:
    parent = path.rpartition("/")[0]
    temporary = f"{parent}/{atomic.temporary_name()}"
    if parent:
        call(system, "makedirs", parent, exist_ok=True)
    try:
        _put(system, temporary, data)
        try:
            system.mv(temporary, path)
        except FileExistsError:  # systems that move nothing onto a file
            _remove(system, path)
            system.mv(temporary, path)
    except BaseException:
        with suppress(Exception):
            _remove(system, temporary)
        raise


def _takes_whole(system: Any) -> bool:
    protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    return bool(STORES & set(protocols))


def _remove(system: Any, path: str) -> None:
    try:
        call(system, "rm_file", path)
    except NotImplementedError:
        system.rm(path)


@contextmanager
def _gathered(chunks: Iterable[bytes]) -> Iterator[Path]:
    """All chunks in a file of this machine."""
    try:
        folder = tempfile.mkdtemp(prefix="seg-upload-")
    except OSError as error:
        raise _no_room(error) from None
    try:
        path = Path(folder) / "whole"
        with path.open("wb") as file:
            for chunk in chunks:
                try:
                    file.write(chunk)
                except OSError as error:
                    raise _no_room(error) from None
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _no_room(error: OSError) -> StorageError:
    return StorageError(f"{tempfile.gettempdir()}: temporary files can't be written: {atomic.describe(error)}")


def _refusal(place: Remote, error: OSError) -> SegError:
    if isinstance(error, FileNotFoundError):
        words = "no such bucket or directory"
    elif isinstance(error, PermissionError):
        words = "no permission to write there"
    elif isinstance(error.__cause__, NotImplementedError):
        words = "nothing can be written to such URLs"
    else:
        words = reason(error)
    about_item = isinstance(error, _NAME_IS_WRONG) or error.errno == errno.ENAMETOOLONG
    return (ItemError if about_item else StorageError)(f"{place}: can't be written: {words}")

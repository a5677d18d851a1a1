"""One file from a server to a place on disk: goes on where it was cut, and is seen only when it is whole.

Bytes go to `PLACE.incomplete`; after the last one length and hash are checked, the file is synced and renamed.
A process that is killed at any moment leaves a partial file at most, and the next one goes on from it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from segcli.core.errors import CheckpointError, StorageError
from segcli.registry import web
from segcli.registry.web import Answer, Patience

CHUNK = 1 << 20
ENOUGH = 1 << 16
"""Bytes after which a try that was cut is not counted; less would let a server that trickles go on for ever."""
Progress = Callable[[int, int], None]
"""Called with bytes here and bytes in all."""


@dataclass(frozen=True)
class Wanted:
    """What a download must become.

    url:     where the bytes are, `headers` for its origin only.
    size:    bytes, or None when the server did not say.
    sha256:  hash of the bytes, or "".
    git:     hash as git takes it (sha1 over a prefix and the bytes), or "": how the hub names small files.
    what:    how messages call it.
    """

    url: str
    headers: Mapping[str, str]
    size: int | None
    sha256: str
    git: str
    what: str


def nothing(done: int, total: int) -> None:
    """The progress that nobody looks at."""


def download(wanted: Wanted, place: Path, patience: Patience, progress: Progress = nothing) -> str:
    """Bring `wanted` to `place` and return its sha256. The caller holds the lock of `place`.

    Raises CheckpointError (not to be had, wrong bytes: the partial file is gone then) or StorageError (no room, not
    writable: the partial file stays, to go on from).
    """
    partial = place.with_name(place.name + ".incomplete")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _needs_room(wanted, partial)
        for again in (False, True):
            with partial.open("ab") as file:
                inherited = file.tell()
                digest, git = _fill(wanted, partial, file, patience, progress)
                file.flush()
                os.fsync(file.fileno())
            fault = _fault(wanted, partial.stat().st_size, digest, git)
            if not fault:
                break
            partial.unlink()
            # Bytes that another process left may have been the wrong ones: once more, from the start.
            if again or not inherited:
                raise CheckpointError(f"{wanted.what}: {fault}; the broken file was removed, try again")
        partial.replace(place)
        sync_folder(place.parent)
    except OSError as error:
        raise storage_error(error, place.parent, wanted.what) from error
    return digest


def _fill(wanted: Wanted, partial: Path, file: IO[bytes], patience: Patience, progress: Progress) -> tuple[str, str]:
    """Append to `file` until it is whole, with several tries; returns its sha256 and its hash as git takes it."""
    state = _Hashes(wanted.size)
    with partial.open("rb") as before:
        while block := before.read(CHUNK):
            state.add(block)
    attempt = 0
    while wanted.size is None or state.length != wanted.size or state.length == 0:
        if wanted.size is not None and state.length > wanted.size:
            state = _restart(file, wanted)
        start = state.length
        why, pause, whole = "", None, False
        progress(start, wanted.size or 0)
        try:
            answer = web.follow("GET", wanted.url, _range(wanted, start), patience.timeout, leave=True)
            try:
                why, pause = _refusal(answer, wanted, patience)
                if not why:
                    state = _place_of(answer, file, state, wanted)
                    start = min(start, state.length)
                    whole = _copy(answer, file, state, wanted, progress)
            finally:
                answer.body.close()
        except web.BROKEN as error:
            why = web.reason(error)
        if whole:
            break
        attempt = 0 if state.length - start >= ENOUGH else attempt + 1
        if attempt >= patience.tries:
            raise CheckpointError(
                f"{wanted.what}: {why or 'the connection was cut'} ({patience.tries} tries); what came is kept, "
                "type the same again to go on"
            )
        if pause is not None:
            patience.sleep(pause)
        elif attempt:
            patience.wait(attempt)
    return state.results()


def _range(wanted: Wanted, start: int) -> dict[str, str]:
    # Compressed bodies would make lengths and ranges mean something else.
    return {**wanted.headers, "Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}


def _refusal(answer: Answer, wanted: Wanted, patience: Patience) -> tuple[str, float | None]:
    """("", None) when bytes follow; words and perhaps a pause when another try is worth it; else CheckpointError."""
    if answer.status in (200, 206, 416):
        return "", None
    if answer.status == 429:
        pause = answer.count("Retry-After")
        if pause is not None and pause > patience.longest:
            raise CheckpointError(f"{wanted.what}: the server asks to wait {pause} s (429); try again after that")
        return "the server says that there were too many requests (429)", pause
    if answer.status >= 500 or answer.status == 408:
        return f"the server failed ({answer.status})", None
    raise CheckpointError(f"{wanted.what}: the server refused it ({answer.status}); see the address {wanted.url[:200]}")


def _place_of(answer: Answer, file: IO[bytes], state: _Hashes, wanted: Wanted) -> _Hashes:
    """Where the body begins: at the end of what is here, or (a server that ignores ranges) at zero."""
    if answer.status == 206:
        begin, _, total = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("/")
        fits = wanted.size is None or total in ("*", str(wanted.size))
        if begin.startswith(f"{state.length}-") and fits:
            return state
    return _restart(file, wanted)


def _copy(answer: Answer, file: IO[bytes], state: _Hashes, wanted: Wanted, progress: Progress) -> bool:
    """Append the body; True when it came to its own end."""
    if answer.status == 416:
        return False
    length = answer.count("Content-Length")
    end = state.length + length if length is not None else None
    while block := _read(answer):
        file.write(block)
        state.add(block)
        if wanted.size is not None and state.length > wanted.size:
            return True  # too long: the caller's check names it
        progress(state.length, wanted.size or end or 0)
    if wanted.size is not None:
        return state.length == wanted.size
    return end is None or state.length == end


def _read(answer: Answer) -> bytes:
    """The next bytes. Whatever the network dies of becomes a ConnectionError, so that it is not taken for the disk."""
    try:
        block: bytes = answer.body.read1(CHUNK)  # type: ignore[attr-defined]
    except OSError as error:
        raise ConnectionError(web.reason(error)) from error
    return block


class _Hashes:
    """Both hashes and the length of what was written so far."""

    def __init__(self, size: int | None) -> None:
        self.length = 0
        self._size = size
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(b"blob %d\0" % (size or 0), usedforsecurity=False)

    def add(self, block: bytes) -> None:
        self.length += len(block)
        self._sha256.update(block)
        self._git.update(block)

    def results(self) -> tuple[str, str]:
        return self._sha256.hexdigest(), self._git.hexdigest() if self._size is not None else ""


def _restart(file: IO[bytes], wanted: Wanted) -> _Hashes:
    file.flush()
    file.truncate(0)
    return _Hashes(wanted.size)


def _fault(wanted: Wanted, size: int, sha256: str, git: str) -> str:
    if wanted.size is not None and size != wanted.size:
        return f"{size} bytes came instead of {wanted.size}"
    if wanted.sha256 and sha256 != wanted.sha256:
        return f"wrong bytes came (sha256 {sha256[:12]}… instead of {wanted.sha256[:12]}…)"
    if wanted.git and git and git != wanted.git:
        return f"wrong bytes came (hash {git[:12]}… instead of {wanted.git[:12]}…)"
    return ""


def _needs_room(wanted: Wanted, partial: Path) -> None:
    """Refuse before the first byte what can't fit."""
    here = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(partial.parent).free
    if wanted.size is not None and wanted.size - here > free:
        raise OSError(errno.ENOSPC, f"{wanted.size - here} bytes are needed and {free} are free")


def storage_error(error: OSError, folder: Path, what: str) -> StorageError:
    """The one line for a folder that can't take a file."""
    words = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        room = f": {words}" if "bytes" in words else ""
        return StorageError(f"{what}: no space left in {folder}{room}; free some, or set HF_HOME to a larger disk")
    return StorageError(f"{what}: {folder} can't be written ({words}); set HF_HOME to a folder of your own")


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Hashes of files that are read through once, and again only when the file changed.

A hash of gigabytes takes seconds; it is noted with the file's size and time of change, so that opening a checkpoint for
the second time reads nothing twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from segcli.core.errors import CheckpointError, StorageError
from segcli.registry import notes, writer
from segcli.registry.files import sha256_of
from segcli.registry.weights import Entry, File

WORTH_NOTING = 1 << 26
"""Smaller files are hashed faster than a note is written."""


def sha256(path: Path) -> str:
    """sha256 of `path`, hex. Raises CheckpointError."""
    return _known(path, "sha256")


def content(path: Path) -> str:
    """What names the bytes of `path`: its seal (checked), or else its sha256. Raises CheckpointError."""
    return _known(path, "content")


def check_pin(entry: Entry, file: File, path: Path, *, read: Callable[[Path], str] = sha256) -> None:
    """Raise CheckpointError when `path` has not the size or the sha256 that weights.toml or the first pull gives.

    `read` hashes the file; the default trusts notes about files that did not change since.
    """
    again = "correct one of the two" if entry.folder else f"type `seg models rm {entry.name}`, then pull it again"
    size = path.stat().st_size
    if file.size and size != file.size:
        raise CheckpointError(f"{entry.name}: {path} has {size} bytes and should have {file.size}; {again}")
    pin = notes.pinned(entry, file).sha256
    if pin and (found := read(path)) != pin:
        raise CheckpointError(f"{entry.name}: {path} is not the pinned file (sha256 {found[:12]}…); {again}")


def remember(path: Path, digest: str) -> None:
    """Note the sha256 of a file that was hashed while it came."""
    facts = path.stat()
    if facts.st_size >= WORTH_NOTING:
        _note(path, {"size": facts.st_size, "changed": facts.st_mtime_ns, "sha256": digest})


def _known(path: Path, kind: str) -> str:
    try:
        facts = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error
    return _hash(path.resolve(), kind, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash(path: Path, kind: str, size: int, changed: int) -> str:
    if size < WORTH_NOTING:
        return _compute(path, kind)
    noted = notes.recall().get(f"hashed {path}", {})
    if (noted.get("size"), noted.get("changed")) != (size, changed):
        noted = {"size": size, "changed": changed}
    if not isinstance(noted.get(kind), str):
        noted = {**noted, kind: _compute(path, kind)}
        _note(path, noted)
    return str(noted[kind])


def _compute(path: Path, kind: str) -> str:
    seal = writer.check_seal(path) if kind == "content" and path.suffix == ".safetensors" else ""
    return seal or sha256_of(path)


def _note(path: Path, noted: dict[str, object]) -> None:
    # Without a place for notes the file is only read again next time.
    with contextlib.suppress(StorageError):
        notes.note(f"hashed {path.resolve()}", noted)

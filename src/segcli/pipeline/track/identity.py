"""Which video an output was made from: its content, and the sizes and times by which it is known without reading it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from segcli.core.errors import ItemError
from segcli.io.images import SUFFIXES
from segcli.io.inputs import natural_key
from segcli.pipeline.identity import Identity


def of_video(path: Path | None, name: str) -> Identity:
    """The identity of a file, of a directory's pictures, or (None) of stdin, which has none. Raises ItemError."""
    if path is None:
        return Identity("", 0)
    try:
        if path.is_dir():
            files = _pictures(path)
            size, mtime, ctime = _status(files)
            digest = hashlib.sha256()
            for file in files:
                digest.update(os.fsencode(file.name) + b"\0" + _content(file))
            return Identity(digest.hexdigest(), size, mtime, ctime)
        size, mtime, ctime = _status([path])
        return Identity(_content(path).hex(), size, mtime, ctime)
    except FileNotFoundError as error:
        raise ItemError(f"{error.filename or name}: no such file") from None
    except OSError as error:
        raise ItemError(f"{name}: can't be read: {(error.strerror or str(error)).lower()}") from None


def same_video(made_from: Identity, path: Path | None, name: str) -> bool:
    """True when the video is still the one; its content is read only when sizes or times differ. Raises ItemError."""
    if path is None:
        return False
    try:
        status = _status(_pictures(path) if path.is_dir() else [path])
    except OSError:
        status = (-1, 0, 0)
    if status == (made_from.size, made_from.mtime_ns, made_from.ctime_ns):
        return True
    return of_video(path, name).sha256 == made_from.sha256


def _pictures(directory: Path) -> list[Path]:
    files = [path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    return sorted(files, key=lambda path: natural_key(path.name))


def _status(files: list[Path]) -> tuple[int, int, int]:
    """Bytes together, and the latest times."""
    found = [path.stat() for path in files]
    return (
        sum(status.st_size for status in found),
        max((status.st_mtime_ns for status in found), default=0),
        max((status.st_ctime_ns for status in found), default=0),
    )


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()

"""A training's state on disk: one torch file cut into parts of at most 16 MiB, and a small file that names them.

`state.pt` holds the names, sizes and hashes of the parts that lie beside it (`state-7.000.part` …, together the bytes
of one `torch.save`). Parts of a new state are written under names of their own, then `state.pt` is renamed into place,
then the old parts go: whenever the process is killed, `state.pt` names parts that are whole. Small files travel where
large ones may not: by mail, through artefact stores with a limit, back from a borrowed machine.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import torch

from segcli.core.errors import SegError, StorageError
from segcli.io import atomic

PART_BYTES = 16 << 20
_PARTS = "seg.parts"
_BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError)


def save_state(path: Path, state: Mapping[str, Any], part_bytes: int = PART_BYTES) -> None:
    """Replace the state at `path` (called `state.pt` everywhere) by `state`, all or nothing.

    Raises StorageError when there is no space or no permission; the state from before is then still there.
    """
    atomic.sweep(path.parent)
    generation = 1 + max((_generation(path, old) for old in _all_parts(path)), default=0)
    writer = _PartWriter(path, generation, part_bytes)
    index = io.BytesIO()
    try:
        try:
            torch.save(dict(state), cast(Any, writer))
        except RuntimeError:
            if writer.failed is not None:  # torch answers a failed write with words of its own
                raise writer.failed from None
            raise
        writer.close()
        torch.save({_PARTS: writer.parts}, index)
        atomic.write(path, index.getvalue())
    except BaseException:
        if not path.exists() or _bytes(path) != index.getvalue():  # it may be in place, only not yet on disk
            _keep(path, lambda part: _generation(path, part) != generation)
        raise
    _keep(path, lambda part: _generation(path, part) == generation)


def load_state(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state at `path`, in parts or (as written before there were parts) in one file.

    Raises StorageError, one line, for a file that is missing, cut short or no state. Plain data only is read, nothing
    that is executed. A state that is replaced while it is read is read anew.
    """
    while True:
        index = _bytes(path)
        named = _read(path, io.BytesIO(index) if len(index) < PART_BYTES else path, device)
        if _PARTS not in named:
            return named
        try:
            _check(path, named[_PARTS])
            return _read(path, _PartReader(path, named[_PARTS]), device)
        except (StorageError, OSError):
            if _bytes(path) == index:
                raise


def _read(path: Path, source: Any, device: torch.device | str) -> dict[str, Any]:
    try:
        read = torch.load(source, map_location=device, weights_only=True)
    except _BROKEN as error:
        words = str(error).split("\n", 1)[0][:80]
        raise StorageError(f"{path}: is not the state of a training ({words}); take it away to begin anew") from None
    if not isinstance(read, dict):
        raise StorageError(f"{path}: is not the state of a training; take it away to begin anew")
    return read


def _bytes(path: Path) -> bytes:
    """The bytes of `path` as far as an index can be long."""
    try:
        with path.open("rb") as file:
            return file.read(PART_BYTES)
    except OSError as error:
        raise StorageError(f"{path}: can't be read ({error.strerror}); give the state.pt of a run") from None


def _all_parts(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.stem}-*.part"))


def _keep(path: Path, kept: Callable[[Path], bool]) -> None:
    for part in _all_parts(path):
        if not kept(part):
            part.unlink(missing_ok=True)


def _generation(path: Path, part: Path) -> int:
    number = part.name.removeprefix(f"{path.stem}-").partition(".")[0]
    return int(number) if number.isdecimal() else 0


class _PartWriter:
    """A file to write to, whose bytes end in parts; at most one part is in memory."""

    def __init__(self, path: Path, generation: int, part_bytes: int) -> None:
        self.path, self.generation, self.part_bytes = path, generation, part_bytes
        self.parts: list[tuple[str, int, str]] = []  # name, length, sha256
        self.failed: SegError | None = None
        self.held = bytearray()

    def write(self, data: bytes) -> int:
        self.held += data
        while len(self.held) >= self.part_bytes:
            self._put(self.part_bytes)
        return len(data)

    def flush(self) -> None:
        """Nothing: parts are written when they are full, the last one by `close`."""

    def close(self) -> None:
        if self.held:
            self._put(len(self.held))

    def _put(self, length: int) -> None:
        part = bytes(self.held[:length])
        del self.held[:length]
        name = f"{self.path.stem}-{self.generation}.{len(self.parts):03d}.part"
        try:
            atomic.write(self.path.with_name(name), part)
        except SegError as error:
            self.failed = error
            raise
        self.parts.append((name, length, hashlib.sha256(part).hexdigest()))


class _PartReader(io.RawIOBase):
    """Checked parts as one file that can be sought in; one part is in memory."""

    def __init__(self, path: Path, parts: list[tuple[str, int, str]]) -> None:
        self.paths = [path.with_name(name) for name, _, _ in parts]
        self.starts = [0, *accumulate(length for _, length, _ in parts)]
        self.at = 0
        self.held: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.starts[-1]}[whence]
        return self.at

    def readinto(self, buffer: Any) -> int:
        """As much as there is: torch takes a short answer for the end."""
        filled = 0
        while filled < len(buffer) and self.at < self.starts[-1]:
            number = bisect_right(self.starts, self.at) - 1
            inside = self.at - self.starts[number]
            piece = self._part(number)[inside : inside + len(buffer) - filled]
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
            self.at += len(piece)
        return filled

    def _part(self, number: int) -> memoryview:
        if self.held[0] != number:
            self.held = (number, self.paths[number].read_bytes())
        return memoryview(self.held[1])


def _check(path: Path, parts: list[tuple[str, int, str]]) -> None:
    """Raises StorageError that names a part that is missing or not what was written."""
    for name, length, digest in parts:
        part = path.with_name(name)
        try:
            data = part.read_bytes()
        except OSError as error:
            raise StorageError(f"{part}: can't be read ({error.strerror}); {path} needs it") from None
        if len(data) != length or hashlib.sha256(data).hexdigest() != digest:
            raise StorageError(f"{part}: its bytes changed since it was written; copy it again, with {path}")

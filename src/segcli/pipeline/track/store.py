"""What a run leaves on disk while it lasts: a log of finished frames and, now and then, the tracker's memory.

`.seg-vos/KEY/` of the output directory holds, for one video,

    frames.log, back.log     a JSON line a finished frame: its number, name, time and masks (run-length encoded)
    frames.npz, back.npz     everything needed to go on: the tracker's memory and how far the log is true
    FORMAT-00000.mkv …       finished parts of videos

The memory is replaced in one step, after everything that it vouches for is on disk. What a log holds beyond that is
cut off by the run that goes on, which makes those frames again, in the same way.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import StorageError
from segcli.core.rle import Rle, decode
from segcli.io import atomic

FOLDER = ".seg-vos"


@dataclass(frozen=True)
class LogLine:
    """A finished frame. `masks`: object -> mask, for every object known at that frame."""

    index: int
    name: str
    pts: int
    duration: int
    size: tuple[int, int]
    masks: Mapping[int, Rle]

    def dumps(self) -> bytes:
        """As a line."""
        masks = [[number, rle.counts.decode("ascii")] for number, rle in self.masks.items()]
        return json.dumps([self.index, self.name, self.pts, self.duration, *self.size, masks]).encode("ascii") + b"\n"

    @classmethod
    def loads(cls, text: bytes) -> LogLine:
        """From a line."""
        index, name, pts, duration, height, width, masks = json.loads(text)
        size = (height, width)
        return cls(
            index, name, pts, duration, size, {number: Rle(size, counts.encode("ascii")) for number, counts in masks}
        )

    @property
    def ids(self) -> NDArray[np.uint8]:
        """Ids [H, W]; the masks of one frame don't overlap."""
        ids = np.zeros(self.size, np.uint8)
        for number, rle in self.masks.items():
            ids[decode(rle)] = number
        return ids


class Log:
    """Appends lines to a file that is cut to `length` bytes first. Raises StorageError."""

    def __init__(self, path: Path, length: int = 0) -> None:
        self.path = path
        try:
            self._descriptor = atomic.os_open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.ftruncate(self._descriptor, length)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            raise _unusable(path, error) from None

    def append(self, line: LogLine) -> None:
        """Write a line."""
        raw = line.dumps()
        try:
            while raw:
                raw = raw[atomic.os_write(self._descriptor, raw) :]
        except OSError as error:
            raise _unusable(self.path, error) from None

    def sync(self) -> None:
        """Put it on disk."""
        try:
            atomic.os_fsync(self._descriptor)
        except OSError as error:
            raise _unusable(self.path, error) from None

    def close(self) -> None:
        """May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_log(path: Path, length: int | None = None) -> Iterator[LogLine]:
    """The lines, one at a time; those of the first `length` bytes."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            offset += len(line)
            if length is not None and offset > length:
                return
            yield LogLine.loads(line)


def true_length(path: Path, keep: Callable[[int], bool]) -> int:
    """Bytes of the log up to the first line whose frame number is not to be kept, or that is torn."""
    length = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n") or not keep(LogLine.loads(line).index):
                    break
                length += len(line)
    except (OSError, ValueError, TypeError):
        return length
    return length


class Reversed:
    """A log of frames in falling order, to be looked up by frame number. Holds one number a frame."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._places: dict[int, int] = {}
        if path is not None:
            offset = 0
            with path.open("rb") as file:
                for line in file:
                    self._places[LogLine.loads(line).index] = offset
                    offset += len(line)

    def masks(self, index: int) -> dict[int, NDArray[np.bool_]]:
        """Object -> mask at that frame; empty where nothing was carried to."""
        if self._path is None or index not in self._places:
            return {}
        with self._path.open("rb") as file:
            file.seek(self._places[index])
            return {number: decode(rle) for number, rle in LogLine.loads(file.readline()).masks.items()}


@dataclass(frozen=True)
class Saved:
    """How far a pass has come.

    script:   hash of everything that decides the masks.
    upcoming: number of the next frame to be done; the log holds all those before it.
    ended:    the pass is over.
    memory:   the follower's state.
    """

    script: str
    upcoming: int
    ended: bool = False
    memory: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Put it on disk in one step. Raises StorageError."""
        words = json.dumps([self.script, self.upcoming, self.ended]).encode()
        buffer = BytesIO()
        np.savez(buffer, words=np.frombuffer(words, np.uint8), **dict(self.memory))  # type: ignore[arg-type]
        atomic.write(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path, script: str) -> Saved | None:
        """What is on disk; None when there is nothing, or only what other prompts or another video left."""
        try:
            with np.load(path, allow_pickle=False) as file:
                memory = {name: file[name] for name in file.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        script_then, upcoming, ended = json.loads(memory.pop("words").tobytes())
        saved = cls(script_then, upcoming, ended, memory)
        return saved if saved.script == script else None


def _unusable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: can't be written: {atomic.describe(error)}: mend that, or give another -o")

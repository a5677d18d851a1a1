"""Where finished frames go: the log, a picture a frame, parts of videos, lines on stdout. Each has its own thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask
from segcli.core.colors import davis_palette
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle
from segcli.io import atomic, stream
from segcli.io.png import write_png
from segcli.io.video.encode import CODINGS, Coding, Segment
from segcli.io.video.frames import Frame
from segcli.io.video.painting import masks_of, paint_cutout, paint_mask, paint_overlay
from segcli.pipeline.track.store import Log, LogLine

SEGMENT = 120
"""Frames of a part of a video; a part that was not finished is encoded again by the run that goes on."""

Paint = Callable[["Done"], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Done:
    """A frame with its masks. place: how many frames are before it in this output; objects: all known by now."""

    place: int
    frame: Frame
    ids: NDArray[np.uint8]
    objects: tuple[int, ...]

    @cached_property
    def masks(self) -> tuple[Rle, ...]:
        """A mask for each of `objects`."""
        return masks_of(self.ids, self.objects)


class LogSink:
    """Keeps the log; see `store`."""

    def __init__(self, log: Log, upcoming: int) -> None:
        self._log, self.upcoming = log, upcoming

    def write(self, item: Done) -> None:
        """Append a line, unless the log has it."""
        if item.place >= self.upcoming:
            frame = item.frame
            masks = dict(zip(item.objects, item.masks, strict=True))
            self._log.append(
                LogLine(frame.index, frame.name, frame.pts, frame.duration, frame.image.size, masks),
            )

    def sync(self) -> None:
        """Put it on disk."""
        self._log.sync()

    def finish(self) -> None:
        """Put it on disk."""
        self._log.sync()

    def abandon(self) -> None:
        """Nothing to be done."""


class PictureSink:
    """A PNG a frame: ids in DAVIS' palette, or the objects cut out."""

    def __init__(self, folder: Path, encode: Callable[[Done], bytes], upcoming: int) -> None:
        self.folder, self._encode, self.upcoming = folder, encode, upcoming
        self._unsynced: list[Path] = []

    def write(self, item: Done) -> None:
        """Write the frame's file under its name."""
        if item.place >= self.upcoming:
            path = self.folder / f"{item.frame.name}.png"
            atomic.write(path, self._encode(item), sync=False)
            self._unsynced.append(path)

    def sync(self) -> None:
        """Put the files on disk."""
        atomic.sync_files(self._unsynced)
        self._unsynced.clear()

    def finish(self) -> None:
        """Put the files on disk."""
        self.sync()

    def abandon(self) -> None:
        """Nothing to be done."""


class VideoSink:
    """Parts of a video, `SEGMENT` frames each; `parts` names all that are finished."""

    def __init__(
        self, folder: Path, kind: str, coding: Coding, paint: Paint, upcoming: int, aspect: Fraction | None
    ) -> None:
        self._folder, self._kind, self._coding, self._paint, self._aspect = folder, kind, coding, paint, aspect
        self.upcoming = self._next = upcoming
        self._open: Segment | None = None

    def write(self, item: Done) -> None:
        """Encode the frame; the part is finished with its last one."""
        if item.place < self._next:
            return
        if self._open is None:
            path = part_path(self._folder, self._kind, self._coding, item.place // SEGMENT)
            self._open = Segment(path, self._coding, item.frame.image.size, self._aspect)
        self._open.write(self._paint(item))
        self._next = item.place + 1
        if self._next % SEGMENT == 0:
            self._open.close()
            self._open = None

    def sync(self) -> None:
        """Finished parts are on disk; the open one is not counted."""

    def finish(self) -> None:
        """Finish the last part."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def abandon(self) -> None:
        """Give the open part up."""
        if self._open is not None:
            self._open.discard()
            self._open = None


class LinesSink:
    """JSON lines on stdout as they come."""

    upcoming = 0

    def __init__(self, out: BinaryIO, line: Callable[[LogLine], bytes]) -> None:
        self._out, self._line = out, line

    def write(self, item: Done) -> None:
        """Write the frame's line."""
        frame = item.frame
        masks = dict(zip(item.objects, item.masks, strict=True))
        self._out.write(
            self._line(LogLine(frame.index, frame.name, frame.pts, frame.duration, frame.image.size, masks))
        )
        self._out.flush()

    def sync(self) -> None:
        """Lines are written as they come."""

    def finish(self) -> None:
        """Lines are written as they come."""

    def abandon(self) -> None:
        """Lines are written as they come."""


def part_path(folder: Path, kind: str, coding: Coding, number: int) -> Path:
    """The file of a part of a video."""
    return folder / f"{kind}-{coding.encoder}-{number:05d}.mkv"


def palette_png(item: Done) -> bytes:
    """Ids as DAVIS keeps them."""
    return write_png(item.ids, palette=davis_palette())


def cutout_png(item: Done) -> bytes:
    """The objects on transparency."""
    return write_png(paint_cutout(item.frame.image, item.ids))


def painter(kind: str, *, several: bool) -> Paint:
    """What a video of that kind shows of a frame."""
    if kind == "mask-video":
        return lambda item: paint_mask(item.ids, several=several)
    if kind == "overlay-video":
        return lambda item: paint_overlay(item.frame.image, item.masks, item.objects)
    return lambda item: paint_cutout(item.frame.image, item.ids)


def coding_of(kind: str, cutout: str) -> Coding:
    """How a video of that kind is encoded."""
    return CODINGS[{"mask-video": "mask", "overlay-video": "overlay"}.get(kind, cutout)]


def record_line(line: LogLine, key: str, model: str, base: Fraction) -> bytes:
    """A frame as a line of the stream that verbs speak (seg-stream(5)), with its number and time in seconds."""
    present = {number: rle for number, rle in line.masks.items() if rle.area}
    prediction = Prediction(line.size, tuple(present.values()), ids=tuple(present))
    record = stream.record(f"{key}/{line.name}", Ask(), prediction, model)
    return stream.dumps({**record, "frame": line.index, "time": float(line.pts * base)})

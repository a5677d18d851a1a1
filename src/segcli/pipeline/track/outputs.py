"""The files of one video: how they are called, what makes them, and how they get their final names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segcli.io import atomic
from segcli.io.video.encode import Coding, Times, join
from segcli.io.video.frames import Info
from segcli.pipeline.journal import Wrote
from segcli.pipeline.track.plan import VideoItem, VideoOutput
from segcli.pipeline.track.sinks import (
    SEGMENT,
    PictureSink,
    VideoSink,
    coding_of,
    cutout_png,
    painter,
    palette_png,
    part_path,
    record_line,
)
from segcli.pipeline.track.store import read_log

_PICTURES = {"palette": palette_png, "cutout": cutout_png}
_BLOCK = 1 << 17


@dataclass(frozen=True)
class Outputs:
    """The outputs of one video, and `work`, the folder where it is worked on."""

    directory: Path
    work: Path
    item: VideoItem
    output: VideoOutput
    model: str

    @property
    def paths(self) -> dict[str, str]:
        """Format -> its file below the directory; a folder of pictures ends with a slash."""
        several = len(self.output.formats) > 1
        found = {}
        for kind in self.output.formats:
            base = f"{kind}/{self.item.key}" if several else self.item.key
            if kind in _PICTURES:
                found[kind] = f"{base}/"
            elif kind == "jsonl":
                found[kind] = f"{base}.jsonl"
            else:
                found[kind] = f"{base}{coding_of(kind, self.output.cutout).suffix}"
        return found

    def sinks(self, info: Info, done: int, *, several: bool) -> list[PictureSink | VideoSink]:
        """What takes finished frames, of which `done` are in the log already."""
        made: list[PictureSink | VideoSink] = []
        for kind, path in self.paths.items():
            if kind in _PICTURES:
                folder = self.directory / path
                atomic.make_directory(folder)
                made.append(PictureSink(folder, _PICTURES[kind], self._pictures_there(folder, done)))
            elif kind != "jsonl":
                coding, paint = coding_of(kind, self.output.cutout), painter(kind, several=several)
                parts = 0
                while parts < done // SEGMENT and part_path(self.work, kind, coding, parts).exists():
                    parts += 1
                made.append(VideoSink(self.work, kind, coding, paint, parts * SEGMENT, info.aspect))
        return made

    def publish(self, info: Info, start: int) -> tuple[list[Wrote], bool]:
        """Give everything its final name; returns what was written, and whether no wanted sound is missing."""
        log = self.work / "frames.log"
        wrote: list[Wrote] = []
        heard = True
        for kind, path in self.paths.items():
            target = self.directory / path
            if kind in _PICTURES:
                _keep(target, log)
                wrote.append((path, *listing(target)))
                continue
            atomic.make_directory(target.parent)
            if kind == "jsonl":
                lines = (record_line(line, self.item.key, self.model, info.time_base) for line in read_log(log))
                wrote.append((path, *_written(target, lines)))
            else:
                joined = self.work / f"{kind}.joined"
                coding = coding_of(kind, self.output.cutout)
                heard &= join(
                    self._parts(kind, coding), self._times(log, info, start), coding, joined,
                    self.item.path if self.output.audio and self.item.path and self.item.path.is_file() else None,
                )  # fmt: skip
                wrote.append((path, *_written(target, _blocks(joined))))
                joined.unlink()
        return wrote, heard

    def _pictures_there(self, folder: Path, done: int) -> int:
        """How many of the frames in the log have their picture; after a power failure one may be empty."""
        there = 0
        for line in read_log(self.work / "frames.log") if done else ():
            try:
                whole = (folder / f"{line.name}.png").stat().st_size > 0
            except OSError:
                whole = False
            if there == done or not whole:
                break
            there += 1
        return there

    def _parts(self, kind: str, coding: Coding) -> list[Path]:
        """The parts of all frames in the log; an earlier run that went on for longer may have left more."""
        frames = sum(1 for _ in read_log(self.work / "frames.log"))
        return [part_path(self.work, kind, coding, number) for number in range(-(-frames // SEGMENT))]

    def _times(self, log: Path, info: Info, start: int) -> Times:
        """The source's times; a video that begins in the middle begins at 0."""
        first = next(iter(read_log(log))).pts if start else 0
        return Times(info.time_base, ((line.pts - first, line.duration) for line in read_log(log)), first)


def listing(folder: Path) -> tuple[int, str]:
    """Bytes of a folder's pictures together, and a hash of their names and sizes, whatever order they are listed in."""
    total, size = 0, 0
    for name, bytes_ in _pictures(folder):
        own = hashlib.sha256(f"{name} {bytes_}".encode("utf-8", "surrogateescape")).digest()
        total = (total + int.from_bytes(own, "big")) % (1 << 256)
        size += bytes_
    return size, f"{total:064x}"


def _pictures(folder: Path) -> Iterator[tuple[str, int]]:
    """Names and bytes, one at a time: a long video has many."""
    with os.scandir(folder) as entries:
        yield from ((entry.name, entry.stat().st_size) for entry in entries if entry.name.endswith(".png"))


def _keep(folder: Path, log: Path) -> None:
    """Take away pictures that the log does not know: of an earlier run that went on for longer."""
    if sum(1 for _ in _pictures(folder)) > sum(1 for _ in read_log(log)):
        names = {f"{line.name}.png" for line in read_log(log)}
        for old in [name for name, _ in _pictures(folder) if name not in names]:
            (folder / old).unlink(missing_ok=True)


def _written(target: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write a file in one step; its bytes and their sha256."""
    digest, size = hashlib.sha256(), 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            yield chunk

    atomic.write(target, counted())
    return size, digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block

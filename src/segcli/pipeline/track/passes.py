"""The two passes over a video: backwards first where objects are to be carried back, then forwards.

Only the main thread talks to the tracker. Frames are decoded in a thread before it, masks are drawn, encoded and
written in threads behind it; the memory of what waits is bounded (`threads.depth_for`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, SegError
from segcli.core.rle import encode
from segcli.io.video.frames import Frame, Info, Source
from segcli.models.api import Tracker
from segcli.pipeline.signals import Stop
from segcli.pipeline.track.between import Between
from segcli.pipeline.track.first import FirstMasks
from segcli.pipeline.track.follower import Follower, to_ids
from segcli.pipeline.track.plan import Following
from segcli.pipeline.track.prompts import Script
from segcli.pipeline.track.sinks import Done
from segcli.pipeline.track.store import Log, LogLine, Reversed, Saved, read_log, true_length
from segcli.pipeline.track.threads import Ahead, Behind, Sink, depth_for

SAVE_SECONDS = 30.0
"""A slow model's memory is saved after so long, however few frames that were."""


class FrameSink(Sink[Done], Protocol):
    """Takes finished frames; `upcoming` is how many of them it has already."""

    upcoming: int


@dataclass(frozen=True)
class Job:
    """One video, ready to be followed. folder: where its work is kept, None for a run that can't go on later."""

    source: Source
    info: Info
    script: Script
    digest: str
    following: Following
    tracker: Callable[[], Tracker]
    first: FirstMasks
    folder: Path | None
    stop: Stop
    progress: Callable[[int], None]

    def scheduled(self, index: int) -> bool:
        """True for frames that the tracker sees: each so-manyth one, and those that something is said about."""
        return (index - self.following.start) % self.following.stride == 0 or index in self.script.said


class _Clock:
    """When memory is due to be saved."""

    def __init__(self, every: int) -> None:
        self._every, self._frames, self._since = every, 0, time.monotonic()

    def due(self) -> bool:
        """Count a frame."""
        self._frames += 1
        return self._frames >= self._every or time.monotonic() - self._since >= SAVE_SECONDS

    def reset(self) -> None:
        """It was saved."""
        self._frames, self._since = 0, time.monotonic()


def backward(job: Job) -> Reversed:
    """Carry objects back to the frames before their first mask; what is found lies in `back.log`.

    Stops early when the run is to stop; then what is returned is not used. Raises what readers and models raise.
    """
    start, last = job.following.start, max(job.script.appears.values())
    if not job.following.both_ways or last == start or job.folder is None:
        return Reversed(None)
    state, path = job.folder / "back.npz", job.folder / "back.log"
    saved = Saved.read(state, job.digest)
    upcoming = last if saved is None else saved.upcoming
    appears = job.script.appears
    follower = Follower(
        job.tracker(),
        job.first,
        job.script.backward,
        job.following.max_side,
        lambda number, index: appears[number] == index,
    )
    if saved is not None:
        follower.restore(saved.memory)
    log = Log(path, true_length(path, lambda index: index > upcoming))
    clock = _Clock(job.following.save_every)

    def save(index: int, *, ended: bool = False) -> None:
        log.sync()
        Saved(job.digest, index, ended, follower.state()).write(state)
        clock.reset()

    frames = Ahead(job.source.backwards(start, upcoming + 1), depth_for(job.info.size))
    try:
        if saved is not None and saved.ended:
            return Reversed(path)
        for frame in frames:
            if job.scheduled(frame.index):
                masks = follower.step(frame)
                carried = {n: encode(mask) for n, mask in masks.items() if appears[n] > frame.index}
                log.append(LogLine(frame.index, frame.name, frame.pts, frame.duration, frame.image.size, carried))
                if clock.due() or job.stop.now:
                    save(frame.index - 1)
            if job.stop.now:
                return Reversed(None)
        save(start - 1, ended=True)
    finally:
        frames.close()
        log.close()
    return Reversed(path)


class Forward:
    """The pass that makes the output: every frame from the first to the last, in order."""

    def __init__(self, job: Job, back: Reversed) -> None:
        self.job, self.back = job, back
        self._follower = Follower(job.tracker(), job.first, job.script.said, job.following.max_side)
        self._start = self._upcoming = job.following.start
        self._state = None if job.folder is None else job.folder / "frames.npz"
        self._pending: list[Frame] = []
        self._last: tuple[int, NDArray[np.uint8]] | None = None
        self._objects: set[int] = set()
        if self._state is not None and job.folder is not None:
            saved = Saved.read(self._state, job.digest)
            self.log = job.folder / "frames.log"
            if saved is not None and self._usable(saved):
                self._upcoming = saved.upcoming
                self._follower.restore(saved.memory)

    @property
    def upcoming(self) -> int:
        """How many frames are done already."""
        return self._upcoming - self._start

    def _usable(self, saved: Saved) -> bool:
        """True when the log holds all that the memory vouches for, and none of it lies beyond this run's end.

        With a stride, a pass that has ended saw its last frame only because it was the last one.
        """
        stop = self.job.following.stop
        if stop is not None and saved.upcoming > stop:
            return False
        if saved.ended and saved.upcoming != stop and self.job.following.stride > 1:
            return False
        lines = 0
        for line in read_log(self.log) if self.log.exists() else ():
            if line.index >= saved.upcoming:
                break
            lines += 1
            self._last = (line.index, line.ids) if line.index == saved.upcoming - 1 else None
            self._objects |= line.masks.keys()
        if lines != saved.upcoming - self._start:
            self._last, self._objects = None, set()
            return False
        return True

    def run(self, sinks: Sequence[FrameSink]) -> bool:
        """Do what is left. False when it was stopped. Raises what readers, models and sinks raise.

        What was done before an error is on disk when it is raised.
        """
        job = self.job
        begin = self._start + min([self.upcoming, *(sink.upcoming for sink in sinks)])
        frames = Ahead(_within(job.source, begin, job.following.stop), depth_for(job.info.size))
        behind: Behind[Done] = Behind(sinks, depth_for(job.info.size))
        try:
            failure = self._frames(frames, behind, self._known(begin))
            if job.stop.now and failure is None:
                self._save(behind)
                behind.close()
                return False
            if failure is not None:
                self._save(behind)
            if self._pending:
                self._track(self._pending.pop(), behind)
            if self._upcoming <= self._start and failure is None:
                raise ItemError(f"{job.source.name}: has no frame {self._start}; give a smaller --from")
            if failure is None:
                self._save(behind, ended=True)
            behind.close()
            if failure is not None:
                raise failure
        except SegError:
            behind.close()  # frames that are finished are kept
            raise
        except BaseException:
            behind.abort()
            raise
        finally:
            frames.close()
        return True

    def _frames(self, frames: Ahead[Frame], behind: Behind[Done], known: Iterator[LogLine]) -> SegError | None:
        """All frames that come; returns the error by which reading them ended early."""
        clock = _Clock(self.job.following.save_every)
        done_before = self._upcoming
        coming = iter(frames)
        while not self.job.stop.now:
            try:
                frame = next(coming, None)
            except SegError as error:
                return error
            if frame is None:
                return None
            if frame.index < done_before:  # only for sinks that lack it
                line = next(known)
                behind.put(Done(frame.index - self._start, frame, line.ids, tuple(line.masks)))
            elif self.job.scheduled(frame.index):
                self._track(frame, behind)
                if clock.due():
                    self._save(behind)
                    clock.reset()
            else:
                self._pending.append(frame)
        return None

    def _track(self, frame: Frame, behind: Behind[Done]) -> None:
        """The tracker's masks of a frame, and those between it and the one before that it saw."""
        masks = self._follower.step(frame)
        back = self.back.masks(frame.index)
        self._objects |= masks.keys() | back.keys()
        ids = to_ids(frame.image.size, masks, back)
        if self._pending and self._last is not None:
            index, before = self._last
            way = Between(before, ids)
            for waiting in self._pending:
                self._emit(waiting, way.at((waiting.index - index) / (frame.index - index)), behind)
        self._pending.clear()
        self._emit(frame, ids, behind)
        self._last = (frame.index, ids)

    def _emit(self, frame: Frame, ids: NDArray[np.uint8], behind: Behind[Done]) -> None:
        behind.put(Done(frame.index - self._start, frame, ids, tuple(sorted(self._objects))))
        self._upcoming = frame.index + 1
        self.job.progress(self._upcoming - self._start)

    def _save(self, behind: Behind[Done], *, ended: bool = False) -> None:
        """Have everything so far put on disk, with the tracker's memory of now."""
        state = self._state
        if state is None:
            return
        saved = Saved(self.job.digest, self._upcoming, ended, self._follower.state())
        behind.mark(lambda: saved.write(state))

    def _known(self, begin: int) -> Iterator[LogLine]:
        """Log lines of frames that were done before, for sinks that lack them."""
        if begin >= self._upcoming:
            return iter(())
        return (line for line in read_log(self.log) if line.index >= begin)


def _within(source: Source, begin: int, stop: int | None) -> Iterator[Frame]:
    """Frames [begin, stop); none beyond is read, for it may be a broken one."""
    if stop is not None and begin >= stop:
        return
    for frame in source.frames(begin):
        yield frame
        if stop is not None and frame.index + 1 >= stop:
            return

"""Follow objects through videos: skip what is done, go on with what was stopped, lose no finished frame."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from segcli.core.errors import CheckpointError, DeviceError, SegError, StorageError, UsageError
from segcli.io import atomic, stream
from segcli.models.api import Tracker, Tracking
from segcli.pipeline.events import Events, Summary, count_empty
from segcli.pipeline.identity import Identity
from segcli.pipeline.journal import Entry, Journal
from segcli.pipeline.plan import fingerprint
from segcli.pipeline.progress import with_bar
from segcli.pipeline.resume import RefusedError
from segcli.pipeline.shard import Shard
from segcli.pipeline.signals import Stop, stopping
from segcli.pipeline.track.first import FirstMasks
from segcli.pipeline.track.identity import of_video, same_video
from segcli.pipeline.track.outputs import Outputs, listing
from segcli.pipeline.track.passes import Forward, FrameSink, Job, backward
from segcli.pipeline.track.plan import VideoItem, VideoPlan
from segcli.pipeline.track.prompts import Script, read_script
from segcli.pipeline.track.sinks import LinesSink, LogSink, record_line
from segcli.pipeline.track.store import FOLDER, Log, Saved, read_log, true_length


@dataclass(frozen=True)
class VideoHow:
    """How a plan is done; nothing of it changes a result. bar: show frames as they are done, on a terminal."""

    max_failures: int | None = None
    force: bool = False
    shard: Shard | None = None
    dry_run: bool = False
    bar: bool = False


def run_videos(
    plan: VideoPlan,
    opened: Callable[[], object],
    first: FirstMasks,
    how: VideoHow = VideoHow(),
    events: Events | None = None,
    stdout: BinaryIO | None = None,
) -> Summary:
    """Do the plan and say what became of it. `opened` opens the tracker's model when the first video needs it.

    A video that fails is told to `events` and tried again by the next run, from its last finished frame on. Raises
    SegError for what concerns the run as a whole: UsageError (two videos of one name), StorageError (the directory is
    in use, can't be written or is full), and what opening the model raises.
    """
    events = events or Events()
    keys: dict[str, VideoItem] = {}
    for item in plan.items:
        if (other := keys.setdefault(item.key, item)) is not item:
            raise UsageError(f"{other.name} and {item.name} would have the same output: follow them in two runs")
    items = [item for item in plan.items if how.shard is None or how.shard.owns(item.key)]
    summary, start = Summary(total=len(items)), time.monotonic()
    with ExitStack() as stack:
        stack.callback(lambda: events.finished(summary))
        stop = stack.enter_context(stopping(events.notice))
        journal = None
        if plan.output.directory is not None:
            journal = Journal(plan.output.directory, how.shard, readonly=how.dry_run)
            stack.callback(journal.close)
        events.started(summary)
        runner = _Runner(
            plan, _Once(opened, plan.model), first, how, events, journal, stop, stdout or sys.stdout.buffer
        )
        try:
            for item in items:
                if stop.now:
                    break
                _one(runner, item, summary, events)
                events.progress(summary)
                if how.max_failures is not None and summary.failed >= how.max_failures:
                    summary.stopped = f"stopped: {summary.failed} failed"
                    break
        finally:
            summary.seconds = time.monotonic() - start
            summary.signal = stop.signal
    return summary


def _one(runner: _Runner, item: VideoItem, summary: Summary, events: Events) -> None:
    """One video; its failure is counted, told and recorded. One that concerns all videos ends the run."""
    try:
        became, files, seen = runner.do(item)
    except (StorageError, CheckpointError):
        raise
    except Exception as error:  # a bug at one video must not cost a night's list; exit code 1
        if isinstance(error, MemoryError):
            error = DeviceError(f"{item.name}: out of memory: type --max-size 720, or a smaller --memory")
        code = error.exit_code if isinstance(error, SegError) else 1
        summary.failed += 1
        if code == 1 or (summary.total == 1 and summary.failure_code != 1):
            summary.failure_code = code
        if runner.journal is not None and not runner.how.dry_run and not isinstance(error, RefusedError):
            runner.journal.write_failed(item.key, plan_key(runner.plan, item), str(error), code)
        events.failed(stream.failure(item.name, str(error), code), error)
        return
    if became == "done":
        summary.done += 1
        count_empty(summary, item.name, seen, "objects")
        events.done(item.name, files, (), seen)
    elif became == "skipped":
        summary.skipped += 1
        count_empty(summary, item.name, seen, "objects")
        events.skipped(item.name, files, (), seen)
    elif became == "planned":
        summary.planned += 1
        events.planned(item.name)


def plan_key(plan: VideoPlan, item: VideoItem) -> str:
    """What a failure is recorded under; the video itself may not even be readable."""
    return fingerprint(plan=plan.fingerprint, key=item.key)


@dataclass
class _Once:
    """Opens a model at its first use."""

    opened: Callable[[], object]
    name: str
    model: Tracking | None = None

    def __call__(self) -> Tracking:
        """The model. Raises CheckpointError for one that does not follow objects."""
        if self.model is None:
            model = self.opened()
            if not isinstance(model, Tracking):
                raise CheckpointError(f"{self.name}: seg can't follow objects with it yet; choose another with -m")
            self.model = model
        return self.model


@dataclass(frozen=True)
class _Runner:
    plan: VideoPlan
    opened: _Once
    first: FirstMasks
    how: VideoHow
    events: Events
    journal: Journal | None
    stop: Stop
    stdout: BinaryIO
    claimed: dict[str, str] = field(default_factory=dict)

    def do(self, item: VideoItem) -> tuple[str, list[str], tuple[int, ...]]:
        """ "done", "skipped", "planned" or "stopped", the files, and in how many frames each object has a mask.

        Raises what goes wrong with this video.
        """
        source = item.open()
        info = source.info()
        following = self.plan.following
        script = read_script(item, source, info.size, following, self.events.notice)
        made_from = Identity("", 0) if self.journal is None else of_video(item.path, item.name)
        kept = {name: value for name, value in asdict(following).items() if name not in ("stop", "save_every")}
        digest = fingerprint(run=self.plan.fingerprint, script=script.digest, video=made_from.sha256, following=kept)
        if not following.both_ways and min(script.appears.values()) > following.start:
            self.events.notice(
                f"{item.name}: frames {following.start} to {min(script.appears.values()) - 1} come before the first "
                "mask and stay empty; --both-ways carries objects back to them"
            )

        def job(folder: Path | None, progress: Callable[[int], None]) -> Job:
            return Job(source, info, script, digest, following, self._tracker, self.first, folder, self.stop, progress)

        if self.journal is None:
            return self._to_stdout(item, job(None, lambda done: None)), [], ()
        outputs = Outputs(self._directory, self._work(item), item, self.plan.output, self.plan.model)
        whole = fingerprint(
            digest=digest, stop=following.stop, output=asdict(replace(self.plan.output, directory=None))
        )
        if (before := self._done_before(item, outputs, whole)) is not None:
            return "skipped", self._files(outputs), before.masks
        self._check(item, outputs, digest)
        if self.how.dry_run:
            return "planned", [], ()
        self.journal.write_begin(item.key, digest, list(outputs.paths.values()))
        begun = time.monotonic()
        atomic.make_directory(outputs.work)
        if not (source.repeatable and _may_go_on(outputs.work, digest)):
            _clear(outputs)
        with _FrameBar(info.count, following.start, following.stop, show=self.how.bar) as progress:
            if not self._follow(job(outputs.work, progress), outputs, several=len(script.objects) > 1):
                return "stopped", [], ()
        seen = self._seen(item, script, outputs)
        wrote, heard = outputs.publish(info, following.start)
        if not heard:
            self.events.notice(f"{item.name}: no sound that these files can hold, or not all of it; written without")
        entry = Entry(
            key=item.key, fingerprint=whole, input=made_from, files=tuple(wrote), formats=self.plan.output.formats,
            seconds=round(time.monotonic() - begun, 6), fragments={}, masks=seen,
        )  # fmt: skip
        self.journal.write_done(entry)
        shutil.rmtree(outputs.work, ignore_errors=True)
        with suppress(OSError):  # other videos were stopped and have their work there
            outputs.work.parent.rmdir()
        return "done", self._files(outputs), seen

    def _follow(self, job: Job, outputs: Outputs, *, several: bool) -> bool:
        back = backward(job)
        if self.stop.now:
            return False
        forward = Forward(job, back)
        start = job.following.start
        log = Log(outputs.work / "frames.log", true_length(outputs.work / "frames.log", _before(start, forward)))
        try:
            sinks: list[FrameSink] = [
                LogSink(log, forward.upcoming),
                *outputs.sinks(job.info, forward.upcoming, several=several),
            ]
            return forward.run(sinks)
        finally:
            log.close()

    def _seen(self, item: VideoItem, script: Script, outputs: Outputs) -> tuple[int, ...]:
        """In how many frames each object has a mask. Tells prompts beyond the end, where that was not known before."""
        count, seen = self.plan.following.start, dict.fromkeys(script.objects, 0)
        for line in read_log(outputs.work / "frames.log"):
            count += 1
            for number, mask in line.masks.items():
                seen[number] += mask.area > 0
        for frame in sorted(frame for frame in script.said if frame >= count):
            self.events.notice(f"{item.name}: has {count} frames; what is said about frame {frame} was not used")
        return tuple(seen.values())

    def _to_stdout(self, item: VideoItem, job: Job) -> str:
        """JSON lines as frames are done. Nothing is kept that a later run could go on from."""
        if job.following.both_ways and max(job.script.appears.values()) > job.following.start:
            raise UsageError("--both-ways goes through the video twice and keeps what it found; give -o DIR")
        base, key = job.info.time_base, item.key
        sink = LinesSink(self.stdout, lambda line: record_line(line, key, self.plan.model, base))
        whole = Forward(job, backward(job)).run([sink])
        return "done" if whole else "stopped"

    def _tracker(self) -> Tracker:
        following = self.plan.following
        return self.opened().tracker(memory=following.memory, every=following.every, soft=following.soft)

    @property
    def _directory(self) -> Path:
        assert self.plan.output.directory is not None
        return self.plan.output.directory

    def _work(self, item: VideoItem) -> Path:
        return self._directory / FOLDER / quote(item.key, safe="")

    def _files(self, outputs: Outputs) -> list[str]:
        return [str(outputs.directory / path) for path in outputs.paths.values()]

    def _done_before(self, item: VideoItem, outputs: Outputs, whole: str) -> Entry | None:
        """The entry of an earlier run that made these very outputs, all of which are there."""
        assert self.journal is not None
        entry = None if self.how.force else self.journal.find(item.key, whole)
        if entry is None or not same_video(entry.input, item.path, item.name):
            return None
        return entry if all(_intact(outputs.directory, *file) for file in entry.files) else None

    def _check(self, item: VideoItem, outputs: Outputs, digest: str) -> None:
        """Raise RefusedError for outputs that exist and are not this run's to replace, or are the video itself."""
        assert self.journal is not None
        for path in outputs.paths.values():
            other = self.claimed.setdefault(path, item.key)
            target = outputs.directory / path
            if other != item.key:
                raise RefusedError(f"{item.name}: {target} is the output of {other} already; follow them in two runs")
            if item.path is not None and target.exists() and target.samefile(item.path):
                raise RefusedError(f"{item.name}: {target} is the video itself: give another -o")
            there = any(target.iterdir()) if target.is_dir() else os.path.lexists(target)
            if there and not self.how.force and not self.journal.began(path, digest):
                raise RefusedError(
                    f"{item.name}: {target} exists, made with other options or by another program: --force replaces "
                    "it, another -o keeps it"
                )


def _before(start: int, forward: Forward) -> Callable[[int], bool]:
    end = start + forward.upcoming
    return lambda index: index < end


def _intact(directory: Path, path: str, size: int, digest: str) -> bool:
    target = directory / path
    try:
        if path.endswith("/"):
            return target.is_dir() and listing(target) == (size, digest)
        return target.lstat().st_size == size
    except OSError:
        return False


def _may_go_on(work: Path, digest: str) -> bool:
    """True when a stopped run of this very kind left its memory."""
    return any(Saved.read(work / name, digest) is not None for name in ("frames.npz", "back.npz"))


def _clear(outputs: Outputs) -> None:
    """Take away what an earlier run left, so that this one begins anew."""
    shutil.rmtree(outputs.work, ignore_errors=True)
    atomic.make_directory(outputs.work)
    for path in outputs.paths.values():
        target = outputs.directory / path
        if path.endswith("/") and target.is_dir():
            for old in target.glob("*.png"):
                old.unlink(missing_ok=True)


class _FrameBar:
    """A bar of frames on a terminal's stderr."""

    def __init__(self, count: int | None, start: int, stop: int | None, *, show: bool) -> None:
        ends = [end for end in (count, stop) if end is not None]
        self._summary = Summary(total=max(0, min(ends) - start) if ends else 0)
        self._events = with_bar(Events()) if show else Events()

    def __enter__(self) -> Callable[[int], None]:
        self._events.started(self._summary)

        def progress(done: int) -> None:
            self._summary.done = done
            self._events.progress(self._summary)

        return progress

    def __exit__(self, *_: object) -> None:
        self._events.finished(self._summary)

"""`seg vos`: objects through videos, from masks, clicks, boxes or words in any frame."""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NoReturn

import typer

from segcli.cli.errors import warn
from segcli.cli.groups import verb
from segcli.cli.options import Computing, Telling, number
from segcli.cli.videooptions import Machine, Pointing, Remembering, VideoWriting, Watching
from segcli.cli.videoprompts import Told, parse
from segcli.core.errors import CheckpointError, StorageError, UsageError

if TYPE_CHECKING:
    from segcli.models.api import Promptable
    from segcli.pipeline.track.plan import VideoItem
    from segcli.registry.weights import Entry

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

EXAMPLES = """\b
Examples:
  seg vos clip.mp4 --first mask.png                      seg-out/clip/00000.png, one indexed PNG a frame
  seg vos clip.mp4 --at 320,240 -f overlay-video --audio
  seg vos clip.mp4 --at 1=320,240 --box 2=10,10,90,200@48 --drop 1@300
  seg vos frames/ --refer "the dancer" --first-model seem.focal-t-v1
  seg vos clip.mp4 --first mask.png --at 1=300,200@120   a correction in frame 120
  seg vos clip.mp4 --first mask.png -f cutout-video      ProRes 4444 with alpha
  seg vos --list videos.txt --first 'masks/{stem}.png' --shard 1/8
  ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 - | seg vos - --raw 640x360 --at 50%,50%"""


@app.command(epilog=EXAMPLES)
@verb
def vos(
    watching: Watching,
    pointing: Pointing,
    remembering: Remembering,
    writing: VideoWriting,
    machine: Machine,
    telling: Telling,
) -> None:
    """Follow objects through videos, from a mask, clicks, a box or words.

    A video is a file, a directory of pictures in natural order, or raw frames on stdin. Objects are numbers, frames
    are counted from 0. A run that was stopped goes on where it was when the same command is typed again.
    """
    for group in (watching, remembering, writing, machine, telling):
        group.check()
    told = parse(pointing)
    entry = tracker_entry(machine.model)
    first = first_entry(pointing.first_model, told) if told.kinds else None
    _run(watching, pointing, remembering, writing, machine, telling, told, entry, first)


def tracker_entry(name: str | None) -> Entry:
    """The checkpoint that follows: the one named, or the first bundled one that takes videos. Raises UsageError."""
    from segcli.registry.weights import catalogue, find

    if name is not None:
        entry = find(name)
        if "video" not in entry.accepts:
            known = ", ".join(name for name, one in catalogue().items() if "video" in one.accepts)
            raise UsageError(f"-m {name}: {entry.name} does not follow objects through videos; these do: {known}")
        return entry
    able = [entry for entry in catalogue().values() if "video" in entry.accepts]
    if not able:
        raise UsageError("no checkpoint follows objects through videos; name one with -m")
    return next((entry for entry in able if entry.bundled), able[0])


def first_entry(name: str, told: Told) -> Entry:
    """The checkpoint that answers prompts. Raises UsageError when it does not take them."""
    from segcli.registry.weights import catalogue, find

    entry = find(name)
    for kind, option in told.kinds.items():
        if kind not in entry.accepts:
            able = ", ".join(n for n, one in catalogue().items() if told.kinds.keys() <= one.accepts) or "none"
            raise UsageError(
                f"{option}: {entry.name} does not take prompts of the kind {kind}; choose another with --first-model: "
                f"{able}"
            )
    return entry


def _run(
    watching: Watching,
    pointing: Pointing,
    remembering: Remembering,
    writing: VideoWriting,
    machine: Machine,
    telling: Telling,
    told: Told,
    entry: Entry,
    first: Entry | None,
) -> NoReturn:
    from segcli.cli.report import Report
    from segcli.pipeline.plan import fingerprint
    from segcli.pipeline.shard import Shard
    from segcli.pipeline.track.first import FirstMasks
    from segcli.pipeline.track.plan import Following, VideoOutput, VideoPlan
    from segcli.pipeline.track.run import VideoHow, run_videos

    if telling.json and writing.output == "-" and not writing.dry_run:
        raise UsageError("--json and -o - both write to stdout; give -o DIR, or take --json away")
    items = _items(watching, told)
    if writing.output == "-" and len(items) > 1:
        raise UsageError(f"-o - takes one video, these are {len(items)}; give -o DIR")
    start, stop = watching.frames
    plan = VideoPlan(
        items=tuple(items),
        output=VideoOutput(
            None if writing.output == "-" else Path(writing.output),
            writing.kinds,
            "vp9" if writing.cutout_codec == "vp9" else "prores",
            writing.audio,
        ),
        following=Following(
            memory=number("--memory", remembering.memory, low=0),
            every=number("--memory-every", remembering.memory_every, low=1),
            soft=remembering.memory_kind == "soft",
            max_side=None if remembering.max_size is None else number("--max-size", remembering.max_size, low=16),
            start=start,
            stop=stop,
            stride=number("--stride", watching.stride, low=1),
            both_ways=watching.both_ways,
            save_every=number("--save-every", writing.save_every, low=1),
        ),
        fingerprint=fingerprint(
            verb="vos",
            models=[[one.name, _revision(one, machine, writing, telling)] for one in (entry, first) if one is not None],
            seed=machine.seed,
            dtype=machine.dtype,
        ),
        model=entry.name,
    )
    report = Report(
        quiet=telling.quiet,
        verbose=telling.verbose,
        json=telling.json,
        failures=writing.output == "-",
        debug=telling.debug,
    )
    how = VideoHow(
        max_failures=telling.failures,
        force=writing.force,
        shard=None if watching.shard is None else Shard.parse(watching.shard),
        dry_run=writing.dry_run,
        bar=not telling.quiet,
    )
    opened = _opener(machine.model or entry.name, machine, telling)
    same = first is None or first.name == entry.name
    asked = FirstMasks(opened if same else _opener(pointing.first_model, machine, telling))
    summary = run_videos(plan, opened, asked, how, report)
    raise typer.Exit(summary.exit_code)


def _items(watching: Watching, told: Told) -> list[VideoItem]:
    """The videos that were named, in order. Raises UsageError and StorageError."""
    from segcli.io.inputs import read_names
    from segcli.io.video.opening import open_source
    from segcli.io.video.raw import RawFrames
    from segcli.pipeline.track.plan import VideoItem

    start, _ = watching.frames
    if watching.raw is not None:
        source = RawFrames(sys.stdin.buffer, watching.raw_size, watching.rate or Fraction(25))
        return [VideoItem(PurePosixPath("stdin"), None, lambda: source, told.prompts(start, None))]
    named = [(path, PurePosixPath(path.name or path.resolve().name)) for path in _expanded(watching.videos)]
    if watching.names is not None:
        for name in read_names(watching.names):
            path = Path(name)
            inside = not path.is_absolute() and ".." not in path.parts
            named.append((path, PurePosixPath(*path.parts) if inside else PurePosixPath(path.name)))
        if not named:
            raise StorageError(f"{watching.names}: the list names no videos")
    if not any(os.path.lexists(path) for path, _ in named):
        more = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
        raise StorageError(f"{named[0][0]}: no such file or directory{more}")
    bare = Counter(str(_bare(path, relative)) for path, relative in named)

    def item(path: Path, relative: PurePosixPath) -> VideoItem:
        short = _bare(path, relative)
        own = short if bare[str(short)] == 1 else relative
        return VideoItem(
            own,
            path,
            lambda: open_source(path, str(path), watching.rate, gaps=watching.gaps),
            told.prompts(start, path),
        )

    return [item(path, relative) for path, relative in named]


def _bare(path: Path, relative: PurePosixPath) -> PurePosixPath:
    """A file's name without its suffix; a directory's whole name."""
    return relative if path.is_dir() else relative.with_suffix("")


def _expanded(typed: list[str]) -> list[Path]:
    """Globs that the shell left alone are expanded, in natural order."""
    from segcli.io.inputs import natural_key

    found: list[Path] = []
    for text in typed:
        if glob.has_magic(text) and not os.path.lexists(text):
            matches = sorted(glob.glob(text), key=natural_key)  # noqa: PTH207 - keeps the path as it was typed
            found += [Path(match) for match in matches] or [Path(text)]
        else:
            found.append(Path(text))
    return list(dict.fromkeys(found))


def _opener(name: str, machine: Machine, telling: Telling) -> Callable[[], Promptable]:
    """Opens a checkpoint at its first use; later uses get the same one."""
    from segcli.cli.running import open_lazily
    from segcli.registry.weights import find

    computing = Computing(name, machine.device, machine.dtype, machine.seed, machine.threads, machine.offline)
    return cache(open_lazily(find(name), computing, telling))


def _revision(entry: Entry, machine: Machine, writing: VideoWriting, telling: Telling) -> str:
    """Which weights, as the journal compares them. A dry run fetches nothing, so weights may not be here yet."""
    from segcli.registry.load import files_of, revision_of

    say = (lambda line: None) if telling.quiet else (lambda line: warn(line.removeprefix("seg: ")))
    try:
        return revision_of(files_of(entry, offline=machine.offline or writing.dry_run, say=say))
    except CheckpointError:
        if writing.dry_run:
            return "not here"
        raise

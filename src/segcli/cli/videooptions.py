"""The options of `seg vos`: which videos, what is said about them, how objects are followed, what is written.

Values are text as typed; `check` refuses what can't be meant before anything is read, without numpy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated

import typer

from segcli.cli.options import DEFAULT_MODEL, DEFAULT_OUTPUT, number
from segcli.core.errors import UsageError

VIDEO_FORMATS = ("palette", "jsonl", "mask-video", "overlay-video", "cutout-video", "cutout")
"""The same as `segcli.pipeline.track.plan.VIDEO_FORMATS` (a test holds them equal), which would bring numpy along."""


def _formats(incomplete: str) -> list[str]:
    """For the shell's completion of -f, also behind a comma."""
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in VIDEO_FORMATS if name.startswith(last)]


def _models(incomplete: str) -> list[str]:
    """For the shell's completion of -m."""
    from segcli.registry.weights import catalogue

    return [name for name, entry in catalogue().items() if name.startswith(incomplete) and "video" in entry.accepts]


@dataclass(frozen=True)
class Watching:
    """Which videos, and which of their frames."""

    videos: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO", help="Video files, directories of pictures, or - with --raw."),
    ] = field(default_factory=list)
    names: Annotated[
        str | None, typer.Option("--list", metavar="FILE|-", help="Read names of videos from a list, one a line.")
    ] = None
    raw: Annotated[
        str | None, typer.Option("--raw", metavar="WxH", help="stdin holds raw rgb24 frames of this size.")
    ] = None
    fps: Annotated[
        str | None,
        typer.Option("--fps", metavar="N", help="Frames a second of a directory or of --raw; 25 if left out."),
    ] = None
    start: Annotated[str, typer.Option("--from", metavar="FRAME", help="The first frame, from 0.")] = "0"
    until: Annotated[
        str | None, typer.Option("--until", metavar="FRAME", help="The frame to stop before; the end if left out.")
    ] = None
    stride: Annotated[
        str,
        typer.Option(
            "--stride",
            metavar="N",
            help="The model sees each Nth frame; masks between are interpolated from both sides.",
        ),
    ] = "1"
    both_ways: Annotated[
        bool, typer.Option("--both-ways", help="Carry objects back to the frames before their first mask, too.")
    ] = False
    gaps: Annotated[bool, typer.Option("--gaps", help="Numbers missing among a directory's pictures are meant.")] = (
        False
    )
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Do only part I of N of the videos, for array jobs.")
    ] = None

    def check(self) -> None:
        """Refuse words that mean nothing. Raises UsageError."""
        if self.frames[1] is not None and self.frames[1] <= self.frames[0]:
            raise UsageError(f"--until {self.until}: is not after --from {self.start}; frames are counted from 0")
        number("--stride", self.stride, low=1)
        self.rate  # noqa: B018 - raises
        if self.raw is not None:
            self.raw_size  # noqa: B018 - raises
            if self.videos not in ([], ["-"]) or self.names is not None:
                raise UsageError("--raw reads stdin; give - instead of a video, and no --list")
            if self.both_ways:
                raise UsageError("--both-ways: frames on stdin can't be read backwards; give a file, or leave it out")
        elif "-" in self.videos:
            raise UsageError("- holds raw frames; say which with --raw WxH --fps N, or give a file")
        elif not self.videos and self.names is None:
            raise UsageError("no video given: name a file or a directory of pictures, - with --raw, or --list FILE")
        if self.shard is not None:
            from segcli.pipeline.shard import Shard

            Shard.parse(self.shard)

    @property
    def frames(self) -> tuple[int, int | None]:
        """The first frame, and the one to stop before. Raises UsageError."""
        until = None if self.until is None else number("--until", self.until, low=1)
        return number("--from", self.start, low=0), until

    @property
    def rate(self) -> Fraction | None:
        """Frames a second. Raises UsageError."""
        if self.fps is None:
            return None
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}|/[1-9][0-9]{0,6})?", self.fps) or not Fraction(self.fps):
            raise UsageError(
                f"--fps {self.fps}: is no number of frames a second; type for example --fps 25 or 30000/1001"
            )
        return Fraction(self.fps)

    @property
    def raw_size(self) -> tuple[int, int]:
        """(H, W) of raw frames. Raises UsageError."""
        match = re.fullmatch(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})", self.raw or "")
        if match is None:
            raise UsageError(f"--raw {self.raw}: is not a width and a height; type for example --raw 1280x720")
        return int(match[2]), int(match[1])


def _many(*names: str, metavar: str, help: str) -> typer.models.OptionInfo:  # noqa: A002 - Typer's own word
    option: typer.models.OptionInfo = typer.Option(*names, metavar=metavar, help=help, show_default=False)
    return option


@dataclass(frozen=True)
class Pointing:
    """What is to be followed. An object is a number from 1 to 255; without one, object 1 is meant."""

    first: Annotated[
        str | None,
        typer.Option(
            "--first",
            metavar="FILE",
            help="A mask of the first frame: indexed for several objects. {stem} is the video's name, for --list.",
        ),
    ] = None
    at: Annotated[
        list[str], _many("--at", metavar="[OBJ=]X,Y[@FRAME]", help="A click on the object; later ones correct it.")
    ] = field(default_factory=list)
    not_at: Annotated[list[str], _many("--not-at", metavar="[OBJ=]X,Y[@FRAME]", help="A click beside the object.")] = (
        field(default_factory=list)
    )
    box: Annotated[list[str], _many("--box", metavar="[OBJ=]X0,Y0,X1,Y1[@FRAME]", help="A box around the object.")] = (
        field(default_factory=list)
    )
    refer: Annotated[
        list[str], _many("--refer", metavar="[OBJ=]WORDS[@FRAME]", help='Words for the object: "the dancer".')
    ] = field(default_factory=list)
    masks: Annotated[
        str | None,
        typer.Option(
            "--masks",
            metavar="DIR",
            help="Masks of any frames, called as the frames are; objects may appear later. {stem} as for --first.",
        ),
    ] = None
    drop: Annotated[list[str], _many("--drop", metavar="OBJ@FRAME", help="The object is gone from this frame on.")] = (
        field(default_factory=list)
    )
    first_model: Annotated[
        str,
        typer.Option("--first-model", metavar="NAME|FILE", help="Which checkpoint answers --at, --box and --refer."),
    ] = DEFAULT_MODEL


@dataclass(frozen=True)
class Remembering:
    """How objects are followed."""

    memory: Annotated[str, typer.Option("--memory", metavar="N", help="Frames remembered beside the first one.")] = "8"
    memory_every: Annotated[str, typer.Option("--memory-every", metavar="N", help="Remember only each Nth frame.")] = (
        "1"
    )
    memory_kind: Annotated[
        str,
        typer.Option(
            "--memory-kind",
            metavar="soft|published",
            help="What is remembered keeps its probabilities, or is cut to black and white as published.",
        ),
    ] = "soft"
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="PIXELS", help="The model sees frames reduced to this longest side."),
    ] = None

    def check(self) -> None:
        """Refuse words that mean nothing. Raises UsageError."""
        number("--memory", self.memory, low=0)
        number("--memory-every", self.memory_every, low=1)
        if self.memory_kind not in ("soft", "published"):
            raise UsageError(f"--memory-kind {self.memory_kind}: unknown; type soft or published")
        if self.max_size is not None:
            number("--max-size", self.max_size, low=16)


@dataclass(frozen=True)
class VideoWriting:
    """Where results go and what they are."""

    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR|-", help="A directory, or - for JSON lines on stdout.")
    ] = DEFAULT_OUTPUT
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            metavar="NAME,…",
            help=f"Any of {', '.join(VIDEO_FORMATS)}. Repeatable.",
            show_default="palette",
            autocompletion=_formats,
        ),
    ] = field(default_factory=list)
    cutout_codec: Annotated[
        str,
        typer.Option(
            "--cutout-codec", metavar="prores|vp9", help="cutout-video: ProRes 4444 in .mov, or VP9 in .webm."
        ),
    ] = "prores"
    audio: Annotated[bool, typer.Option("--audio", help="Keep the source's sound in videos.")] = False
    save_every: Annotated[
        str, typer.Option("--save-every", metavar="N", help="Frames after which the model's memory is put on disk.")
    ] = "25"
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that other options or prompts made.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be done; follow nothing and write nothing.")
    ] = False

    def check(self) -> None:
        """Refuse words that mean nothing. Raises UsageError."""
        kinds = self.kinds
        if not self.output:
            raise UsageError("-o is empty; type a directory, or - for stdout")
        if "://" in self.output:
            raise UsageError(f"-o {self.output}: what is followed is written to this machine; give a directory")
        if self.output == "-" and kinds != ("jsonl",):
            raise UsageError("-o - writes JSON lines; add -f jsonl, or give a directory")
        if self.cutout_codec not in ("prores", "vp9"):
            raise UsageError(f"--cutout-codec {self.cutout_codec}: unknown; type prores or vp9")
        if self.cutout_codec != "prores" and "cutout-video" not in kinds:
            raise UsageError("--cutout-codec is for cut-out videos; add -f cutout-video")
        if self.audio and not any(kind.endswith("-video") for kind in kinds):
            raise UsageError("--audio is for videos; add -f overlay-video, mask-video or cutout-video")
        number("--save-every", self.save_every, low=1)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The formats asked for, each once, in the order typed. Raises UsageError."""
        typed = [name.strip() for text in self.formats for name in text.split(",")]
        for name in typed:
            if name not in VIDEO_FORMATS:
                raise UsageError(f"-f {name}: unknown format; choose from {', '.join(VIDEO_FORMATS)}")
        return tuple(dict.fromkeys(typed)) or ("palette",)


@dataclass(frozen=True)
class Machine:
    """Which checkpoint, where, and how exactly."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FILE",
            help="A checkpoint that follows objects through videos.",
            show_default="the bundled one",
            autocompletion=_models,
        ),
    ] = None
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cuda[:N]|mps|cpu", help="Where it runs; obeyed or refused.")
    ] = "auto"
    dtype: Annotated[str, typer.Option("--dtype", metavar="auto|fp32|bf16|fp16", help="In which precision.")] = "auto"
    seed: Annotated[str, typer.Option("--seed", metavar="N", help="For models that draw points at random.")] = "0"
    threads: Annotated[
        str | None, typer.Option("--threads", metavar="N", help="CPU threads; the machine's cores if left out.")
    ] = None
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False

    def check(self) -> None:
        """Refuse words and numbers that no machine could obey. Raises UsageError."""
        from segcli.registry.device import check_words

        check_words(self.device, self.dtype)
        number("--seed", self.seed, low=0)
        if self.threads is not None:
            number("--threads", self.threads, low=1)

"""The options that verbs share, grouped by what they concern, and what their words mean.

Values are text as typed; `check` refuses what can't be meant before anything is read, without numpy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli.finishing import Finishing, pixels
from segcli.cli.spreading import Spreading
from segcli.core.classes import ClassList
from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.io.formats.contract import Options
    from segcli.io.remote import Source

FORMATS = (
    *("mask", "palette", "cutout", "overlay", "coco", "panoptic", "semantic"),
    *("jsonl", "labelme", "yolo", "svg", "npz", "ora"),
)
"""The names of `segcli.io.formats.FORMATS` (a test holds them equal), which would bring numpy along."""

DEFAULT_MODEL = "seem-nano"
DEFAULT_OUTPUT = "seg-out"

_IMAGE_SUFFIXES = (".png", ".webp", ".svg", ".json", ".jsonl", ".txt", ".npz", ".ora")


def _checkpoints(incomplete: str) -> list[str]:
    """For the shell's completion of -m."""
    from segcli.registry.weights import catalogue

    return [name for name in catalogue() if name.startswith(incomplete)]


def complete_formats(incomplete: str) -> list[str]:
    """For the shell's completion of -f, also behind a comma."""
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in FORMATS if name.startswith(last)]


RequireMask = Annotated[
    bool, typer.Option("--require-mask", help="Exit 7 when an answer is empty, after everything is done.")
]
"""For verbs that end in `run_items`."""


@dataclass(frozen=True)
class Sources:
    """Which photos."""

    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES",
            help="Photos, directories, globs, URLs, or - for a photo's bytes on stdin.",
        ),
    ] = field(default_factory=list)
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look in the directories below a directory too.")
    ] = False
    files_from: Annotated[
        str | None, typer.Option("--files-from", metavar="FILE|-", help="Read names of photos from a list, one a line.")
    ] = None
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The names of --files-from end in NUL, as find -print0 writes them.")
    ] = False
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Do only part I of N, for array jobs.")
    ] = None

    def check(self) -> None:
        """Refuse options that make no sense together. Raises UsageError."""
        if self.null and self.files_from is None:
            raise UsageError("-0 is for --files-from only; add --files-from FILE or take -0 away")
        if self.shard is not None:
            from segcli.pipeline.shard import Shard

            Shard.parse(self.shard)


@dataclass(frozen=True)
class Reading(Spreading, Sources):
    """Which photos, and where they are answered."""

    def check(self) -> None:
        """Refuse options that make no sense together. Raises UsageError."""
        super().check()
        self.check_spread()


@dataclass(frozen=True)
class Placing:
    """Where results go."""

    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR|URL|TEMPLATE|-",
            help="A directory or URL, a template with {stem} {name} {parent} {ask} {n} {label} {format}, "
            "or - for stdout.",
        ),
    ] = DEFAULT_OUTPUT
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            metavar="NAME,…",
            help=f"Any of {', '.join(FORMATS)}. Repeatable.",
            show_default="mask",
            autocompletion=complete_formats,
        ),
    ] = field(default_factory=list)


@dataclass(frozen=True)
class Writing(Finishing, Placing):
    """Where results go and how they look."""

    soft: Annotated[
        bool, typer.Option("--soft", help="mask, cutout, ora: soft borders from the model's probabilities.")
    ] = False
    image_type: Annotated[
        str, typer.Option("--image-type", metavar="png|webp", help="cutout: the files' type; WebP is smaller.")
    ] = "png"
    coco_images: Annotated[
        str | None,
        typer.Option(
            "--coco-images",
            metavar="FILE",
            help="coco, panoptic: a COCO JSON whose ids of images and categories are used.",
        ),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that other options or prompts made.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be done; read no weights and write nothing.")
    ] = False

    def check(self) -> None:
        """Refuse words that mean nothing. Raises UsageError."""
        names = self.names
        if not self.output:
            raise UsageError("-o is empty; type a directory, a template, or - for stdout")
        if "::" in self.output and "://" in self.output:
            raise UsageError(f"-o {self.output}: give the URL of the store itself, without what stands before ::")
        if re.match(r"https?://", self.output, re.IGNORECASE):
            raise UsageError(
                f"-o {self.output}: web servers take no files; give a directory, s3://…, gs://… or sftp://…"
            )
        if self.image_type not in ("png", "webp"):
            raise UsageError(f"--image-type {self.image_type}: unknown; type png or webp")
        self.check_finish(names, soft=self.soft)
        if self.coco_images is not None and not {"coco", "panoptic"} & set(names):
            raise UsageError("--coco-images is for COCO files; add -f coco or -f panoptic")
        if self.image_type != "png" and "cutout" not in names:
            raise UsageError("--image-type is for cut-outs; add -f cutout")
        if self.to_stdout and len(names) > 1:
            raise UsageError(f"-o - takes one format, not {len(names)}; give one -f, or a directory")

    @property
    def names(self) -> tuple[str, ...]:
        """The formats asked for, each once, in the order typed; the mask if none. Raises UsageError."""
        typed = [name.strip() for text in self.formats for name in text.split(",")]
        for name in typed:
            if name not in FORMATS:
                raise UsageError(f"-f {name}: unknown format; choose from {', '.join(FORMATS)}")
        return tuple(dict.fromkeys(typed)) or ("mask",)

    @property
    def to_stdout(self) -> bool:
        """True for `-o -`."""
        return self.output == "-"

    @property
    def place(self) -> tuple[Source | None, str | None]:
        """The directory or URL (None for stdout) and the template below it, if one was given.

        The directory is what stands before the first part with a field in braces. A name that ends like a file
        ("cat.png") and is no directory is a template without fields, for one photo, or for the one file of all.
        """
        if self.to_stdout:
            return None, None
        from segcli.io.remote import is_url, local

        typed = local(self.output)
        if is_url(typed):
            from segcli.io.outputs import split

            return split(typed, _IMAGE_SUFFIXES)
        path = Path(typed)
        for index, part in enumerate(path.parts):
            if "{" in part:
                return Path(*path.parts[:index]), str(Path(*path.parts[index:]))
        if path.suffix.lower() in _IMAGE_SUFFIXES and not path.is_dir() and not self.output.endswith("/"):
            return path.parent, path.name
        return path, None

    def options(self, classes: ClassList = ClassList()) -> Options:  # noqa: B008 - frozen
        """The same for the format writers. Raises what a --coco-images or --background that can't be used does."""
        from segcli.io.formats.coco import Given, read_ids
        from segcli.io.formats.contract import Options

        given = Given() if self.coco_images is None else read_ids(Path(self.coco_images))

        return Options(
            union=self.union,
            crop=self.crop,
            margin=pixels("--margin", self.margin),
            soft=self.soft,
            matte=self.matte,
            matte_width=self.width,
            grow=pixels("--grow", self.grow, signed=True),
            feather=pixels("--feather", self.feather),
            invert=self.invert,
            background=self.backdrop(),
            image_type="webp" if self.image_type == "webp" else "png",
            coco_images=given.images,
            coco_categories=given.categories or classes.id_of,
            categories=classes.names,
            stuff=tuple(dict.fromkeys([*classes.stuff, *given.stuff])),
        )


@dataclass(frozen=True)
class Computing:
    """Which checkpoint, where, and how exactly."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FILE",
            help="A checkpoint of `seg models list`, or a .safetensors.",
            autocompletion=_checkpoints,
        ),
    ] = DEFAULT_MODEL
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cuda[:N]|mps|cpu", help="Where it runs; obeyed or refused.")
    ] = "auto"
    dtype: Annotated[str, typer.Option("--dtype", metavar="auto|fp32|bf16|fp16", help="In which precision.")] = "auto"
    seed: Annotated[str, typer.Option("--seed", metavar="N", help="For models that draw points at random.")] = "0"
    threads: Annotated[
        str | None, typer.Option("--threads", metavar="N", help="CPU threads; the machine's cores if left out.")
    ] = None
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False
    batch: Annotated[str, typer.Option("--batch", metavar="N", help="Photos encoded at once.")] = "4"
    cache_mb: Annotated[
        str, typer.Option("--cache-mb", metavar="MB", help="Memory for encoded photos in a live session.")
    ] = "512"

    def check(self) -> None:
        """Refuse words and numbers that no machine could obey. Raises UsageError."""
        from segcli.registry.device import check_words

        check_words(self.device, self.dtype)
        number("--seed", self.seed, low=0)
        number("--batch", self.batch, low=1)
        number("--cache-mb", self.cache_mb, low=0)
        if self.threads is not None:
            number("--threads", self.threads, low=1)


@dataclass(frozen=True)
class Telling:
    """What a person or a script hears, and when to give up."""

    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first item that fails.")] = False
    max_failures: Annotated[
        str | None, typer.Option("--max-failures", metavar="N", help="Stop after N items have failed.")
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="One line an item on stderr.")] = False
    json: Annotated[
        bool, typer.Option("--json", help="One JSON line an item on stdout, and a summary as the last line.")
    ] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")] = False

    def check(self) -> None:
        """Refuse contradictions. Raises UsageError."""
        if self.quiet and self.verbose:
            raise UsageError("-q and -v contradict each other; take one away")
        if self.fail_fast and self.max_failures is not None:
            raise UsageError("--fail-fast is --max-failures 1; give one of the two")
        if self.max_failures is not None:
            number("--max-failures", self.max_failures, low=1)

    @property
    def failures(self) -> int | None:
        """After how many failed items a run stops, or None for never."""
        if self.fail_fast:
            return 1
        return None if self.max_failures is None else number("--max-failures", self.max_failures, low=1)


def share(option: str, text: str) -> float:
    """A number from 0 to 1. Raises UsageError."""
    if not re.fullmatch(r"[+]?([0-9]+\.?[0-9]*|\.[0-9]+)", text) or float(text) > 1:
        raise UsageError(f"{option} {text}: is not a number from 0 to 1; type for example {option} 0.5")
    return float(text)


def number(option: str, text: str, *, low: int) -> int:
    """A whole number of at least `low`. Raises UsageError."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or int(text) < low:
        raise UsageError(
            f"{option} {text}: is not a whole number from {low} on; type for example {option} {max(low, 1)}"
        )
    return int(text)

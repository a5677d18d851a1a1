"""What is to be done to one video, and what was said about its frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from segcli.core.ask import Ask
from segcli.io.video.frames import Source

VIDEO_FORMATS = ("palette", "jsonl", "mask-video", "overlay-video", "cutout-video", "cutout")


@dataclass(frozen=True)
class Said:
    """What a person says about one frame.

    asks:  object -> a question whose answer is its mask; where the object is followed already, a correction.
    masks: a file with the ids of objects.
    drops: objects that are gone from this frame on.
    """

    asks: Mapping[int, Ask] = field(default_factory=dict)
    masks: Path | None = None
    drops: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Prompts:
    """What is said about a video: by frame number, and as a folder of masks called as the frames are."""

    said: Mapping[int, Said]
    folder: Path | None = None


@dataclass(frozen=True)
class Following:
    """How objects are followed.

    memory, every, soft: see `segcli.models.api.Tracking`.
    max_side:   the tracker sees frames reduced to that longest side; None: all pixels.
    start, stop: frames [start, stop); None: to the end.
    stride:     the tracker sees each so-manyth frame; masks of those between are interpolated (`between`).
    both_ways:  objects are carried back to the frames before their first mask, too.
    save_every: the tracker's memory is put on disk after so many frames.
    """

    memory: int = 8
    every: int = 1
    soft: bool = True
    max_side: int | None = None
    start: int = 0
    stop: int | None = None
    stride: int = 1
    both_ways: bool = False
    save_every: int = 25


@dataclass(frozen=True)
class VideoOutput:
    """Where results go. `cutout` is the coding of cut-out videos; `audio` keeps the source's sound."""

    directory: Path | None  # None: JSON lines on stdout
    formats: tuple[str, ...] = ("palette",)
    cutout: Literal["prores", "vp9"] = "prores"
    audio: bool = False


@dataclass(frozen=True)
class VideoItem:
    """One video. `relative` is its path without a suffix, mirrored in the output; `path` None for stdin."""

    relative: PurePosixPath
    path: Path | None
    open: Callable[[], Source]
    prompts: Prompts

    @property
    def key(self) -> str:
        """Stable name: sharding and the journal go by it."""
        return str(self.relative)

    @property
    def name(self) -> str:
        """What messages call it."""
        return "-" if self.path is None else str(self.path)


@dataclass(frozen=True)
class VideoPlan:
    """A whole run. `fingerprint` names what decides the masks besides prompts and video: weights, seed, dtype."""

    items: tuple[VideoItem, ...]
    output: VideoOutput
    following: Following
    fingerprint: str
    model: str

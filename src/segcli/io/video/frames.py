"""What a video is to the rest of seg: numbered upright frames with their times, whatever they were read from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from segcli.core.image import Image


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, decoded and upright.

    index:    its number in the source, from 0.
    name:     what files made from it are called: the picture's stem, or the number in five digits.
    pts, duration: when it is shown and for how long, in units of `Info.time_base`; duration 0 is unknown.
    image:    its pixels; `image.name` is what messages call it.
    """

    index: int
    name: str
    pts: int
    duration: int
    image: Image


@dataclass(frozen=True)
class Info:
    """What is known before the first frame is decoded.

    size:      (H, W) of the upright frames.
    time_base: seconds of one unit of a frame's times.
    count:     frames, or None where only decoding can tell. May be an estimate; for progress only.
    aspect:    width of a pixel over its height, where it is not 1.
    """

    size: tuple[int, int]
    time_base: Fraction
    count: int | None = None
    aspect: Fraction | None = None


class Source(Protocol):
    """A video that can be read from its first frame on, as often as `repeatable` says.

    `frames` raises ItemError with the frame in its line when one can't be decoded, is missing or has another size;
    what came before it stays valid.
    """

    name: str
    repeatable: bool

    def info(self) -> Info:
        """Size and times. Raises ItemError when this is no video."""
        ...

    def count(self) -> int | None:
        """How many frames there are, without decoding them; None where that can't be known."""
        ...

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on, in order."""
        ...

    def backwards(self, start: int, stop: int) -> Iterator[Frame]:
        """The frames `stop - 1` down to `start`. Memory does not depend on how many."""
        ...


def number_name(index: int) -> str:
    """What a frame without a name of its own is called: 00012."""
    return f"{index:05d}"


def size_words(size: tuple[int, int]) -> str:
    """(H, W) as people write it: 640 x 480."""
    return f"{size[1]} x {size[0]}"


CHUNK_BYTES = 64 << 20
"""Pixels that `backwards` holds at once."""


def chunks_backwards(start: int, stop: int, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Ranges [a, b) from the end to the start, each small enough to be held in memory as RGB."""
    length = max(2, CHUNK_BYTES // (size[0] * size[1] * 3))
    while stop > start:
        first = max(start, stop - length)
        yield first, stop
        stop = first

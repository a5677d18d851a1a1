"""Raw frames on stdin: rgb24, one after the other, as `ffmpeg -f rawvideo -pix_fmt rgb24 -` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from segcli.core.errors import ItemError, UsageError
from segcli.core.image import Image
from segcli.io.video.frames import Frame, Info, number_name


class RawFrames:
    """A stream of bytes; implements `segcli.io.video.frames.Source`. It can be read once, and only forwards."""

    repeatable = False

    def __init__(self, stream: BinaryIO, size: tuple[int, int], rate: Fraction) -> None:
        self.stream, self.size, self.rate, self.name = stream, size, rate, "-"

    def info(self) -> Info:
        """As it was told."""
        return Info(self.size, 1 / self.rate)

    def count(self) -> None:
        """Nobody knows."""

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on. Raises ItemError when the stream ends within one."""
        height, width = self.size
        length, index = height * width * 3, 0
        while data := self._read(length):
            if len(data) < length:
                raise ItemError(
                    f"-: frame {index} ends after {len(data)} of {length} bytes; check --raw {width}x{height} and "
                    "that the frames are rgb24"
                )
            if index >= start:
                pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
                yield Frame(index, number_name(index), index, 1, Image(pixels, self.size, f"-: frame {index}"))
            index += 1
        if not index:
            raise ItemError("-: no frame came on stdin")

    def backwards(self, start: int, stop: int) -> Iterator[Frame]:
        """Refused."""
        raise UsageError("--both-ways: frames on stdin can't be read backwards; give a file, or leave it out")

    def _read(self, length: int) -> bytes:
        """That many bytes, or fewer at the end; a pipe gives them in pieces."""
        pieces = []
        while length and (piece := self.stream.read(length)):
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

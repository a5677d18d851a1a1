"""Frames of a directory of pictures in natural order, and of animated WebP, which FFmpeg does not decode."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from segcli.core.errors import ItemError
from segcli.core.image import Image
from segcli.io.images import BROKEN, SUFFIXES, read_image
from segcli.io.inputs import natural_key
from segcli.io.video.frames import Frame, Info, chunks_backwards, number_name, size_words

_MILLISECONDS = Fraction(1, 1000)
_NUMBERED = re.compile(r"(.*?)([0-9]+)([^0-9]*)")
_DEFAULT_STEP = 100  # milliseconds of a WebP frame that says none


class PictureFolder:
    """The pictures of a directory; implements `segcli.io.video.frames.Source`.

    rate: pictures a second, for the times of videos that are made from them.
    gaps: take them as they are; otherwise a number that is missing in an otherwise regular sequence is an error.
    """

    repeatable = True

    def __init__(self, directory: Path, name: str, rate: Fraction = Fraction(25), *, gaps: bool = False) -> None:
        self.directory, self.name, self.rate, self.gaps = directory, name, rate, gaps

    @cached_property
    def files(self) -> list[Path]:
        """The pictures in order. Raises ItemError when there are none, or two of one stem."""
        try:
            entries = list(self.directory.iterdir())
        except OSError as error:
            raise ItemError(f"{self.name}: can't be read: {(error.strerror or str(error)).lower()}") from None
        files = [
            path for path in entries if path.suffix.lower() in SUFFIXES and path.name[0] != "." and not path.is_dir()
        ]
        if not files:
            raise ItemError(f"{self.name}: no pictures in it; give a directory of frames, or a video file")
        files.sort(key=lambda path: natural_key(path.name))
        stems: dict[str, Path] = {}
        for path in files:
            other = stems.setdefault(path.stem, path)
            if other is not path:
                raise ItemError(f"{self.name}: {other.name} and {path.name} are one frame by name; take one away")
        return files

    def info(self) -> Info:
        """The first picture's size."""
        first = self.files[0]
        return Info(read_image(first, str(first)).size, 1 / self.rate, len(self.files))

    def count(self) -> int:
        """How many pictures there are."""
        return len(self.files)

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The pictures from number `start` on."""
        gap = None if self.gaps else missing_number([path.stem for path in self.files])
        size: tuple[int, int] | None = None
        for index, path in enumerate(self.files):
            if gap is not None and index == gap[0]:
                raise ItemError(
                    f"{self.name}: the frame before {path.name} is missing ({gap[1]}); put it back, "
                    f"--gaps takes the frames as they are, --until {index} stops there"
                )
            if index >= start or size is None:
                frame = self._frame(index, size)
                size = size or frame.image.size
                if index >= start:
                    yield frame

    def backwards(self, start: int, stop: int) -> Iterator[Frame]:
        """One after the other."""
        if stop > len(self.files):
            raise ItemError(f"{self.name}: has no frame {stop - 1}; its last one is {len(self.files) - 1}")
        size = self.info().size
        return (self._frame(index, size) for index in range(stop - 1, start - 1, -1))

    def _frame(self, index: int, size: tuple[int, int] | None) -> Frame:
        path = self.files[index]
        image = read_image(path, str(path))
        if size is not None and image.size != size:
            raise ItemError(
                f"{path}: has {size_words(image.size)} pixels, the first frame {size_words(size)}; make them equal, "
                f"or --until {index} stops before it"
            )
        return Frame(index, path.stem, index, 1, image)


def missing_number(stems: Sequence[str]) -> tuple[int, str] | None:
    """Which entry comes after a gap in names that are numbered evenly, and the first missing name; None without one.

    Names are numbered evenly when they differ in one number only and at least half of its steps are the smallest one.
    """
    parts = [_NUMBERED.fullmatch(stem) for stem in stems]
    known = [part for part in parts if part is not None]
    if len(known) != len(stems) or len(stems) < 3 or len({(part[1], part[3]) for part in known}) != 1:
        return None
    numbers = [int(part[2]) for part in known]
    steps = [after - before for before, after in pairwise(numbers)]
    step = min(steps)
    if step < 1 or 2 * steps.count(step) < len(steps):
        return None
    for place, this in enumerate(steps):
        if this != step:
            width = len(known[place][2])
            return place + 1, f"{known[place][1]}{numbers[place] + step:0{width}d}{known[place][3]}"
    return None


class AnimatedWebP:
    """An animated WebP; implements `segcli.io.video.frames.Source`. The file itself is held, its frames are not."""

    repeatable = True

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def info(self) -> Info:
        """Size and count, from the header."""
        import PIL.Image

        try:
            with PIL.Image.open(self.path, formats=("WEBP",)) as file:
                return Info((file.height, file.width), _MILLISECONDS, getattr(file, "n_frames", 1))
        except FileNotFoundError:
            raise ItemError(f"{self.name}: no such file") from None
        except BROKEN as error:
            raise ItemError(f"{self.name}: is not a WebP file that can be opened ({str(error)[:80]})") from None

    def count(self) -> int:
        """How many frames there are."""
        return self.info().count or 1

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on; their times are whole milliseconds."""
        import PIL.Image

        count, pts = self.count(), 0
        with PIL.Image.open(self.path, formats=("WEBP",)) as file:
            for index in range(count):
                try:
                    file.seek(index)
                    values = np.asarray(file.convert("RGBA"))
                except BROKEN as error:
                    raise ItemError(
                        f"{self.name}: frame {index} can't be decoded ({str(error)[:80]}); --until {index} stops there"
                    ) from None
                duration = int(file.info.get("duration") or _DEFAULT_STEP)
                if index >= start:
                    clear = values[..., 3].min() < 255
                    alpha = np.ascontiguousarray(values[..., 3]) if clear else None
                    pixels = np.ascontiguousarray(values[..., :3])
                    image = Image(pixels, (file.height, file.width), f"{self.name}: frame {index}", alpha)
                    yield Frame(index, number_name(index), pts, duration, image)
                pts += duration

    def backwards(self, start: int, stop: int) -> Iterator[Frame]:
        """A part at a time, each decoded from the beginning."""
        for first, last in chunks_backwards(start, stop, self.info().size):
            part = [frame for frame, _ in zip(self.frames(first), range(last - first), strict=False)]
            if len(part) != last - first:
                raise ItemError(f"{self.name}: has no frame {last - 1}; give a smaller number")
            yield from reversed(part)

"""Frames of video files (H.264, H.265, VP9, AV1, ProRes, GIF and what else FFmpeg decodes), through PyAV.

Frames are turned upright as the file's display matrix says, converted to sRGB bytes with the matrix that the file
names (BT.601 or BT.709 by size where it names none), and carry the alpha of files that have one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError
from segcli.core.image import Image
from segcli.io.video.frames import Frame, Info, chunks_backwards, number_name, size_words

_TRANSPARENT = ("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16", "pal8")
_KNOWN_MATRICES = (1, 4, 5, 6, 7, 9)  # AVCOL_SPC_*: those that the converter has
_BT709, _BT601 = 1, 5
_HD_ROWS = 720


class VideoFile:
    """The first video stream of a file; implements `segcli.io.video.frames.Source`."""

    repeatable = True

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def info(self) -> Info:
        """Size and times, from the header and the first frame."""
        with self._opened() as (container, stream):
            base, _ = _times(stream)
            count = stream.frames or _estimated(container, stream)
            aspect = stream.sample_aspect_ratio
            for frame in self._decoded(container, stream):
                height, width = frame.height, frame.width
                turned = _quarter_turns(frame) % 2
                if aspect and turned:
                    aspect = 1 / aspect
                size = (width, height) if turned else (height, width)
                return Info(size, base, count or None, None if not aspect or aspect == 1 else Fraction(aspect))
        raise ItemError(f"{self.name}: holds no frame that can be decoded")

    def count(self) -> int | None:
        """How many packets the stream has."""
        with self._opened() as (container, stream):
            try:
                return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)
            except _av_error():
                return None

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on. Those before it are decoded too: not every file can be entered exactly."""
        with self._opened() as (container, stream):
            base, step = _times(stream)
            size: tuple[int, int] | None = None
            before: int | None = None
            for index, decoded in enumerate(self._decoded(container, stream)):
                pts = _pts(decoded, base, step, index, before)
                before = pts
                size = self._same_size(decoded, size, index)
                if index >= start:
                    yield self._frame(decoded, index, pts, step)

    def backwards(self, start: int, stop: int) -> Iterator[Frame]:
        """A part at a time is entered at the key frame before it; where that is not exact, from the beginning."""
        starts = self._key_frames(stop)
        size = self.info().size
        for first, last in chunks_backwards(start, stop, size):
            part = None if starts is None else self._entered(first, last, starts)
            if part is None:
                part = list(_until(self.frames(first), last))
            if len(part) != last - first:
                raise ItemError(f"{self.name}: has no frame {last - 1}; give a smaller number")
            yield from reversed(part)

    def _key_frames(self, stop: int) -> tuple[list[int], list[int]] | None:
        """Times of all frames before number `stop`, and of the key frames; None when packets don't say them."""
        with self._opened() as (container, stream):
            times, keys = [], []
            try:
                for packet in container.demux(stream):
                    if packet.size:
                        if packet.pts is None:
                            return None
                        times.append(packet.pts)
                        if packet.is_keyframe:
                            keys.append(packet.pts)
            except _av_error():
                return None
        return sorted(times)[:stop], sorted(keys)

    def _entered(self, first: int, last: int, starts: tuple[list[int], list[int]]) -> list[Frame] | None:
        """Frames [first, last) by seeking, or None when what came is not exactly what the packets promise."""
        times, keys = starts
        wanted = {pts: index for index, pts in enumerate(times[:last]) if index >= first}
        if len(wanted) != last - first:
            return None
        before = [pts for pts in keys if pts <= times[first]]
        if not before:
            return None
        part: list[Frame] = []
        with self._opened() as (container, stream):
            _, step = _times(stream)
            try:
                container.seek(before[-1], stream=stream, backward=True)
                for decoded in self._decoded(container, stream):
                    index = wanted.get(decoded.pts)
                    if index is not None:
                        part.append(self._frame(decoded, index, decoded.pts, step))
                    if len(part) == len(wanted):
                        break
            except (ItemError, _av_error()):
                return None
        return part if [frame.index for frame in part] == list(range(first, last)) else None

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        import av

        av.logging.set_libav_level(av.logging.PANIC)  # it speaks of what it then raises too
        try:
            container = av.open(str(self.path))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise ItemError(f"{self.name}: {_open_reason(self.path, error)}") from None
        with container:
            streams = [s for s in container.streams.video if "attached_pic" not in str(s.disposition)]
            if not streams:
                raise ItemError(f"{self.name}: has no video in it; give a video, or a directory of pictures")
            stream = streams[0]
            stream.thread_type = "AUTO"
            yield container, stream

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Decoded frames in the order of their times. Raises ItemError at a packet that can't be decoded."""
        decoder = _decoder(stream)
        number = 0
        coming: list[int] = []  # times of packets whose frames have not come out yet, as a heap
        try:
            for packet in container.demux(stream):
                if packet.size and packet.is_corrupt:
                    raise ValueError("the packet is marked as damaged")
                if packet.size and packet.pts is not None and not packet.is_discard:
                    heappush(coming, packet.pts)
                for frame in decoder.decode(packet if packet.size else None):
                    _refuse_damage(frame)
                    while coming and frame.pts is not None and coming[0] <= frame.pts:
                        heappop(coming)
                    yield frame
                    number += 1
            if coming and number:  # decoders that work in several threads pass over errors at the end
                raise ValueError("its packet gives none")
        except (_av_error(), ValueError) as error:
            for frame in _still_whole(decoder, coming):
                yield frame
                number += 1
            what = f"{self.name}: frame {number} can't be decoded ({_reason(error)})"
            if not number:
                raise ItemError(f"{what}, the first one; give a whole video") from None
            raise ItemError(f"{what}; the {number} before it are fine: --until {number} stops there") from None

    def _same_size(self, frame: Any, size: tuple[int, int] | None, index: int) -> tuple[int, int]:
        if size not in (None, (frame.height, frame.width)):
            assert size is not None
            raise ItemError(
                f"{self.name}: frame {index} has {frame.width} x {frame.height} pixels, those before it "
                f"{size_words(size)}; cut the video there"
            )
        return frame.height, frame.width

    def _frame(self, decoded: Any, index: int, pts: int, step: int) -> Frame:
        pixels, alpha = _pixels(decoded)
        turns = _quarter_turns(decoded)
        if turns:
            pixels = np.ascontiguousarray(np.rot90(pixels, turns))
            alpha = None if alpha is None else np.ascontiguousarray(np.rot90(alpha, turns))
        image = Image(pixels, (pixels.shape[0], pixels.shape[1]), f"{self.name}: frame {index}", alpha)
        return Frame(index, number_name(index), pts, decoded.duration or step, image)


def _until(frames: Iterator[Frame], stop: int) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        if frame.index + 1 >= stop:
            return


def _decoder(stream: Any) -> Any:
    """The stream's decoder, which stops at damage; for VP8 and VP9 with alpha the one that knows of it."""
    import av

    context = stream.codec_context
    name = {"vp9": "libvpx-vp9", "vp8": "libvpx"}.get(context.name)
    if name is not None and stream.metadata.get("alpha_mode") == "1" and name in av.codecs_available:
        return av.CodecContext.create(name, "r")
    context.options = {"err_detect": "explode"}
    return context


def _still_whole(decoder: Any, coming: list[int]) -> Iterator[Any]:
    """What the decoder still holds after an error, up to the first frame that does not follow the one before."""
    try:
        for frame in decoder.decode(None):
            if not coming or frame.pts != heappop(coming) or frame.is_corrupt:
                return
            yield frame
    except _av_error():
        return


def _refuse_damage(frame: Any) -> None:
    if frame.is_corrupt:
        raise ValueError("it is damaged")


def _times(stream: Any) -> tuple[Fraction, int]:
    """The stream's time base and the usual distance between frames in units of it."""
    base = Fraction(stream.time_base) if stream.time_base else None
    rate = Fraction(stream.average_rate or stream.base_rate or 25)
    if base is None:
        return 1 / rate, 1
    return base, max(1, round(1 / rate / base))


def _pts(frame: Any, base: Fraction, step: int, index: int, before: int | None) -> int:
    """The frame's time; where the file has none, or steps back, one step after the frame before."""
    pts = frame.pts
    if pts is not None and frame.time_base and Fraction(frame.time_base) != base:
        pts = round(pts * Fraction(frame.time_base) / base)
    if pts is None or (before is not None and pts <= before):
        return 0 if before is None else before + step
    return int(pts)


def _estimated(container: Any, stream: Any) -> int:
    rate = stream.average_rate
    return int(container.duration / 1_000_000 * rate) if container.duration and rate else 0


def _quarter_turns(frame: Any) -> int:
    """Quarter turns counter-clockwise that put the frame upright."""
    return round(int(frame.rotation) / 90) % 4


def _pixels(frame: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    matrix = int(frame.colorspace)
    if matrix not in _KNOWN_MATRICES:
        matrix = _BT709 if frame.height >= _HD_ROWS else _BT601
    layout = "rgba" if frame.format.name.startswith(_TRANSPARENT) else "rgb24"
    # One thread: the reader has one of its own, and bytes must not depend on how many cores there are.
    values = frame.to_ndarray(format=layout, src_colorspace=_BT601 if matrix == 6 else matrix, threads=1)
    if layout == "rgb24":
        return values, None
    alpha = np.ascontiguousarray(values[..., 3])
    return np.ascontiguousarray(values[..., :3]), None if alpha.all() and alpha.min() == 255 else alpha


def _av_error() -> type[Exception]:
    import av

    error: type[Exception] = av.error.FFmpegError
    return error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()[:100]


def _open_reason(path: Path, error: Exception) -> str:
    if not path.exists():
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if path.is_file() and not path.stat().st_size:
        return "the file is empty (zero bytes)"
    return f"is not a video that can be opened ({_reason(error)}); give a video, or a directory of pictures"

"""Videos out: segments while the masks come, one file with the source's exact times at the end.

A segment is a finished file of some frames, begun with a key frame, so that a run that was stopped loses none of what
was encoded. Its frames have no times; `join` gives each one its own, taken from the source, without encoding again.
No frame refers to a later one, so that packets come in the order in which they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, StorageError
from segcli.io.atomic import describe

# The same number of threads on every machine: with another one an encoder writes other bytes.
_THREADS = "2"
_BT709 = 1


@dataclass(frozen=True)
class Coding:
    """How a video is encoded: encoder, its pixels for even and for odd sizes, and the file that holds it."""

    encoder: str
    even: str
    odd: str
    container: str
    suffix: str
    options: dict[str, str] = field(default_factory=dict)
    alpha: bool = False


_X264 = {"preset": "veryfast", "bf": "0", "forced-idr": "1", "threads": _THREADS}
_VP9 = {"deadline": "good", "cpu-used": "5", "crf": "24", "b": "0", "auto-alt-ref": "0", "lag-in-frames": "0"}

CODINGS = {
    "mask": Coding("libx264", "yuv420p", "yuv444p", "mp4", ".mp4", {**_X264, "crf": "10"}),
    "overlay": Coding("libx264", "yuv420p", "yuv444p", "mp4", ".mp4", {**_X264, "crf": "18"}),
    "prores": Coding(
        "prores_ks", "yuva444p10le", "yuva444p10le", "mov", ".mov",
        {"profile": "4444", "vendor": "apl0", "alpha_bits": "16", "threads": _THREADS}, alpha=True,
    ),
    "vp9": Coding("libvpx-vp9", "yuva420p", "yuva420p", "webm", ".webm", {**_VP9, "threads": _THREADS}, alpha=True),
}  # fmt: skip
"""By kind. H.264 keeps odd sizes only with whole colour, which some players refuse; even sizes play everywhere."""


class Segment:
    """A file that takes frames, uint8 [H, W, 3], or [H, W, 4] where the coding has alpha."""

    def __init__(self, path: Path, coding: Coding, size: tuple[int, int], aspect: Fraction | None = None) -> None:
        import av

        self.path, self.coding, self._count = path, coding, 0
        height, width = size
        try:
            self._container = av.open(str(path), "w", format="matroska")
        except OSError as error:
            raise StorageError(f"{path}: can't be written: {describe(error)}") from None
        stream: Any = self._container.add_stream(coding.encoder, rate=25, options=dict(coding.options))
        stream.width, stream.height = width, height
        stream.pix_fmt = _layout(coding, height, width)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1  # MPEG
        self._stream = stream

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Encode one frame. Raises StorageError."""
        import av

        layout = "rgba" if self.coding.alpha else "rgb24"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=layout)
        frame = frame.reformat(
            format=self._stream.pix_fmt, dst_colorspace=_BT709, src_color_range=2, dst_color_range=1, threads=1
        )
        frame.pts, frame.time_base = self._count, Fraction(1, 25)
        self._count += 1
        self._mux(frame)

    def close(self) -> None:
        """Finish the file and put it on the disk. Raises StorageError."""
        from segcli.io import atomic

        self._mux(None)
        try:
            self._container.close()
            with self.path.open("rb") as file:
                atomic.os_fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{self.path}: can't be written: {describe(error)}") from None

    def discard(self) -> None:
        """Give the file up as it is."""
        import contextlib

        with contextlib.suppress(OSError, ValueError):
            self._container.close()
        self.path.unlink(missing_ok=True)

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except OSError as error:
            raise StorageError(f"{self.path}: can't be written: {describe(error)}") from None


def _layout(coding: Coding, height: int, width: int) -> str:
    return coding.odd if height % 2 or width % 2 else coding.even


@dataclass(frozen=True)
class Times:
    """When the frames of a video are shown: (pts, duration) each, in units of `base`; duration 0 is unknown.

    offset: what is 0 here is so many units later in the source.
    """

    base: Fraction
    shown: Iterable[tuple[int, int]]
    offset: int = 0


def join(segments: Sequence[Path], times: Times, coding: Coding, target: Path, audio: Path | None = None) -> bool:
    """One file out of segments, with these times, and with the sound of `audio` during them; nothing is encoded again.

    Returns False when sound was asked for and there is none, or none that this kind of file can hold. Raises
    StorageError, and ItemError when the segments don't hold as many frames as there are times.
    """
    import av

    # A timescale of the base's own denominator makes every time exact; WebM has milliseconds whatever is asked.
    # Bit-exact: the same frames are the same file, without the random numbers that Matroska gives its tracks.
    options = {"fflags": "+bitexact"}
    if coding.container != "webm":
        options["video_track_timescale"] = str(times.base.denominator)
    try:
        with ExitStack() as stack:
            out = stack.enter_context(av.open(str(target), "w", format=coding.container, options=options))
            with av.open(str(segments[0])) as first:
                video = out.add_stream_from_template(first.streams.video[0])
                video.time_base = times.base
                video.pix_fmt = _layout(coding, video.height, video.width)  # a VP9 decoder would not tell of alpha
            heard = None
            if audio is not None:
                source = stack.enter_context(av.open(str(audio)))
                stream = _sound_stream(out, source)
                heard = None if stream is None else _Sound(source, stream, times.offset * times.base)
            begin, end = None, Fraction(0)
            for packet, (pts, duration) in _timed(_packets(segments), iter(times.shown), target):
                begin = pts * times.base if begin is None else begin
                end = (pts + duration) * times.base
                packet.stream, packet.time_base = video, times.base
                packet.pts = packet.dts = pts
                packet.duration = duration
                if heard is not None:
                    out.mux(heard.until(pts * times.base, begin))
                out.mux(packet)
            if heard is not None:
                out.mux(heard.until(end, begin or Fraction(0)))
    except OSError as error:
        raise StorageError(f"{target}: can't be written: {describe(error)}") from None
    return audio is None or (heard is not None and not heard.broken)


def _timed(
    packets: Iterator[Any], shown: Iterator[tuple[int, int]], target: Path
) -> Iterator[tuple[Any, tuple[int, int]]]:
    """Each packet with its time. Raises ItemError when one side ends first."""
    while True:
        packet, time = next(packets, None), next(shown, None)
        if packet is None and time is None:
            return
        if packet is None or time is None:
            raise ItemError(f"{target}: its parts don't hold the frames they should; remove the output and run again")
        yield packet, time


def _packets(segments: Sequence[Path]) -> Iterator[Any]:
    import av

    for path in segments:
        with av.open(str(path)) as part:
            for packet in part.demux(part.streams.video[0]):
                if packet.size:
                    yield packet


def _sound_stream(out: Any, source: Any) -> Any:
    """A stream of `out` for the first sound of `source`; None without sound, or for one that it can't hold."""
    streams = source.streams.audio
    if not streams or (out.format.name == "webm" and streams[0].codec_context.name not in ("opus", "vorbis")):
        return None
    try:
        return out.add_stream_from_template(streams[0])
    except ValueError:
        return None


class _Sound:
    """Packets of sound, from when the first frame is shown until when they are asked for, `offset` seconds earlier.

    broken: the source's sound ended in an error.
    """

    broken = False

    def __init__(self, source: Any, stream: Any, offset: Fraction) -> None:
        self._packets = source.demux(source.streams.audio[0])
        self._stream, self._offset = stream, offset
        self._waiting: Any = None

    def until(self, end: Fraction, begin: Fraction) -> list[Any]:
        """Those that begin before `end` (seconds) and not before `begin`, each once."""
        found = []
        while (packet := self._waiting or self._next()) is not None:
            self._waiting = None
            base = Fraction(packet.time_base)
            at = packet.pts * base - self._offset
            if at >= end:
                self._waiting = packet
                break
            if at + packet.duration * base >= begin:  # the one just before primes the decoder
                shift = round(self._offset / base)
                packet.pts -= shift
                packet.dts = packet.pts if packet.dts is None else packet.dts - shift
                packet.stream = self._stream
                found.append(packet)
        return found

    def _next(self) -> Any:
        """The next packet that has a time; None at the end, or where the source is broken."""
        import av

        try:
            return next((packet for packet in self._packets if packet.pts is not None), None)
        except av.error.FFmpegError:
            self.broken = True
            return None

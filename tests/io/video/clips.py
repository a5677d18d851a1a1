"""Little videos, drawn and encoded when a test needs them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image

SIZE = (48, 64)
BACKGROUND = (30, 60, 40)


def disc(
    index: int, size: tuple[int, int] = SIZE, *, start: float = 12, speed: float = 1.0, row: float = 0.5
) -> np.ndarray:
    """A disc that moves to the right: bool [H, W]."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    radius = size[0] / 6
    return (columns - start - speed * index) ** 2 + (rows - row * size[0]) ** 2 <= radius**2


def picture(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A red disc whose red fades from frame to frame, and a blue one below that moves more slowly."""
    pixels = np.empty((*size, 3), np.uint8)
    pixels[:] = BACKGROUND
    pixels[disc(index, size, row=0.3)] = (240 - index, 40, 30)
    pixels[disc(index, size, row=0.75, speed=0.4)] = (30, 60, 230)
    return pixels


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv444p",
    times: Sequence[int] | None = None,
    base: Fraction = Fraction(1, 25),
    options: dict[str, str] | None = None,
    sound: float = 0,
    aspect: Fraction | None = None,
) -> Path:
    """A video of frames uint8 [H, W, 3 or 4], shown at `times` (in units of `base`), with seconds of sound."""
    options = options if options is not None else ({"crf": "4", "preset": "ultrafast"} if codec == "libx264" else {})
    scale = {"video_track_timescale": str(base.denominator)} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=scale) as file:
        stream = file.add_stream(codec, rate=Fraction(1, 1) / base if base.numerator == 1 else 25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        tone = file.add_stream("aac", rate=8000) if sound else None
        if tone is not None:
            tone.layout = "mono"
        for index, each in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(each, format="rgba" if each.shape[2] == 4 else "rgb24")
            frame.pts, frame.time_base = index if times is None else times[index], base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if tone is not None:
            wave = (np.sin(np.arange(int(8000 * sound)) ** 1.3 / 80) * 9000).astype(np.int16)[None]
            heard = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            heard.sample_rate, heard.pts = 8000, 0
            file.mux(tone.encode(heard))
            file.mux(tone.encode(None))
    return path


def clip(path: Path, count: int = 12, size: tuple[int, int] = SIZE, **more) -> Path:
    """A video of `picture`."""
    return write_video(path, [picture(index, size) for index in range(count)], **more)


def folder(
    path: Path, count: int = 12, size: tuple[int, int] = SIZE, name: Callable[[int], str] = "{:05d}.png".format
) -> Path:
    """A directory of `picture`, lossless."""
    path.mkdir(parents=True)
    for index in range(count):
        PIL.Image.fromarray(picture(index, size)).save(path / name(index))
    return path


def write_mask(path: Path, ids: np.ndarray, *, indexed: bool = True) -> Path:
    """Ids [H, W] as an indexed or grey PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.fromarray(ids.astype(np.uint8))
    if indexed:
        image = image.convert("P") if image.mode != "P" else image
        image.putpalette([value for k in range(256) for value in (k, 255 - k, k * 7 % 256)])
        image.frombytes(ids.astype(np.uint8).tobytes())
    image.save(path)
    return path


def both_discs(size: tuple[int, int] = SIZE, index: int = 0) -> np.ndarray:
    """Ids of the discs of `picture`: 1 and 2."""
    ids = np.zeros(size, np.uint8)
    ids[disc(index, size, row=0.3)] = 1
    ids[disc(index, size, row=0.75, speed=0.4)] = 2
    return ids


def turned(path: Path, target: Path) -> Path:
    """The MP4 with a display matrix that turns it a quarter clockwise, as phones write it."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    target.write_bytes(data)
    return target


def damaged(path: Path, target: Path, frame: int) -> Path:
    """The same video with the packet of a frame (in order of decoding) made unreadable."""
    with av.open(str(path)) as file:
        packets = sorted((packet.pos, packet.size) for packet in file.demux(video=0) if packet.size)
    data = bytearray(path.read_bytes())
    begin, size = packets[frame]
    data[begin + 4 : begin + size] = bytes(byte ^ 0x5A for byte in data[begin + 4 : begin + size])
    target.write_bytes(data)
    return target


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks."""
    return float((a & b).sum() / max((a | b).sum(), 1))

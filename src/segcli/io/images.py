"""Photos and mask files from bytes, upright, whatever their mode; a broken one is one line and never a traceback."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from segcli.core.errors import ItemError, UsageError
from segcli.core.image import Image
from segcli.core.rle import Rle, encode
from segcli.io.remote import Remote, Source

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "tif", "tiff"),
        *("bmp", "dib", "gif", "ppm", "pgm", "pbm", "pnm", "avif"),
    )
)
"""What counts as a photo in a directory; a file that is named itself is read whatever its suffix."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "AVIF")
MAX_PIXELS = 256_000_000
MAX_PIXELS_VARIABLE = "SEG_MAX_PIXELS"

ORIENTATION = 0x0112
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
# A TIFF file's own directory doubles as its EXIF block; of it, only what describes the photo may enter another file.
_DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)

# Whatever Pillow's parsers are known to raise on damaged bytes. All of it means "this file is broken".
BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ArithmeticError,
    AssertionError,
    struct.error,
    zlib.error,
    PIL.Image.DecompressionBombError,
)

# The limit below is ours, decided before a pixel is decoded and explained in its message.
PIL.Image.MAX_IMAGE_PIXELS = None
# Pillow warns about odd metadata in files that it reads well; a batch over a directory has no use for that.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # it logs some errors besides raising them


def read_bytes(path: Source, name: str) -> bytes:
    """The file's bytes. Raises ItemError with one line that names the file and the reason."""
    with _reading(path, name):
        data = path.read_bytes()
    if not data:
        raise ItemError(f"{name}: the file is empty (zero bytes)")
    return data


def open_bytes(path: Path, name: str) -> BinaryIO:
    """The file, opened, for what is too large to be held. Raises ItemError as `read_bytes` does."""
    with _reading(path, name):
        file = path.open("rb")
        if path.stat().st_size == 0:
            file.close()
            raise ItemError(f"{name}: the file is empty (zero bytes)")
    return file


@contextlib.contextmanager
def _reading(path: Source, name: str) -> Iterator[None]:
    """Turn what the operating system raises at a file into ItemError."""
    try:
        yield
    except IsADirectoryError:
        closed = "" if isinstance(path, Remote) or os.access(path, os.R_OK | os.X_OK) else " that can't be looked into"
        raise ItemError(f"{name}: is a directory{closed}") from None
    except FileNotFoundError:
        dangling = path.is_symlink()
        raise ItemError(f"{name}: {'a link to a file that does not exist' if dangling else 'no such file'}") from None
    except PermissionError:
        raise ItemError(f"{name}: no permission to read it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ItemError(f"{name}: can't be read: {reason.lower()}") from None
    except MemoryError:
        raise ItemError(f"{name}: too large for this machine's memory") from None


def read_image(source: Path | bytes, name: str, max_side: int | None = None, *, max_pixels: int | None = None) -> Image:
    """Decode a photo and turn it upright.

    With `max_side`, a JPEG is decoded at the smallest scale (1/2, 1/4, 1/8) whose longest side still has that many
    pixels; `Image.size` stays the full upright size. `max_pixels` bounds width times height as the header states
    them (default SEG_MAX_PIXELS, or 256 million). Raises ItemError: one line, the file and the reason.
    """
    data = source if isinstance(source, bytes) else read_bytes(source, name)
    if not data:
        raise ItemError(f"{name}: the file is empty (zero bytes)")
    try:
        with _opened(data, name, max_pixels) as picture:
            full = picture.size
            if max_side is not None and picture.format in ("JPEG", "MPO"):
                _draft(picture, max_side)
            picture.load()
            icc = picture.info.get("icc_profile")
            exif, orientation = _exif(picture)
            if picture.format == "TIFF":  # Pillow has turned it already, and says so in `size` before decoding
                full = picture.size
            decoded = _to_eight_bits(picture, name)
            if orientation in _UPRIGHT:
                decoded = decoded.transpose(_UPRIGHT[orientation])
                full = full[::-1] if orientation >= 5 else full
            pixels = np.asarray(decoded)
    except ItemError:
        raise
    except MemoryError:
        raise ItemError(f"{name}: too large for this machine's memory") from None
    except BROKEN as error:
        raise ItemError(f"{name}: {_reason(error, data)}") from None
    alpha = None
    if pixels.shape[2] == 4:
        alpha = np.ascontiguousarray(pixels[..., 3])
        pixels = np.ascontiguousarray(pixels[..., :3])
    if not isinstance(icc, bytes) or icc[16:20] != b"RGB ":  # a grey or CMYK profile does not describe RGB bytes
        icc = None
    return Image(pixels=pixels, size=(full[1], full[0]), name=name, alpha=alpha, icc=icc, exif=exif)


def read_size(source: Path | bytes, name: str) -> tuple[int, int]:
    """The upright (H, W) of a photo from its header alone. Raises ItemError."""
    data = source if isinstance(source, bytes) else read_bytes(source, name)
    try:
        with _opened(data, name, None) as picture:
            if picture.format == "TIFF":  # turned by Pillow while decoding
                picture.load()
            orientation = _exif(picture)[1]
            width, height = picture.size
    except ItemError:
        raise
    except (MemoryError, *BROKEN) as error:
        raise ItemError(f"{name}: {_reason(error, data)}") from None
    return (width, height) if orientation in _UPRIGHT and orientation >= 5 else (height, width)


def read_mask(source: Path | bytes, name: str, size: tuple[int, int] | None = None) -> Rle:
    """A painted mask as a prompt. Raises ItemError when it can't be read or is not of `size` (H, W).

    Inside is: a non-zero index of an indexed file; otherwise alpha of at least 128 where the file is transparent
    anywhere; otherwise a brightest channel of at least 128, or any but 0 when nothing in the file is that bright
    (files that hold 0 and 1, or ids).
    """
    values, indexed = read_samples(source, name)
    if indexed:
        inside = values != 0
    else:
        if values.ndim == 3 and values.shape[2] in (2, 4) and values[..., -1].min() < 128:
            values = values[..., -1]
        elif values.ndim == 3:
            values = values[..., : values.shape[2] - (values.shape[2] in (2, 4))].max(axis=2)
        white = 1 << (values.dtype.itemsize * 8)
        inside = values >= white // 2 if values.max(initial=0) >= white // 2 else values != 0
    if size is not None and inside.shape != size:
        got = f"{inside.shape[1]} x {inside.shape[0]}"
        raise ItemError(f"{name}: the mask has {got} pixels, the photo has {size[1]} x {size[0]}")
    return encode(inside)


def read_indexed(source: Path | bytes, name: str) -> NDArray[np.uint16]:
    """Object ids uint16 [H, W] of an indexed or grey file (the grey value is the id). Raises ItemError."""
    values, _ = read_samples(source, name)
    if values.ndim != 2:
        raise ItemError(f"{name}: holds colours, not ids: give an indexed or grey PNG")
    return values.astype(np.uint16)


def read_samples(source: Path | bytes, name: str) -> tuple[NDArray[Any], bool]:
    """The file's stored samples (uint8 or uint16; [H, W] or [H, W, C]) and whether they are palette indices.

    Raises ItemError.
    """
    data = source if isinstance(source, bytes) else read_bytes(source, name)
    try:
        with _opened(data, name, None) as picture:
            picture.load()
            orientation = _exif(picture)[1]
            mode = picture.mode
            kept: PIL.Image.Image = picture
            if mode == "1":
                kept = picture.convert("L")
            elif mode not in ("L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I"):
                kept = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
            if orientation in _UPRIGHT:
                kept = kept.transpose(_UPRIGHT[orientation])
            values = np.asarray(kept)
    except ItemError:
        raise
    except (MemoryError, *BROKEN) as error:
        raise ItemError(f"{name}: {_reason(error, data)}") from None
    if values.dtype.itemsize > 1:
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ItemError(f"{name}: the mask holds values outside of 0 to 65535")
        values = values.astype(np.uint16)
    return values, mode == "P"


def _opened(data: bytes, name: str, max_pixels: int | None) -> PIL.Image.Image:
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        raise ItemError(f"{name}: HEIC is not read: save it as JPEG or PNG first")
    picture = PIL.Image.open(BytesIO(data), formats=_formats())
    width, height = picture.size
    limit = pixel_limit() if max_pixels is None else max_pixels
    if width < 1 or height < 1:
        raise ItemError(f"{name}: the header says {width} x {height} pixels")
    if width * height > limit:
        raise ItemError(
            f"{name}: {width} x {height} pixels are more than the limit of {limit}: "
            f"if you trust the file, set {MAX_PIXELS_VARIABLE}={width * height}"
        )
    return picture


@functools.cache
def _formats() -> list[str]:
    """Those of FORMATS that this build of Pillow has. No others, so that a photo can't wake a rarely tested parser."""
    PIL.Image.init()
    # libtiff prints what it finds wrong straight to stderr, without the file's name; Pillow raises it anyway. Builds
    # of Pillow that hide libtiff's symbols keep their extra line.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        set_handler = ctypes.CDLL(import_module("PIL._imaging").__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)
    return [name for name in FORMATS if name in PIL.Image.OPEN]


def pixel_limit() -> int:
    """How many pixels a photo may have: SEG_MAX_PIXELS, or 256 million. Raises UsageError."""
    text = os.environ.get(MAX_PIXELS_VARIABLE)
    if text is None:
        return MAX_PIXELS
    if not text.isdecimal() or not int(text):
        raise UsageError(f"{MAX_PIXELS_VARIABLE}={text} is no number of pixels: give one such as {MAX_PIXELS}")
    return int(text)


def _draft(picture: PIL.Image.Image, max_side: int) -> None:
    """Ask libjpeg for a smaller decode whose longest side has `max_side` pixels or more."""
    width, height = picture.size
    longest = max(width, height)
    if max_side < longest:
        picture.draft(picture.mode, (math.ceil(width * max_side / longest), math.ceil(height * max_side / longest)))


def _exif(picture: PIL.Image.Image) -> tuple[bytes | None, int]:
    """The EXIF block with the orientation reset to 1 (None when there is none), and the orientation that it had."""
    try:
        exif = picture.getexif()
        orientation = exif.get(ORIENTATION, 1)
        if picture.format == "TIFF":
            kept = PIL.Image.Exif()
            kept.update({tag: exif[tag] for tag in _DESCRIPTIVE if tag in exif})
            exif, orientation = kept, 1
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        block = exif.tobytes() if len(exif) else None
    except BROKEN:  # the pixels are fine; a photo with a broken EXIF block is a photo without one
        return None, 1
    return block, orientation if isinstance(orientation, int) else 1


def _to_eight_bits(picture: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """The picture as RGB, or RGBA where it has transparency."""
    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        grey = PIL.Image.fromarray(_wide_to_grey(np.asarray(picture), mode, name))
        picture_key = picture.info.get("transparency")
        if isinstance(picture_key, int) and mode.startswith("I;16"):
            clear = np.asarray(picture) == picture_key
            return PIL.Image.merge("RGBA", (grey, grey, grey, PIL.Image.fromarray(~clear * np.uint8(255))))
        return grey.convert("RGB")
    if picture.has_transparency_data:
        return picture if mode == "RGBA" else picture.convert("RGBA")
    return picture if mode == "RGB" else picture.convert("RGB")


def _wide_to_grey(samples: NDArray[Any], mode: str, name: str) -> NDArray[np.uint8]:
    """Grey samples of more than 8 bits as uint8: 16 bits are scaled, floats must lie in 0..1."""
    low, high = float(samples.min()), float(samples.max())
    if mode == "F":
        if not (low >= 0 and high <= 1):  # also false for NaN
            raise ItemError(f"{name}: floating-point samples from {low:g} to {high:g}: save it with 8 or 16 bits")
        return np.round(samples * 255).astype(np.uint8)
    if low < 0 or high > 65535:
        raise ItemError(f"{name}: 32-bit samples from {low:g} to {high:g}: save it with 8 or 16 bits")
    return ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _reason(error: BaseException, data: bytes) -> str:
    """Why it can't be decoded, in one line."""
    if isinstance(error, MemoryError):
        return "too large for this machine's memory"
    if isinstance(error, PIL.UnidentifiedImageError):
        if data[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", b"RIFF", b"GIF8", b"II*\0", b"MM\0*"):
            return "its header is broken"
        if _is_text(data[:512]):
            return "is text, not a photo"
        return "is not a photo in a format that is read here (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF)"
    text = " ".join(str(error).split())
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "the file is truncated"
    return f"the file is damaged ({text[:120]})" if text else "the file is damaged"


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in head)

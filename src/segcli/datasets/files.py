"""Pixels of photos and masks as numpy arrays. Pillow is imported on first use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, StorageError


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A photo as uint8 [H, W, 3], pixels as stored (a dataset's masks belong to the stored orientation)."""
    with _opened(path) as image:
        return np.array(image.convert("RGB"))


def stored_size(path: Path) -> tuple[int, int]:
    """(H, W) of a photo's pixels as stored; only the header is read. Raises ItemError."""
    with _recognised(path) as image:
        return image.height, image.width


def read_raw(path: Path) -> NDArray[Any]:
    """A mask file as it is stored: palette indices, grey values or channels; [H, W] or [H, W, C]."""
    with _opened(path) as image:
        return np.array(image)


def read_indices(path: Path) -> NDArray[Any]:
    """A single-channel mask file: palette indices or grey values [H, W].

    Raises ItemError for a file with colour channels.
    """
    raw = read_raw(path)
    if raw.ndim != 2:
        raise ItemError(f"{path}: expected one value a pixel, found {raw.shape[2]} channels; save it as a palette PNG")
    return raw.astype(np.uint8) if raw.dtype == np.bool_ else raw


def require_directory(path: Path, what: str) -> Path:
    """`path`, or StorageError that says what should lie there."""
    if not path.is_dir():
        raise StorageError(f"{path}: no such folder; {what}")
    return path


def require_file(path: Path, what: str) -> Path:
    """`path`, or StorageError that says what should lie there."""
    if not path.is_file():
        raise StorageError(f"{path}: no such file; {what}")
    return path


def _opened(path: Path) -> Any:
    image = _recognised(path)
    try:
        image.load()
    except _broken() as error:
        raise ItemError(f"{path}: can't be read as an image ({error})") from None
    return image


def _recognised(path: Path) -> Any:
    from PIL import Image

    try:
        return Image.open(path)
    except FileNotFoundError:
        raise ItemError(f"{path}: no such file") from None
    except _broken() as error:
        raise ItemError(f"{path}: can't be read as an image ({error})") from None


def _broken() -> tuple[type[Exception], ...]:
    from PIL import Image, UnidentifiedImageError

    return (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError)

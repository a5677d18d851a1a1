"""`cutout`: the object itself on transparency or on a background, as PNG or WebP, with the photo's profile and EXIF."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from segcli.core.errors import ItemError
from segcli.core.image import Image
from segcli.io.formats.alpha import opacities
from segcli.io.formats.base import PerPhoto, full_size
from segcli.io.formats.contract import Answered, Backdrop, Options, Rendered
from segcli.io.images import read_image
from segcli.io.png import write_png

_WEBP_SIDE = 16383


def cut(image: Image, alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [h, w, 4]: the photo with `alpha` times its own transparency; nothing is left of it where that is 0."""
    if image.alpha is not None:
        alpha = multiplied(alpha, image.alpha)
    rgba = np.empty((*alpha.shape, 4), dtype=np.uint8)
    np.multiply(image.pixels, (alpha != 0).view(np.uint8)[..., None], out=rgba[..., :3])
    rgba[..., 3] = alpha
    return rgba


def multiplied(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """a * b / 255, rounded."""
    return ((a.astype(np.uint16) * b + 127) // 255).astype(np.uint8)


def flattened(rgba: NDArray[np.uint8], background: tuple[int, int, int] | Backdrop) -> NDArray[np.uint8]:
    """uint8 [h, w, 3]: a cut-out laid on one colour, or on a picture that covers it. Raises ItemError (the picture)."""
    flat = np.empty((*rgba.shape[:2], 3), dtype=np.uint8)
    opacity = rgba[..., 3].astype(np.uint16)
    behind: Sequence[int | NDArray[np.uint8]]
    if isinstance(background, Backdrop):
        behind = tuple(np.moveaxis(covering(background, (flat.shape[0], flat.shape[1])), 2, 0))
    else:
        behind = background
    for channel, value in enumerate(behind):
        mixed = rgba[..., channel] * opacity
        mixed += (255 - opacity) * np.asarray(value, dtype=np.uint16) + 127
        flat[..., channel] = mixed // 255
    return flat


def covering(background: Backdrop, size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: the middle of a picture, scaled so that it just covers `size` (H, W). Raises ItemError."""
    pixels = _read(background)
    height, width = pixels.shape[:2]
    scale = min(width / size[1], height / size[0])
    part = (size[1] * scale, size[0] * scale)
    left, top = max((width - part[0]) / 2, 0), max((height - part[1]) / 2, 0)
    picture = PIL.Image.fromarray(pixels).resize(
        (size[1], size[0]),
        PIL.Image.Resampling.BICUBIC,
        box=(left, top, min(left + part[0], width), min(top + part[1], height)),
    )
    return np.asarray(picture)


@functools.lru_cache(maxsize=1)
def _read(background: Backdrop) -> NDArray[np.uint8]:
    name = f"--background {background.path}"
    image = read_image(background.path, name)
    return image.pixels


def tight(alpha: NDArray[np.uint8], margin: int) -> tuple[slice, slice] | None:
    """Rows and columns of what is not transparent, `margin` pixels wider within the photo; None when nothing is."""
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if not rows.size:
        return None
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )


class Cutout(PerPhoto):
    """Background removal."""

    name = "cutout"
    needs_photo = True
    joins = False

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One file a mask, or one for all with `union`.

        No target gives an empty picture, and no file with `crop`, which has nothing to be tight around. Raises
        ItemError (no soft edges to be had, too large for WebP).
        """
        files = []
        for one in opacities(answered, options):
            image, alpha = full_size(answered.image), one.alpha
            if one.pixels is not None:
                image = replace(image, pixels=one.pixels)
            if options.crop:
                region = tight(alpha, options.margin)
                if region is None:
                    continue
                own = None if image.alpha is None else image.alpha[region]
                pixels = image.pixels[region]
                image = Image(pixels, (pixels.shape[0], pixels.shape[1]), image.name, own, image.icc, image.exif)
                alpha = alpha[region]
            rgba = cut(image, alpha)
            picture = rgba if options.background is None else flattened(rgba, options.background)
            files.append(
                Rendered(_encoded(picture, image, options), f".{options.image_type}", self.name, one.n, one.label)
            )
        return files


def _encoded(picture: NDArray[np.uint8], image: Image, options: Options) -> bytes:
    if options.image_type == "png":
        return write_png(picture, icc=image.icc, exif=image.exif)
    if max(picture.shape[:2]) > _WEBP_SIDE:
        raise ItemError(f"{image.name}: WebP holds at most {_WEBP_SIDE} pixels a side: write PNG")
    file = BytesIO()
    kept = {"icc_profile": image.icc or b"", "exif": image.exif or b""}
    PIL.Image.fromarray(picture).save(file, "WEBP", quality=92, method=2, alpha_quality=100, **kept)
    return file.getvalue()


FORMAT = Cutout()

"""Small pictures of every kind, made in memory."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import PIL.Image

SHAPE = (24, 36)  # H, W


def pixels(shape=SHAPE, seed=0):
    """uint8 [H, W, 3]: smooth, so that lossy formats keep it, and without symmetry, so that turns show."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    rng = np.random.default_rng(seed)
    base = np.stack([x * 255 // max(shape[1] - 1, 1), y * 255 // max(shape[0] - 1, 1), (x + y) * 3 % 256], axis=2)
    return (base * 0.9 + rng.uniform(0, 20)).astype(np.uint8)


def saved(picture, kind, **options):
    """The bytes of a picture (or array) in a format."""
    if isinstance(picture, np.ndarray):
        picture = PIL.Image.fromarray(picture)
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def every_kind():
    """Name -> bytes: one small file of every format and mode that is read."""
    rgb = PIL.Image.fromarray(pixels())
    grey16 = pixels()[..., 0].astype(np.uint16) * 257
    rgba = rgb.copy()
    rgba.putalpha(PIL.Image.fromarray(pixels()[..., 1]))
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return {
        "rgb.jpg": saved(rgb, "JPEG"),
        "progressive.jpg": saved(rgb, "JPEG", progressive=True),
        "exif.jpg": saved(rgb, "JPEG", exif=exif),
        "grey.jpg": saved(rgb.convert("L"), "JPEG"),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "one.png": saved(rgb.convert("1"), "PNG"),
        "grey.png": saved(rgb.convert("L"), "PNG"),
        "grey16.png": saved(grey16, "PNG"),
        "greyalpha.png": saved(rgba.convert("LA"), "PNG"),
        "palette.png": saved(rgb.convert("P"), "PNG"),
        "palette4.png": saved(rgb.quantize(9), "PNG", bits=4),
        "clearpalette.png": saved(rgb.quantize(9), "PNG", transparency=3),
        "rgb.png": saved(rgb, "PNG"),
        "exif.png": saved(rgb, "PNG", exif=exif),
        "rgba.png": saved(rgba, "PNG"),
        "rgb.webp": saved(rgb, "WEBP"),
        "rgba.webp": saved(rgba, "WEBP", lossless=True),
        "rgb.tif": saved(rgb, "TIFF"),
        "lzw.tif": saved(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tif": saved(rgb, "TIFF", compression="tiff_deflate"),
        "cmyk.tif": saved(rgb.convert("CMYK"), "TIFF"),
        "grey16.tif": saved(grey16, "TIFF"),
        "exif.tif": saved(rgb, "TIFF", exif=exif),
        "rgb.bmp": saved(rgb, "BMP"),
        "palette.gif": saved(rgb, "GIF"),
        "animated.gif": saved(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)]),
        "rgb.ppm": saved(rgb, "PPM"),
        "tiny.png": saved(pixels((1, 1)), "PNG"),
        "tiny.jpg": saved(pixels((1, 1)), "JPEG"),
    }

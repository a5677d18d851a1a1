from __future__ import annotations

from io import BytesIO

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segcli.core.colors import davis_palette
from segcli.io import png
from segcli.io.png import write_png

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([None, 1, 2, 3, 4])).map(
    lambda s: s[:2] if s[2] is None else s
)


def back(data):
    with PIL.Image.open(BytesIO(data)) as picture:
        picture.load()
        return picture


@given(shapes.flatmap(lambda shape: arrays(np.uint8, shape)), st.sampled_from([1, 7, 1 << 22]))
def test_pillow_reads_what_is_written_whatever_the_bands(pixels, band):
    before, png._BAND = png._BAND, band
    try:
        picture = back(write_png(pixels))
    finally:
        png._BAND = before
    assert (np.asarray(picture).reshape(pixels.shape) == pixels).all()


def test_indexed_files_keep_index_and_colours():
    indices = np.arange(200, dtype=np.uint8).reshape(10, 20)
    picture = back(write_png(indices, palette=davis_palette()))
    assert picture.mode == "P"
    assert (np.asarray(picture) == indices).all()
    assert (np.array(picture.getpalette()).reshape(-1, 3) == davis_palette()).all()


@pytest.mark.parametrize("marker", [b"", b"Exif\0\0"])
def test_the_profile_and_exif_are_kept(marker):
    exif = PIL.Image.Exif()
    exif[0x010E] = "kept"
    block = marker + exif.tobytes().removeprefix(b"Exif\0\0")
    picture = back(write_png(np.zeros((2, 2, 4), np.uint8), icc=b"a profile", exif=block))
    assert picture.info["icc_profile"] == b"a profile"
    assert picture.getexif()[0x010E] == "kept"


def test_opencv_reads_it_too():
    import cv2

    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 4), np.uint8)
    read = cv2.imdecode(np.frombuffer(write_png(pixels), np.uint8), cv2.IMREAD_UNCHANGED)
    assert (read[..., [2, 1, 0, 3]] == pixels).all()

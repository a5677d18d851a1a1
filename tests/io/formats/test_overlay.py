from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import PIL.Image
import pytest
from tests.io.formats.answers import SIZE, answered, blobs
from tests.io.pictures import pixels

from segcli.core.colors import overlay_color
from segcli.io.formats import get_format
from segcli.io.formats.contract import Options
from segcli.io.formats.overlay import draw


def test_far_from_every_mask_the_photo_is_as_it_was():
    from scipy import ndimage

    mask = np.zeros((300, 400), dtype=bool)
    mask[100:200, 150:250] = True
    drawn = draw(pixels(mask.shape), answered([mask]).prediction)
    away = ~ndimage.maximum_filter(mask, 9)
    assert (drawn[away] == pixels(mask.shape)[away]).all()
    inner = ndimage.minimum_filter(mask, 9)
    moved = np.abs(drawn[inner].astype(int) - overlay_color(0)).sum()
    assert moved < np.abs(pixels(mask.shape)[inner].astype(int) - overlay_color(0)).sum()
    assert (drawn[100, 160:240] == overlay_color(0)).all()  # the outline, on the very border


def test_the_mask_named_first_lies_on_top():
    mask = np.zeros((300, 400), dtype=bool)
    mask[50:250, 50:350] = True
    below = np.zeros_like(mask)
    below[100:290, 10:390] = True
    drawn = draw(pixels(mask.shape), answered([mask, below]).prediction)
    assert (drawn[50, 200] == overlay_color(0)).all()
    assert (drawn[150, 50] == overlay_color(0)).all()


def test_the_file_is_a_picture_of_the_photos_size():
    (file,) = get_format("overlay").render(answered(labels=("cat", None, "漢字" * 30)), Options())
    assert PIL.Image.open(BytesIO(file.data)).size == SIZE[::-1]
    assert file.extension == ".jpg"


def test_names_are_written_on_the_masks():
    plain, named = answered(blobs(count=1)), answered(blobs(count=1), labels=("cat",))
    assert (draw(plain.image.pixels, plain.prediction) != draw(named.image.pixels, named.prediction)).any()


@pytest.mark.parametrize("count", [60, 61])
def test_more_names_than_fit_are_left_out(count):
    mask = np.zeros(SIZE, dtype=bool)
    mask[20:70, 20:100] = True
    one = answered([mask] * count)
    named = replace(one.prediction, labels=("cat",) * count)
    assert (draw(one.image.pixels, named) != draw(one.image.pixels, one.prediction)).any() == (count <= 60)

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import PIL.Image
import pytest
from tests.io.formats.answers import SIZE, answered, blobs
from tests.io.pictures import pixels

from segcli.core.ask import Ask
from segcli.core.colors import overlay_color
from segcli.core.image import Image
from segcli.io.formats import get_format
from segcli.io.formats.contract import Options
from segcli.io.formats.overlay import class_colors, draw, id_colors, legend_rows


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


def whole_photo(size, labels, classes):
    """An answer about a whole photo: a grid of masks with these labels."""
    masks = []
    for n in range(len(labels)):
        mask = np.zeros(size, dtype=bool)
        mask[:, n * size[1] // len(labels) : (n + 1) * size[1] // len(labels)] = True
        masks.append(mask)
    one = answered(masks, labels=labels)
    image = Image(pixels(size), size, "a.jpg")
    return replace(one, image=image, ask=Ask(classes=classes, kind="panoptic"))


@pytest.mark.parametrize("size", [(20, 30), (90, 120), (600, 40), (700, 900)])
def test_a_legend_stands_below_photos_of_any_size_and_leaves_their_pixels_alone(size):
    one = whole_photo(size, ("cat", "sky", "cat", "traffic light"), ("cat", "sky", "traffic light"))
    (file,) = get_format("overlay").render(one, Options())
    picture = np.asarray(PIL.Image.open(BytesIO(file.data))).astype(int)
    assert picture.shape[0] >= size[0] + 12
    assert picture.shape[1] >= size[1]
    plain = draw(one.image.pixels, one.prediction, [overlay_color(n) for n in (0, 1, 0, 2)], legend=True)
    assert np.abs(picture[: size[0], : size[1]] - plain).mean() < 12  # JPEG's loss
    strip = picture[size[0] :]
    for n in range(3):  # each colour is there in a patch of a letter's size
        assert (np.abs(strip - overlay_color(n)).max(2) < 40).sum() >= 60
    assert (strip.min(2) > 180).sum() >= 60  # letters


def test_legend_rows_are_the_labels_by_size_with_how_many_there_are():
    prediction = whole_photo((40, 90), ("cat", "sky", "cat"), ("cat", "sky")).prediction
    assert legend_rows(prediction, [(1, 1, 1), (2, 2, 2), (1, 1, 1)]) == [("cat (2)", (1, 1, 1)), ("sky", (2, 2, 2))]


def test_few_classes_keep_their_colours_and_of_many_those_in_the_picture_differ():
    short, long = ("a", "b", "c"), tuple(f"class {n}" for n in range(133))
    assert class_colors(short, ["c"])["c"] == overlay_color(2)
    shown = class_colors(long, ["class 0", None, "class 55", "class 89"])
    assert shown == {"class 0": overlay_color(0), "class 55": overlay_color(1), "class 89": overlay_color(2)}


def test_an_id_has_the_same_colour_in_all_photos_and_ids_beyond_the_colours_that_differ_take_them_in_order():
    assert id_colors((2,)) == [overlay_color(1)] == id_colors((1, 2))[1:]
    assert id_colors((7, 901)) == [overlay_color(0), overlay_color(1)]


def test_nothing_found_in_a_whole_photo_is_the_photo_without_a_legend():
    one = replace(answered([]), ask=Ask(classes=("cat",), kind="semantic"))
    (file,) = get_format("overlay").render(one, Options())
    assert PIL.Image.open(BytesIO(file.data)).size == SIZE[::-1]

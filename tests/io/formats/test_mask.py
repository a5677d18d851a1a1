from __future__ import annotations

from io import BytesIO

import numpy as np
import PIL.Image
import pytest
from tests.io.formats.answers import SIZE, answered, blobs, read, soft_of, write

from segcli.core.errors import ItemError
from segcli.io.formats import get_format
from segcli.io.formats.contract import Options


def rendered(one, **options):
    return [np.asarray(PIL.Image.open(BytesIO(f.data))) for f in get_format("mask").render(one, Options(**options))]


def test_each_mask_is_a_file_of_0_and_255_numbered_and_labelled():
    files = get_format("mask").render(answered(labels=("cat", None, "dog")), Options())
    assert [(f.n, f.label, f.extension, f.kind) for f in files] == [
        (1, "cat", ".png", "mask"),
        (2, None, ".png", "mask"),
        (3, "dog", ".png", "mask"),
    ]
    for file, mask in zip(files, blobs(), strict=True):
        picture = PIL.Image.open(BytesIO(file.data))
        assert picture.mode == "L"
        assert (np.asarray(picture) == mask * 255).all()


def test_union_is_one_file_for_all():
    (union,) = rendered(answered(), union=True)
    assert (union == np.logical_or.reduce(blobs()) * 255).all()


def test_no_target_is_a_blank_mask():
    for union in (False, True):
        (blank,) = rendered(answered([]), union=union)
        assert blank.shape == SIZE
        assert not blank.any()


def test_invert_is_what_is_outside():
    for mask, inverted in zip(blobs(), rendered(answered(), invert=True), strict=True):
        assert (inverted == ~mask * 255).all()
    assert (rendered(answered([]), invert=True)[0] == 255).all()


def test_soft_edges_are_between_0_and_255_at_borders_only():
    from scipy import ndimage

    one = answered(soft=soft_of(blobs()))
    for mask, alpha in zip(blobs(), rendered(one, soft=True), strict=True):
        between = (alpha > 0) & (alpha < 255)
        border = ndimage.maximum_filter(mask, 5) & ~ndimage.minimum_filter(mask, 5)
        assert between.any()
        assert border[between].all()
        assert ((alpha >= 128) == mask).all()


def test_soft_edges_of_all_masks_together_are_the_highest():
    one = answered(soft=soft_of(blobs()))
    assert (rendered(one, soft=True, union=True)[0] == np.maximum.reduce(rendered(one, soft=True))).all()


def test_a_coarse_grid_that_contradicts_the_mask_does_not_blur_it():
    mask = np.zeros((200, 300), dtype=bool)
    mask[50:150, 100:200] = True
    for value in (0.0, 1.0, np.nan):
        one = answered([mask], soft=np.full((1, 5, 8), value, np.float16))
        (alpha,) = rendered(one, soft=True)
        assert ((alpha >= 128) == mask).all()
        assert (alpha[60:140, 110:190] == 255).all()
        assert not alpha[:40].any()


def test_an_empty_mask_has_no_soft_edge():
    one = answered([np.zeros(SIZE, dtype=bool)], soft=np.ones((1, 9, 12), np.float16))
    assert not rendered(one, soft=True)[0].any()


def test_soft_edges_of_a_model_that_has_none_are_refused():
    with pytest.raises(ItemError, match="seem-nano gives no soft edges: leave out --soft"):
        rendered(answered(), soft=True)


def test_a_mask_is_read_back(tmp_path):
    paths = write("mask", [answered()], tmp_path)
    back = [read("mask", path)[0] for path in paths]
    assert tuple(a.rle for a in back) == answered().prediction.masks
    with pytest.raises(ItemError, match="the mask has 120 x 90 pixels, the photo has 3 x 2"):
        read("mask", paths[0], size=(2, 3))

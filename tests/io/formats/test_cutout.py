from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import PIL.Image
import pytest
from tests.io.formats.answers import SIZE, answered, blobs, soft_of
from tests.io.pictures import pixels, saved

from segcli.core.errors import ItemError
from segcli.core.image import Image
from segcli.io.formats import get_format
from segcli.io.formats.contract import Backdrop, Options
from segcli.io.images import read_image


def rendered(one, **options):
    return [np.asarray(PIL.Image.open(BytesIO(f.data))) for f in get_format("cutout").render(one, Options(**options))]


def test_inside_is_the_photo_and_outside_is_nothing():
    for mask, cut in zip(blobs(), rendered(answered()), strict=True):
        assert cut.shape == (*SIZE, 4)
        assert (cut[..., 3] == mask * 255).all()
        assert (cut[mask][:, :3] == pixels(SIZE)[mask]).all()
        assert not cut[~mask].any()  # the background can't be brought back


def test_crop_is_tight_and_margin_stays_in_the_photo():
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:30, 100:118] = True
    (cut,) = rendered(answered([mask]), crop=True)
    assert cut.shape == (20, 18, 4)
    assert (cut[..., 3] == 255).all()
    (wide,) = rendered(answered([mask]), crop=True, margin=5)
    assert wide.shape == (30, 18 + 5 + 2, 4)
    assert (wide[5:25, 5:23, :3] == pixels(SIZE)[10:30, 100:118]).all()


def test_no_target_is_an_empty_picture_and_no_crop_of_it():
    (empty,) = rendered(answered([]))
    assert empty.shape == (*SIZE, 4)
    assert not empty.any()
    assert rendered(answered([]), crop=True) == []


def test_invert_keeps_the_background():
    mask = blobs()[0]
    cut = rendered(answered([mask]), invert=True)[0]
    assert (cut[..., 3] == ~mask * 255).all()


def test_union_cuts_all_out_together():
    (cut,) = rendered(answered(), union=True)
    assert (cut[..., 3] == np.logical_or.reduce(blobs()) * 255).all()


def test_soft_edges_have_transparency_between_at_borders_only():
    from scipy import ndimage

    one = answered(soft=soft_of(blobs()))
    for mask, cut in zip(blobs(), rendered(one, soft=True), strict=True):
        between = (cut[..., 3] > 0) & (cut[..., 3] < 255)
        border = ndimage.maximum_filter(mask, 5) & ~ndimage.minimum_filter(mask, 5)
        assert between.any()
        assert border[between].all()


def test_a_background_colour_leaves_no_transparency():
    mask = blobs()[0]
    (flat,) = rendered(answered([mask]), background=(10, 200, 30))
    assert flat.shape == (*SIZE, 3)
    assert (flat[~mask] == (10, 200, 30)).all()
    assert (flat[mask] == pixels(SIZE)[mask]).all()


def test_soft_edges_mix_with_the_background_colour():
    masks = blobs(count=1)
    one = answered(masks, soft=soft_of(masks))
    alpha = rendered(one, soft=True)[0][..., 3:] / 255
    (flat,) = rendered(one, soft=True, background=(255, 255, 255))
    assert np.abs(flat - (pixels(SIZE) * alpha + 255 * (1 - alpha))).max() <= 1


def test_the_files_own_transparency_is_kept():
    own = np.linspace(0, 255, SIZE[0] * SIZE[1]).astype(np.uint8).reshape(SIZE)
    mask = np.zeros(SIZE, dtype=bool)
    mask[20:60, 20:60] = True
    one = answered([mask], image=Image(pixels(SIZE), SIZE, "a.png", alpha=own))
    (cut,) = rendered(one)
    assert (cut[..., 3] == np.where(mask, own, 0)).all()
    (cropped,) = rendered(one, crop=True)
    assert (cropped[..., 3] == own[20:60, 20:60]).all()


@pytest.mark.parametrize("image_type", ["png", "webp"])
def test_the_profile_and_exif_of_the_photo_are_kept(image_type):
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "by the sea"
    icc = b"\0" * 16 + b"RGB " + b"\0" * 108
    image = read_image(saved(pixels((120, 90)), "JPEG", exif=exif, icc_profile=icc), "a.jpg")
    (file,) = get_format("cutout").render(answered(image=image, masks=blobs(count=1)), Options(image_type=image_type))
    picture = PIL.Image.open(BytesIO(file.data))
    assert file.extension == f".{image_type}"
    assert picture.size == (120, 90)
    assert picture.info["icc_profile"] == icc
    assert picture.getexif()[0x010E] == "by the sea"
    assert picture.getexif().get(0x0112, 1) == 1


def test_webp_keeps_the_alpha_exactly():
    (cut,) = rendered(answered(blobs(count=1)), image_type="webp")
    assert (cut[..., 3] == blobs(count=1)[0] * 255).all()


def test_a_side_that_webp_can_not_hold_is_refused():
    mask = np.ones((1, 16384), dtype=bool)
    with pytest.raises(ItemError, match="WebP holds at most 16383 pixels a side: write PNG"):
        rendered(answered([mask]), image_type="webp")


def test_the_photo_is_not_changed():
    one = answered()
    before = one.image.pixels.copy()
    rendered(replace(one), crop=True, margin=2, background=(1, 2, 3))
    get_format("overlay").render(one, Options())
    assert (one.image.pixels == before).all()


def test_a_matte_has_the_objects_own_colours():
    mask = np.zeros(SIZE, dtype=bool)
    mask[30:60, 40:80] = True
    photo = np.where(mask[..., None], (220, 40, 40), (20, 20, 200)).astype(np.uint8)
    photo[28:30, 40:80] = (120, 30, 120)
    one = answered([mask], image=Image(photo, SIZE, "a.png"))
    (plain,), (matted,) = rendered(one), rendered(one, matte=True, matte_width=5)
    assert not plain[28:30].any()
    strip = matted[28:30, 45:75].astype(int)
    assert np.abs(strip[..., 3] - 128).max() < 30
    assert np.abs(strip[..., :3] - (220, 40, 40)).max() < 30
    assert not matted[:20].any()


def test_the_matte_of_what_is_outside_has_the_grounds_own_colours():
    mask = np.zeros(SIZE, dtype=bool)
    mask[30:60, 40:80] = True
    photo = np.where(mask[..., None], (220, 40, 40), (20, 20, 200)).astype(np.uint8)
    photo[28:30, 40:80] = (120, 30, 120)
    (cut,) = rendered(answered([mask], image=Image(photo, SIZE, "a.png")), matte=True, matte_width=5, invert=True)
    assert np.abs(cut[28:30, 45:75, :3].astype(int) - (20, 20, 200)).max() < 30


def test_masks_are_grown_shrunk_and_feathered():
    mask = np.zeros(SIZE, dtype=bool)
    mask[30:60, 40:80] = True
    assert (rendered(answered([mask]), grow=3)[0][27:63, 40:80, 3] == 255).all()
    assert (rendered(answered([mask]), grow=-3)[0][..., 3] > 0).sum() == 24 * 34
    alpha = rendered(answered([mask]), feather=3)[0][..., 3]
    assert (alpha[34:56, 44:76] == 255).all()
    assert 0 < alpha[29, 60] < 128 < alpha[30, 60] < 255


@pytest.mark.parametrize("size", [(90, 120), (45, 60), (300, 10), (7, 200)])
def test_a_picture_behind_covers_all_of_it_from_its_middle(tmp_path, size):
    """Its own middle is marked, so that a picture laid elsewhere would show."""
    behind = np.zeros((*size, 3), np.uint8)
    behind[..., 1] = 200
    behind[size[0] // 2 - size[0] // 8 : size[0] // 2 + size[0] // 8 + 1, :, 0] = 255
    path = tmp_path / "ground.png"
    path.write_bytes(saved(behind, "PNG"))
    mask = np.zeros(SIZE, dtype=bool)
    mask[:5, :5] = True
    (flat,) = rendered(answered([mask]), background=Backdrop(path, str(size)))
    assert flat.shape == (*SIZE, 3)
    assert (flat[mask] == pixels(SIZE)[mask]).all()
    assert (flat[~mask][:, 1] == 200).all()
    assert flat[SIZE[0] // 2, 60, 0] > 250


def test_a_picture_behind_that_is_none_is_named(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no picture")
    with pytest.raises(ItemError, match=r"--background .*notes.txt"):
        rendered(answered(blobs(count=1)), background=Backdrop(path, "notes"))

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
import pytest
from tests.io.pictures import SHAPE, every_kind, pixels, saved

from segcli.core.errors import ItemError, UsageError
from segcli.core.rle import decode
from segcli.io import images
from segcli.io.images import read_bytes, read_image, read_indexed, read_mask, read_size

KINDS = every_kind()


@pytest.mark.parametrize("name", KINDS)
def test_every_common_kind_of_picture_is_a_good_input(name):
    image = read_image(KINDS[name], name)
    shape = (1, 1) if "tiny" in name else SHAPE[::-1] if "exif" in name else SHAPE
    assert image.pixels.shape == (*shape, 3)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.c_contiguous
    assert image.size == shape == read_size(KINDS[name], name)
    assert not image.reduced


@pytest.mark.parametrize("name", ["rgb.png", "rgb.tif", "lzw.tif", "deflate.tif", "rgb.bmp", "rgb.ppm", "rgba.webp"])
def test_lossless_formats_give_the_stored_bytes(name):
    image = read_image(KINDS[name], name)
    shown = ... if image.alpha is None else image.alpha > 0
    assert (image.pixels[shown] == pixels()[shown]).all()


@pytest.mark.parametrize("name", ["cmyk.jpg", "cmyk.tif", "rgb.jpg", "progressive.jpg", "rgb.webp"])
def test_colours_come_out_as_they_went_in(name):
    error = np.abs(read_image(KINDS[name], name).pixels.astype(int) - pixels())
    assert error.mean() < 8


@pytest.mark.parametrize("name", ["grey16.png", "grey16.tif"])
def test_sixteen_bits_are_scaled_and_not_cut_off(name):
    assert (read_image(KINDS[name], name).pixels == pixels()[..., :1]).all()


def test_black_and_white_are_0_and_255():
    values = np.unique(read_image(KINDS["one.png"], "one.png").pixels)
    assert values.tolist() == [0, 255]


@pytest.mark.parametrize("name", ["rgba.png", "rgba.webp", "greyalpha.png"])
def test_transparency_is_kept_beside_the_colours(name):
    assert (read_image(KINDS[name], name).alpha == pixels()[..., 1]).all()


def test_the_clear_colour_of_a_palette_is_transparency():
    image = read_image(KINDS["clearpalette.png"], "clearpalette.png")
    assert set(np.unique(image.alpha)) == {0, 255}


def test_the_clear_value_of_16_bit_grey_is_transparency():
    data = saved(pixels()[..., 0].astype(np.uint16) * 257, "PNG", transparency=0)
    image = read_image(data, "a.png")
    assert ((image.alpha == 0) == (pixels()[..., 0] == 0)).all()


def test_an_animation_is_its_first_frame():
    expected = read_image(KINDS["palette.gif"], "a.gif").pixels
    assert (read_image(KINDS["animated.gif"], "a.gif").pixels == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_all_eight_orientations_end_upright(kind, options, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "kept"
    data = saved(pixels(), kind, exif=exif, **options)
    image = read_image(data, "a")
    turns = {1: 0, 6: 3, 3: 2, 8: 1, 2: 0, 7: 3, 4: 2, 5: 1}  # quarter turns to the left, of the mirrored one from 2 on
    stored = read_image(saved(pixels(), kind, **options), "a").pixels
    mirrored = stored[:, ::-1] if orientation in (2, 4, 5, 7) else stored
    assert (image.pixels == np.rot90(mirrored, turns[orientation])).all()
    assert image.size == image.pixels.shape[:2] == read_size(data, "a")
    kept = PIL.Image.Exif()
    kept.load(image.exif)
    assert kept.get(0x0112, 1) == 1
    assert kept[0x010E] == "kept"


def test_a_tiff_files_layout_does_not_enter_the_exif_block():
    exif = PIL.Image.Exif()
    exif.load(read_image(KINDS["exif.tif"], "a.tif").exif)
    assert set(exif) == {0x010E}


def test_an_rgb_profile_is_kept_and_one_of_other_colours_is_not():
    srgb = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    lab = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("LAB")).tobytes()
    assert read_image(saved(pixels(), "PNG", icc_profile=srgb), "a.png").icc == srgb
    assert read_image(saved(pixels(), "JPEG", icc_profile=srgb), "a.jpg").icc == srgb
    assert read_image(saved(pixels(), "PNG", icc_profile=lab), "a.png").icc is None


@pytest.mark.parametrize("max_side", [1, 40, 99, 100, 250, 799, 800, 5000])
def test_a_jpeg_is_decoded_small_but_never_smaller_than_asked(max_side):
    data = saved(pixels((600, 800)), "JPEG")
    image = read_image(data, "a.jpg", max_side)
    longest = max(image.pixels.shape[:2])
    assert image.size == (600, 800)
    assert min(max_side, 800) <= longest
    assert longest == 100 or longest < 2 * max_side or longest == 800
    assert image.reduced == (longest < 800)


def test_a_small_decode_is_upright_too():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image = read_image(saved(pixels((600, 800)), "JPEG", exif=exif), "a.jpg", 200)
    assert image.size == (800, 600)
    assert image.pixels.shape == (200, 150, 3)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")


def test_a_dimension_bomb_is_refused_by_its_header_with_the_way_to_allow_it():
    with pytest.raises(ItemError, match=r"^b\.png: 60000 x 60000 pixels are more than .* SEG_MAX_PIXELS=3600000000$"):
        read_image(bomb(60000, 60000), "b.png")


def test_the_pixel_limit_can_be_moved(monkeypatch):
    monkeypatch.setenv("SEG_MAX_PIXELS", "100")
    with pytest.raises(ItemError, match="SEG_MAX_PIXELS=864"):
        read_image(KINDS["rgb.png"], "a.png")
    with pytest.raises(ItemError, match="SEG_MAX_PIXELS=864"):
        read_mask(KINDS["grey.png"], "a.png")
    monkeypatch.setenv("SEG_MAX_PIXELS", "864")
    assert read_image(KINDS["rgb.png"], "a.png").size == SHAPE
    assert read_image(KINDS["rgb.png"], "a.png", max_pixels=864).size == SHAPE


@pytest.mark.parametrize("text", ["", "0", "many", "-5"])
def test_a_pixel_limit_that_is_no_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("SEG_MAX_PIXELS", text)
    with pytest.raises(UsageError, match="SEG_MAX_PIXELS"):
        read_image(KINDS["rgb.png"], "a.png")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just some words\n", "is text, not a photo"),
        (KINDS["rgb.png"][:16] + b"rubbish" + KINDS["rgb.png"][23:], "header is broken"),
        (KINDS["rgb.jpg"][:300], "header is broken|truncated"),
        (saved(pixels((300, 300), 1), "JPEG")[:2000], "truncated"),
        (saved(np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8), "PNG")[:4000], "truncated"),
        (bytes(range(256)) * 4, "not a photo in a format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not read"),
        (bomb(0, 5), "header"),
        (saved(PIL.Image.fromarray(np.full((4, 4), 7.5, np.float32)), "TIFF"), "floating-point samples from 7.5"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it_and_the_reason(data, reason):
    with pytest.raises(ItemError, match=rf"^dir/bad\.png: .*({reason})") as caught:
        read_image(data, "dir/bad.png")
    assert "\n" not in str(caught.value)


def test_files_that_can_not_be_opened_say_why(tmp_path):
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ItemError, match="a link to a file that does not exist"):
        read_bytes(tmp_path / "dangling.jpg", "dangling.jpg")
    with pytest.raises(ItemError, match="no such file"):
        read_bytes(tmp_path / "absent.jpg", "absent.jpg")
    with pytest.raises(ItemError, match="is a directory"):
        read_bytes(tmp_path, "dir")
    with pytest.raises(ItemError, match="can't be read"):
        read_bytes(Path("a\0b"), "a?b")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(PermissionError(13, "Permission denied"), "no permission"), (OSError(5, "Input/output error"), "input/output")],
)
def test_an_unreadable_file_says_why(monkeypatch, error, reason):
    def refuse(self):
        raise error

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ItemError, match=reason):
        read_bytes(Path("a.jpg"), "a.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_says_so(tmp_path):
    file = tmp_path / "closed.jpg"
    file.write_bytes(KINDS["rgb.jpg"])
    file.chmod(0)
    with pytest.raises(ItemError, match="no permission"):
        read_image(file, "closed.jpg")


def test_running_out_of_memory_is_a_failed_item(monkeypatch):
    def explode(*_):
        raise MemoryError

    monkeypatch.setattr(images, "_to_eight_bits", explode)
    with pytest.raises(ItemError, match="too large for this machine's memory"):
        read_image(KINDS["rgb.png"], "a.png")


def inside():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[4:14, 5:30] = True
    return mask


def painted_masks():
    mask = inside()
    grey = mask.astype(np.uint8) * 255
    indexed = PIL.Image.fromarray(mask.astype(np.uint8)).convert("P")
    indexed.putpalette([0, 0, 0, 1, 1, 1])
    red_on_black = np.dstack([grey, grey * 0, grey * 0])
    cutout = np.dstack([pixels(), grey])
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    return {
        "grey": saved(grey, "PNG"),
        "zero and one": saved(mask.astype(np.uint8), "PNG"),
        "soft": saved(np.where(mask, 200, 90).astype(np.uint8), "PNG"),
        "one bit": saved(PIL.Image.fromarray(mask), "PNG"),
        "16 bits": saved(mask.astype(np.uint16) * 65535, "PNG"),
        "indexed with dark colours": saved(indexed, "PNG"),
        "red on black": saved(red_on_black, "PNG"),
        "cut-out": saved(cutout, "PNG"),
        "opaque RGBA": saved(opaque, "PNG"),
        "grey and alpha": saved(np.dstack([grey * 0, grey]), "PNG"),
        "bmp": saved(grey, "BMP"),
    }


@pytest.mark.parametrize("name", painted_masks())
def test_painted_masks_are_read_as_they_are_meant(name):
    assert (decode(read_mask(painted_masks()[name], "m.png", SHAPE)) == inside()).all()


def test_a_mask_of_another_size_names_both_sizes():
    with pytest.raises(ItemError, match=r"^m\.png: the mask has 36 x 24 pixels, the photo has 30 x 20$"):
        read_mask(painted_masks()["grey"], "m.png", (20, 30))


def test_ids_are_read_from_indexed_and_grey_files():
    ids = (np.arange(24 * 36) % 7).reshape(SHAPE).astype(np.uint8)
    indexed = PIL.Image.fromarray(ids)
    indexed.putpalette(list(range(21)))
    assert (read_indexed(saved(indexed, "PNG"), "i.png") == ids).all()
    assert (read_indexed(saved(ids, "PNG"), "i.png") == ids).all()
    assert (read_indexed(saved(ids.astype(np.uint16) * 900, "PNG"), "i.png") == ids.astype(int) * 900).all()


def test_colours_are_no_ids():
    with pytest.raises(ItemError, match="holds colours, not ids"):
        read_indexed(KINDS["rgb.png"], "i.png")

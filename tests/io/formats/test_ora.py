from __future__ import annotations

import zipfile
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import PIL.Image
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.io.formats import openraster
from tests.io.formats.answers import SIZE, answered, blobs, labels, soft_of
from tests.io.pictures import pixels

from segcli.core.image import Image
from segcli.io.formats import get_format
from segcli.io.formats.contract import Options


def opened(one, **options):
    (file,) = get_format("ora").render(one, Options(**options))
    assert file.extension == ".ora"
    return zipfile.ZipFile(BytesIO(file.data))


def picture(archive, name):
    return np.asarray(PIL.Image.open(BytesIO(archive.read(name))))


def test_the_file_is_laid_out_as_openraster_demands():
    archive = opened(answered())
    first = archive.infolist()[0]
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    assert archive.read("mimetype") == b"image/openraster"
    assert {"stack.xml", "mergedimage.png", "Thumbnails/thumbnail.png"} <= set(archive.namelist())
    assert max(picture(archive, "Thumbnails/thumbnail.png").shape) <= 256
    assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_layers_are_named_and_lie_where_they_belong():
    archive = opened(answered(labels=("cat", None, '"<&>')))
    root = ElementTree.fromstring(archive.read("stack.xml"))
    assert (root.tag, root.get("w"), root.get("h")) == ("image", "120", "90")
    layers = list(root.find("stack"))
    assert [layer.get("name") for layer in layers] == ["1 cat", "mask 2", '3 "<&>', "photo"]
    for mask, layer in zip(blobs(), layers, strict=False):
        part = picture(archive, layer.get("src"))
        whole = np.zeros((*SIZE, 4), np.uint8)
        x, y = int(layer.get("x")), int(layer.get("y"))
        whole[y : y + part.shape[0], x : x + part.shape[1]] = part
        assert (whole[..., 3] == mask * 255).all()
        assert (whole[mask][:, :3] == pixels(SIZE)[mask]).all()
    assert (picture(archive, layers[-1].get("src")) == pixels(SIZE)).all()


def test_the_merged_picture_is_what_the_layers_show():
    assert (picture(opened(answered()), "mergedimage.png") == pixels(SIZE)).all()


def test_soft_layers_have_soft_edges():
    masks = blobs(count=1)
    archive = opened(answered(masks, soft=soft_of(masks)), soft=True)
    assert len(np.unique(picture(archive, "data/mask-001.png")[..., 3])) > 2


def test_a_photo_with_transparency_keeps_it():
    own = np.full(SIZE, 100, np.uint8)
    archive = opened(answered(blobs(count=1), image=Image(pixels(SIZE), SIZE, "a.png", alpha=own)))
    assert (picture(archive, "data/photo.png")[..., 3] == 100).all()
    assert set(np.unique(picture(archive, "data/mask-001.png")[..., 3])) <= {0, 100}


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.integers(1, 40), st.integers(1, 300)), st.integers(0, 2**31), st.lists(labels, max_size=4))
def test_every_file_is_one_that_the_specification_allows(size, seed, names):
    rng = np.random.default_rng(seed)
    masks = [rng.random(size) < rng.choice([0, 0.002, 0.6]) for _ in names]
    one = answered(masks, size=size, labels=tuple(names))
    (file,) = get_format("ora").render(one, Options())
    found, layers = openraster.read(file.data)
    assert found == size
    *shown, (lowest, photo) = layers.items()
    assert lowest == "photo"
    assert (photo[..., :3] == one.image.pixels).all()
    there = [mask for mask in masks if mask.any()]
    assert len(shown) == len(there)
    for (_, layer), mask in zip(shown, there, strict=True):
        assert (layer[..., 3] == mask * 255).all()


def test_layers_are_matted_grown_and_feathered():
    mask = np.zeros(SIZE, dtype=bool)
    mask[30:60, 40:80] = True
    photo = np.where(mask[..., None], 220, 20).astype(np.uint8).repeat(3, 2)
    photo[28:30, 40:80] = 120  # half of it belongs to what is masked
    one = answered([mask], image=Image(photo, SIZE, "a.png"))
    shown = {}
    for name, options in {
        "matte": {"matte": True, "matte_width": 5},
        "grow": {"grow": 4},
        "feather": {"feather": 4},
    }.items():
        (file,) = get_format("ora").render(one, Options(**options))
        shown[name] = openraster.read(file.data)[1]["mask 1"]
    assert (shown["grow"][26:64, 40:80, 3] == 255).all()
    assert len(np.unique(shown["feather"][..., 3])) > 4
    strip = shown["matte"][28:30, 45:75]
    assert np.abs(strip[..., 3].astype(int) - 128).max() < 30
    assert strip[..., :3].min() > 180  # the dark ground is taken out of it


def test_what_is_outside_is_not_a_layer():
    (file,) = get_format("ora").render(answered(blobs(count=1)), Options(invert=True))
    assert (openraster.read(file.data)[1]["mask 1"][..., 3] == blobs(count=1)[0] * 255).all()

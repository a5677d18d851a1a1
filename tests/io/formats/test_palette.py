from __future__ import annotations

from io import BytesIO

import numpy as np
import PIL.Image
import pytest
from tests.io.formats.answers import SIZE, answered, blobs, read, write

from segcli.core.colors import davis_palette
from segcli.core.errors import ItemError
from segcli.io.formats import get_format
from segcli.io.formats.contract import Options


def test_pillow_reads_the_same_ids_in_davis_colours():
    ids = (7, 255, 3)
    (file,) = get_format("palette").render(answered(ids=ids), Options())
    picture = PIL.Image.open(BytesIO(file.data))
    assert picture.mode == "P"
    expected = np.zeros(SIZE, np.uint8)
    for mask, number in list(zip(blobs(), ids, strict=True))[::-1]:
        expected[mask] = number
    assert (np.asarray(picture) == expected).all()
    assert (np.asarray(picture.convert("RGB")) == davis_palette()[expected]).all()


@pytest.mark.parametrize("ids", [(1, 2, 256), (0, 1, 2)])
def test_ids_that_fit_no_byte_are_refused_with_what_to_use(ids):
    with pytest.raises(ItemError, match=r"1 to 255: use -f panoptic, coco or npz"):
        get_format("palette").render(answered(ids=ids), Options())


def test_two_hundred_and_fifty_five_masks_fit(tmp_path):
    masks = [np.zeros((16, 16), dtype=bool) for _ in range(255)]
    for n, mask in enumerate(masks):
        mask.flat[n] = True
    (path,) = write("palette", [answered(masks)], tmp_path)
    assert [a.id for a in read("palette", path)] == list(range(1, 256))


def test_a_palette_of_another_size_is_refused(tmp_path):
    (path,) = write("palette", [answered()], tmp_path)
    with pytest.raises(ItemError, match="has 120 x 90 pixels, the photo has 5 x 5"):
        read("palette", path, size=(5, 5))

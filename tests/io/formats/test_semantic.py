from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest
from tests.io.formats.answers import SIZE, answered, blobs, read, write

from segcli.core.classes import known
from segcli.core.colors import davis_palette
from segcli.core.errors import ItemError
from segcli.io.formats import get_format
from segcli.io.formats.contract import Options

VOC = known("voc")
OPTIONS = Options(categories=VOC.names, coco_categories=VOC.id_of)


def test_a_pixel_is_the_id_of_its_class_in_the_colours_of_voc_and_the_first_mask_lies_on_top(tmp_path):
    masks = blobs()
    png, legend = write("semantic", [answered(masks, labels=("cat", "person", "cat"))], tmp_path, OPTIONS)
    picture = PIL.Image.open(png)
    expected = np.where(masks[0] | (masks[2] & ~masks[1]), 8, np.where(masks[1], 15, 0))
    assert (np.asarray(picture) == expected).all()
    assert (np.asarray(picture.convert("RGB")) == davis_palette()[expected]).all()
    rows = json.loads(legend.read_text())["classes"]
    assert rows[7] == {"id": 8, "name": "cat", "isthing": 1, "color": [64, 0, 0]}
    assert [row["name"] for row in rows] == list(VOC.names)


def test_the_legend_says_which_classes_are_stuff_from_the_list_or_from_the_model(tmp_path):
    options = Options(categories=("sky", "cat", "grass"), stuff=("sky",))
    one = answered(blobs(count=2), labels=("grass", "cat"), things=(False, None))
    legend = json.loads(write("semantic", [one], tmp_path, options)[-1].read_text())
    assert {row["name"]: row["isthing"] for row in legend["classes"]} == {"sky": 0, "cat": 1, "grass": 0}


def test_names_come_back_from_the_legend_or_from_the_reader(tmp_path):
    png, legend = write("semantic", [answered(labels=("cat", "person", "dog"))], tmp_path, OPTIONS)
    assert {a.id: a.label for a in read("semantic", png)} == {8: "cat", 12: "dog", 15: "person"}
    legend.unlink()
    assert {a.label for a in read("semantic", png)} == {"8", "12", "15"}
    assert {a.label for a in read("semantic", png, categories=VOC.names)} == {"cat", "dog", "person"}
    with pytest.raises(ItemError, match="the photo has 3 x 3"):
        read("semantic", png, size=(3, 3))
    legend.write_text("[]")
    with pytest.raises(ItemError, match="not a legend of classes"):
        read("semantic", png)


def test_classes_without_an_id_that_fits_are_refused():
    with pytest.raises(ItemError, match="the class 'zebra' has no id: name all classes with --classes"):
        get_format("semantic").render(answered(labels=("cat", "zebra", None)), OPTIONS)
    options = Options(categories=("cat",), coco_categories={"cat": 256})
    with pytest.raises(ItemError, match="has the id 256, a semantic PNG holds 1 to 255"):
        get_format("semantic").render(answered(blobs(count=1), labels=("cat",)), options)


def test_masks_without_any_class_are_objects(tmp_path):
    png, legend = write("semantic", [answered(blobs(count=1))], tmp_path)
    assert np.unique(PIL.Image.open(png)).tolist() == [0, 1]
    assert [a.label for a in read("semantic", png)] == [None]
    assert json.loads(legend.read_text())["classes"][0]["name"] == "object"
    assert PIL.Image.open(png).size == SIZE[::-1]

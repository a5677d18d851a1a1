from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import PIL.Image
import pytest
from tests.io.formats.answers import SIZE, answered, blobs, read, write

from segcli.core.errors import ItemError
from segcli.io.formats import get_format
from segcli.io.formats.contract import Options

IDS = (70_000, 300, 1)


def test_colours_are_ids_in_base_256_and_the_json_says_what_they_are(tmp_path):
    png, path = write("panoptic", [answered(ids=IDS, labels=("cat", "dog", None))], tmp_path)
    value = json.loads(path.read_text())
    (annotation,) = value["annotations"]
    assert annotation["file_name"] == "trip/a b.png"
    assert annotation["image_id"] == value["images"][0]["id"]
    assert tmp_path / annotation["file_name"] == png
    colors = np.asarray(PIL.Image.open(png)).astype(int)
    ids = colors @ (1, 256, 65536)
    names = {c["id"]: c["name"] for c in value["categories"]}
    assert set(np.unique(ids)) == {0} | {s["id"] for s in annotation["segments_info"]}
    for segment in annotation["segments_info"]:
        mine = ids == segment["id"]
        ys, xs = np.nonzero(mine)
        assert segment["area"] == mine.sum()
        assert segment["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert segment["iscrowd"] == 0
        assert names[segment["category_id"]] == {70_000: "cat", 300: "dog", 1: "object"}[segment["id"]]


def test_the_pngs_are_found_beside_the_json_or_in_a_directory_of_its_name(tmp_path):
    _, path = write("panoptic", [answered(ids=IDS)], tmp_path)
    expected = read("panoptic", path)
    for folder in ("panoptic", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / "trip").rename(tmp_path / folder / "trip")
        assert read("panoptic", path.rename(tmp_path / f"{folder}.json")) == expected
        path = (tmp_path / f"{folder}.json").rename(path)
        (tmp_path / folder / "trip").rename(tmp_path / "trip")


def test_ids_that_fit_no_colour_are_refused():
    with pytest.raises(ItemError, match="not between 1 and 16777215"):
        get_format("panoptic").render(answered(ids=(1, 2, 1 << 24)), Options())


def test_categories_say_whether_they_are_things(tmp_path):
    one = answered(ids=IDS, labels=("cat", "sky", "grass"), things=(True, False, None))
    value = json.loads(write("panoptic", [one], tmp_path, Options(stuff=("grass",)))[1].read_text())
    assert {c["name"]: c["isthing"] for c in value["categories"]} == {"cat": 1, "sky": 0, "grass": 0}


def test_a_segment_is_named_by_its_label_or_the_phrase_that_asked_for_it(tmp_path):
    one = answered(blobs(0, 2), labels=("cat", None), phrases=(None, "a red mug"), label_scores=(0.5, None))
    path = write("panoptic", [one], tmp_path)[1]
    assert {a.label for a in read("panoptic", path)} == {"cat", "a red mug"}
    first, second = json.loads(path.read_text())["annotations"][0]["segments_info"]
    assert (first["label_score"], "phrase" in first, second["phrase"]) == (0.5, False, "a red mug")


def test_a_missing_png_is_named(tmp_path):
    png, path = write("panoptic", [answered()], tmp_path)
    png.unlink()
    with pytest.raises(ItemError, match=r"trip/a b\.png: no such file"):
        read("panoptic", path)


def test_a_png_of_another_size_is_refused(tmp_path):
    png, path = write("panoptic", [answered()], tmp_path)
    file = BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(file, "PNG")
    png.write_bytes(file.getvalue())
    with pytest.raises(ItemError, match="is not of the photo's size, 120 x 90"):
        read("panoptic", path)


def test_given_ids_are_used(tmp_path):
    options = Options(coco_images={"a b.jpg": 42}, coco_categories={"cat": 17})
    value = json.loads(write("panoptic", [answered(blobs(0, 1), labels=("cat",))], tmp_path, options)[1].read_text())
    assert value["annotations"][0]["image_id"] == value["images"][0]["id"] == 42
    assert value["annotations"][0]["segments_info"][0]["category_id"] == 17
    assert (value["images"][0]["height"], value["images"][0]["width"]) == SIZE

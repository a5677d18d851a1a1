from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from tests.io.formats.answers import answered, blobs, read, write

from segcli.core import rle
from segcli.core.errors import ItemError, StorageError
from segcli.io.formats.coco import read_ids
from segcli.io.formats.contract import Options

quiet = contextlib.redirect_stdout(io.StringIO())


def run(tmp_path, options=None, count=3):
    answers = [
        answered(blobs(n), f"d/{n}.jpg", labels=("cat", "dog", None), scores=(0.9, 0.5, 0.25)) for n in range(count)
    ]
    answers.append(answered([], "d/none.jpg"))
    return answers, write("coco", answers, tmp_path, options)[0]


def test_pycocotools_loads_the_file(tmp_path):
    from pycocotools.coco import COCO

    answers, path = run(tmp_path)
    with quiet:
        coco = COCO(str(path))
    assert [photo["file_name"] for photo in coco.loadImgs(coco.getImgIds())] == [str(a.relative) for a in answers]
    assert {c["name"] for c in coco.loadCats(coco.getCatIds())} == {"cat", "dog", "object"}
    for photo, one in zip(coco.getImgIds(), answers, strict=True):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=photo))
        assert len(annotations) == len(one.prediction)
        for n, annotation in enumerate(annotations):
            assert (coco.annToMask(annotation) == one.prediction.dense(n)).all()
            assert annotation["area"] == one.prediction.masks[n].area
            assert annotation["bbox"] == list(one.prediction.masks[n].bbox)


def test_cocoeval_scores_the_annotations_against_themselves(tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    _, path = run(tmp_path)
    with quiet:
        truth = COCO(str(path))
        scored = COCOeval(truth, truth.loadRes(json.loads(path.read_text())["annotations"]), "segm")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert scored.stats[0] == pytest.approx(1.0)


def test_given_ids_are_used_for_photos_and_classes(tmp_path):
    given = {
        "images": [{"id": 100 + n, "file_name": f"{n}.jpg"} for n in range(3)] + [{"id": 7, "file_name": "d/none.jpg"}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}],
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    ids = read_ids(tmp_path / "given.json")
    value = json.loads(run(tmp_path, Options(coco_images=ids.images, coco_categories=ids.categories))[1].read_text())
    assert [photo["id"] for photo in value["images"]] == [100, 101, 102, 7]
    assert {c["name"]: c["id"] for c in value["categories"]} == {"dog": 18, "cat": 17, "object": 19}
    assert [a["category_id"] for a in value["annotations"][:3]] == [17, 18, 19]


def test_a_photo_that_the_given_ids_do_not_know_is_refused(tmp_path):
    with pytest.raises(ItemError, match=r"d/0\.jpg: is not among the file names of --coco-images"):
        run(tmp_path, Options(coco_images={"other.jpg": 1}))


def test_a_file_without_images_gives_no_ids(tmp_path):
    (tmp_path / "given.json").write_text("[]")
    with pytest.raises(StorageError, match="not a COCO file with images"):
        read_ids(tmp_path / "given.json")
    with pytest.raises(StorageError, match="no such file"):
        read_ids(tmp_path / "absent.json")


def test_classes_known_in_advance_are_numbered_in_their_order(tmp_path):
    value = json.loads(run(tmp_path, Options(categories=("bird", "dog", "cat")))[1].read_text())
    assert [c["name"] for c in value["categories"]] == ["bird", "dog", "cat", "object"]
    assert [c["id"] for c in value["categories"]] == [1, 2, 3, 4]


def test_several_asks_of_one_photo_share_its_entry(tmp_path):
    answers = [answered(blobs(n, 1), "a.jpg") for n in range(3)]
    value = json.loads(write("coco", answers, tmp_path)[0].read_text())
    assert len(value["images"]) == 1
    assert [a["image_id"] for a in value["annotations"]] == [1, 1, 1]
    assert [a["id"] for a in value["annotations"]] == [1, 2, 3]


SECOND = [7, 0, 9, 0, 9, 2, 7, 2]


def test_polygons_of_other_tools_are_read(tmp_path):
    value = {
        "images": [{"id": 5, "file_name": "a.jpg", "width": 10, "height": 8}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {
                "id": 9,
                "image_id": 5,
                "category_id": 3,
                "segmentation": [[1, 2, 5, 2, 5, 6, 1, 6], [7, 0, 9, 0, 9, 2, 7, 2]],
            }
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(value))
    (a,) = read("coco", tmp_path / "a.json")
    expected = np.zeros((8, 10), dtype=bool)
    expected[2:6, 1:5] = expected[0:2, 7:9] = True
    assert (rle.decode(a.rle) == expected).all()
    assert (a.id, a.label, a.score, a.exact) == (9, "cat", None, False)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"images": []}, "annotations of image id 1, which it does not list"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 1}]}, "'segmentation' is missing"),
        ({"annotations": None}, "not COCO instances"),
        (
            {"images": [{"id": 1, "file_name": "a", "width": 3, "height": 3}]},
            "120 x 90 pixels in a photo of 3 x 3",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, change, what):
    _, path = run(tmp_path, count=1)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ItemError, match=what):
        read("coco", path)

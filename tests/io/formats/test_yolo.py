from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from tests.io.formats.answers import SIZE, answered, blobs, iou, read, write

from segcli.core import rle
from segcli.core.errors import ItemError
from segcli.core.geometry import fill_rings
from segcli.core.outline import outlines
from segcli.io.formats import get_format
from segcli.io.formats.contract import Options
from segcli.io.formats.yolo import bridged

CLASSES = Options(categories=("dog", "cat", "object"))


def test_ultralytics_accepts_every_line(tmp_path):
    masks = [*blobs(), np.eye(*SIZE, dtype=bool)]
    text, classes = write("yolo", [answered(masks, labels=("cat", "dog", None, "cat"))], tmp_path, CLASSES)
    rows = [line.split() for line in text.read_text().splitlines()]
    assert [row[0] for row in rows] == ["1", "0", "2", "1"]
    for row in rows:
        values = np.array(row[1:], dtype=np.float32)
        assert len(values) >= 6  # fewer are taken for a box
        assert len(values) % 2 == 0
        assert values.min() >= 0
        assert values.max() <= 1
    assert classes.name == "classes.txt"
    assert classes.read_text() == "dog\ncat\nobject\n"


def test_opencv_fills_the_outline_to_the_mask_within_its_border(tmp_path):
    import cv2

    masks = [np.kron(mask, np.ones((6, 6), dtype=bool)) for mask in blobs(4)]
    text, _ = write("yolo", [answered(masks)], tmp_path)
    for mask, line in zip(masks, text.read_text().splitlines(), strict=True):
        points = np.array(line.split()[1:], dtype=np.float32).reshape(-1, 2) * mask.shape[::-1]
        drawn = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [points.astype(np.int32)], 1)
        assert iou(drawn.astype(bool), mask) > 0.95  # OpenCV draws the border and the bridges as well


@given(arrays(np.bool_, (9, 13)))
def test_rings_joined_by_bridges_fill_like_the_rings(mask):
    rings = outlines(mask)
    if rings:
        assert (fill_rings([bridged(rings)], mask.shape) == mask).all()


def test_no_target_is_an_empty_file():
    (file,) = get_format("yolo").render(answered([]), Options())
    assert file.data == b""


def test_a_class_without_a_number_is_refused_with_what_to_type():
    with pytest.raises(ItemError, match=r"the class 'bird' has no number.*--classes"):
        get_format("yolo").render(answered(blobs(0, 1), labels=("bird",)), CLASSES)


def test_names_come_from_the_classes_nearby_or_given(tmp_path):
    one = answered(labels=("cat", "dog", None))
    text, _ = write("yolo", [one], tmp_path, CLASSES)
    assert [a.label for a in read("yolo", text, size=SIZE)] == ["cat", "dog", None]
    assert [a.label for a in read("yolo", text, size=SIZE, categories=("a", "b"))] == ["b", "a", "2"]


def test_a_detection_box_is_a_rectangle(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 0.4 0.2\n")
    (a,) = read("yolo", path, size=(20, 10))
    assert rle.decode(a.rle)[8:12, 3:7].all()
    assert a.rle.area == 16


def test_the_size_of_the_photo_is_asked_for(tmp_path):
    with pytest.raises(ItemError, match="--images DIR"):
        read("yolo", tmp_path / "a.txt")


@pytest.mark.parametrize(
    "line", ["cat 0.1 0.1 0.2 0.2 0.3 0.3", "0 0.1 0.2", "0 0.1 0.2 0.3 0.4 0.5", "-1 0 0 1 1 1 0", "0 nan 0 1 1 1 0"]
)
def test_a_line_that_is_none_is_named_by_its_number(tmp_path, line):
    path = tmp_path / "a.txt"
    path.write_text("0 0 0 1 1 1 0\n" + line)
    with pytest.raises(ItemError, match="line 2: not YOLO"):
        read("yolo", path, size=(4, 4))


def test_class_names_with_line_breaks_stay_on_their_line():
    (data,) = get_format("yolo").assemble([], Options(categories=("a\nb", "c")))
    assert BytesIO(data).readlines() == [b"a b\n", b"c\n"]

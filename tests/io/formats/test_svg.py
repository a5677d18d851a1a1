from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from tests.io.formats.answers import SIZE, answered, blobs, iou, read, write

from segcli.core import rle
from segcli.core.errors import ItemError
from segcli.io.formats import get_reader


def test_paths_are_even_odd_in_pixels_of_the_photo_and_say_what_they_are(tmp_path):
    (path,) = write("svg", [answered(labels=("cat", None, "<\"&'>"), ids=(4, 9, 2), scores=(0.5, 0.25, 1.0))], tmp_path)
    root = ElementTree.parse(path).getroot()
    assert root.get("viewBox") == "0 0 120 90"
    assert (root.get("width"), root.get("height")) == ("120", "90")
    paths = list(root)
    assert [p.get("fill-rule") for p in paths] == ["evenodd"] * 3
    assert [p.get("data-id") for p in paths] == ["4", "9", "2"]
    assert [p.get("data-label") for p in paths] == ["cat", None, "<\"&'>"]
    assert [p.get("data-score") for p in paths] == ["0.5", "0.25", "1.0"]


def test_a_label_that_xml_can_not_hold_does_not_break_the_file(tmp_path):
    (path,) = write("svg", [answered(blobs(0, 1), labels=("a\x00b\x1fc\udc80",))], tmp_path)
    assert read("svg", path)[0].label == "a\ufffdb\ufffdc\ufffd"


def test_opencv_fills_the_paths_to_the_masks(tmp_path):
    import cv2

    masks = [np.kron(mask, np.ones((6, 6), dtype=bool)) for mask in blobs(4)]
    (path,) = write("svg", [answered(masks)], tmp_path)
    for mask, element in zip(masks, ElementTree.parse(path).getroot(), strict=True):
        rings = [
            np.array([float(v) for v in ring.replace("L", " ").strip("M ").split()]).reshape(-1, 2)
            for ring in element.get("d").split("Z")[:-1]
        ]
        # sixteenths of a pixel; OpenCV's coordinates are pixel centres
        fixed = [np.round((ring - 0.5) * 16).astype(np.int32) for ring in rings]
        drawn = cv2.fillPoly(np.zeros(mask.shape, np.uint8), fixed, 1, shift=4).astype(bool)
        assert iou(drawn, mask) > 0.97  # OpenCV draws the border as well
    assert all(iou(a.rle, mask) >= 0.99 for a, mask in zip(read("svg", path), masks, strict=True))


def test_other_tools_straight_paths_are_read(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="12px" height="10px">'
        '<g><path d="m1,1 4,0 v3h-4z M7 1H9V3H7Z m0 4 l2 0 0 2 -2 0z"/></g></svg>'
    )
    (a,) = read("svg", path)
    expected = np.zeros((10, 12), dtype=bool)
    expected[1:4, 1:5] = expected[1:3, 7:9] = expected[5:7, 7:9] = True
    assert (rle.decode(a.rle) == expected).all()
    assert (a.size, a.id, a.label, a.score) == ((10, 12), None, None, None)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('<svg viewBox="0 0 9 9"><path d="M0 0C1 1 2 2 3 3Z"/></svg>', "a path with curves"),
        ('<svg viewBox="5 0 9 9"><path d="M0 0L1 1 2 2Z"/></svg>', "viewBox"),
        ("<svg><path/></svg>", "viewBox"),
        ('<svg viewBox="0 0 1e6 1e6"/>', "1000000 x 1000000 pixels"),
        ('<svg viewBox="0 0 9 9"><path data-id="x" d="M0 0L1 1 2 2Z"/></svg>', "invalid literal"),
        ("<html/>", "not <html>"),
        ("<svg", "not SVG"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path, text, what):
    path = tmp_path / "a.svg"
    path.write_text(text)
    with pytest.raises(ItemError, match=what):
        read("svg", path)


def test_a_path_written_by_seg_is_short(tmp_path):
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:80, 20:100] = True
    (path,) = write("svg", [answered([mask])], tmp_path)
    assert ElementTree.parse(path).getroot()[0].get("d").count("L") <= 7


def test_numbers_behind_the_end_of_a_ring_are_refused(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M1 1L5 1L5 5Z7"/></svg>')
    with pytest.raises(ItemError, match="numbers behind it"):
        list(get_reader("svg").read(path))

from __future__ import annotations

import base64
import json
from io import BytesIO

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from tests.io.formats.answers import SIZE, answered, blobs, iou, read, write

from segcli.core import rle
from segcli.core.errors import ItemError


def ring():
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:60, 20:90] = True
    mask[30:40, 40:60] = False
    return mask


def loaded(path):
    """The file's content, once it has passed the checks that LabelMe 5 to 7 make when they open it."""
    value = json.loads(path.read_text("utf-8"))
    for key in ("version", "imageData", "imagePath", "shapes", "flags", "imageHeight", "imageWidth"):
        assert key in value
    assert isinstance(value["imagePath"], str)
    assert value["imageData"] is None
    assert isinstance(value["flags"], dict)
    for shape in value["shapes"]:
        assert isinstance(shape["label"], str)
        assert shape["label"]
        assert shape["shape_type"] in ("polygon", "mask")
        assert isinstance(shape["points"], list)
        assert shape["points"]
        assert all(len(p) == 2 and all(type(v) in (int, float) for v in p) for p in shape["points"])
        assert isinstance(shape["flags"], dict)
        assert shape["description"] is None or isinstance(shape["description"], str)
        assert shape["group_id"] is None or isinstance(shape["group_id"], int)
        if shape["shape_type"] == "mask":
            (x0, y0), (x1, y1) = shape["points"]
            part = np.asarray(PIL.Image.open(BytesIO(base64.b64decode(shape["mask"]))))
            assert part.shape == (y1 - y0 + 1, x1 - x0 + 1)  # both corner pixels are inside
        else:
            assert shape.get("mask") is None
            assert len(shape["points"]) > 2
    return value


def test_labelme_accepts_the_file(tmp_path):
    one = answered([*blobs(), ring()], labels=("cat", None, "dög", "ring"))
    value = loaded(write("labelme", [one], tmp_path)[0])
    assert value["imagePath"] == "a b.jpg"  # beside the photo
    assert (value["imageHeight"], value["imageWidth"]) == SIZE
    assert {shape["label"] for shape in value["shapes"]} == {"cat", "object", "dög", "ring"}


def test_a_mask_with_a_hole_is_a_mask_shape_and_exact(tmp_path):
    (path,) = write("labelme", [answered([ring()])], tmp_path)
    assert [shape["shape_type"] for shape in loaded(path)["shapes"]] == ["mask"]
    (a,) = read("labelme", path)
    assert (rle.decode(a.rle) == ring()).all()
    assert a.exact


def test_parts_of_one_mask_are_polygons_of_one_group(tmp_path):
    mask = np.zeros(SIZE, dtype=bool)
    mask[5:20, 5:30] = mask[40:70, 50:100] = True
    (path,) = write("labelme", [answered([mask], ids=(9,))], tmp_path)
    shapes = loaded(path)["shapes"]
    assert [shape["group_id"] for shape in shapes] == [9, 9]
    (a,) = read("labelme", path)
    assert (a.id, iou(a.rle, mask)) == (9, 1.0)


def test_labelmes_way_of_drawing_polygons_gives_the_mask_to_within_its_border(tmp_path):
    from scipy import ndimage

    mask = ndimage.binary_fill_holes(blobs(2, 1)[0])
    (path,) = write("labelme", [answered([mask])], tmp_path)
    drawn = PIL.Image.new("L", SIZE[::-1])
    for shape in loaded(path)["shapes"]:
        PIL.ImageDraw.Draw(drawn).polygon([tuple(p) for p in shape["points"]], outline=1, fill=1)
    assert not (np.asarray(drawn).astype(bool) ^ mask)[ndimage.binary_erosion(mask, iterations=2)].any()
    assert not (np.asarray(drawn).astype(bool) ^ mask)[~ndimage.binary_dilation(mask, iterations=2)].any()


def shapes_file(tmp_path, *shapes, **more):
    path = tmp_path / "a.json"
    value = {"imagePath": "..\\photos\\a.jpg", "imageHeight": 20, "imageWidth": 30, "shapes": shapes, **more}
    path.write_text(json.dumps(value))
    return path


def test_what_people_draw_in_labelme_is_read(tmp_path):
    path = shapes_file(
        tmp_path,
        {"label": "box", "points": [[12, 10], [2, 3]], "shape_type": "rectangle", "group_id": None},
        {"label": "disc", "points": [[15, 10], [15, 14]], "shape_type": "circle"},
        {"label": "old", "points": [[0, 0], [4, 0], [4, 4], [0, 4]]},
        {"label": "line", "points": [[0, 0], [4, 0]], "shape_type": "line"},
        {"label": "spot", "points": [[1, 1]], "shape_type": "point"},
    )
    box, disc, old = read("labelme", path)
    assert (box.label, box.rle.area, box.rle.bbox) == ("box", 70, (2, 3, 10, 7))
    assert (disc.label, disc.rle.bbox) == ("disc", (11, 6, 8, 8))
    assert (old.label, old.rle.area) == ("old", 16)
    assert str(box.relative) == "../photos/a.jpg"


def test_a_file_with_points_only_holds_no_mask(tmp_path):
    (a,) = read("labelme", shapes_file(tmp_path, {"label": "spot", "points": [[1, 1]], "shape_type": "point"}))
    assert a.rle is None


def png(array):
    file = BytesIO()
    PIL.Image.fromarray(array).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ({"label": "a"}, "'points' is missing"),
        ({"points": [[0, 0]] * 3}, "'label' is missing"),
        ({"label": "a", "points": [[0, 0], [5]], "shape_type": "polygon"}, "not a LabelMe file"),
        ({"label": "a", "points": [[0, 0]], "shape_type": "mask", "mask": "%"}, "not base64|damaged|not a photo|empty"),
        ({"label": "a", "points": [[25, 0]], "shape_type": "mask", "mask": png(np.ones((9, 9), np.uint8))}, "beyond"),
        ({"label": "a", "points": [[0, 0]], "shape_type": "circle"}, "not a LabelMe file"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path, shape, what):
    with pytest.raises(ItemError, match=what):
        read("labelme", shapes_file(tmp_path, shape))


def test_a_size_that_no_photo_has_is_refused_before_memory_is_taken(tmp_path):
    with pytest.raises(ItemError, match="1000000 x 1000000 pixels"):
        read("labelme", shapes_file(tmp_path, imageHeight=10**6, imageWidth=10**6))

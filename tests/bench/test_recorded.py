"""COCO-Interactive: prompts that a data set records are asked as they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from segcli.bench.prompts import recorded
from segcli.cli.app import main
from segcli.core.ask import Box, Point
from segcli.core.errors import ItemError, StorageError, UsageError
from segcli.core.rle import encode
from segcli.datasets.coco_interactive import KINDS, coco_interactive
from tests.bench.conftest import save

SIZE = (40, 60)


def rle(rows, columns):
    mask = np.zeros(SIZE, np.bool_)
    mask[rows, columns] = True
    return encode(mask).coco()


def annotation(**changed):
    return {
        "id": 7,
        "image_id": 1,
        "category_id": 3,
        "iscrowd": 0,
        "segmentation": rle(slice(10, 26), slice(20, 36)),
        "point_visual_prompt_mask": rle(18, 28),
        "box_visual_prompt_mask": rle(slice(9, 27), slice(19, 37)),
        "scribble_visual_prompt_mask": rle(slice(12, 24), 28),
        "mask_visual_prompt_mask": rle(slice(11, 27), slice(20, 37)),
    } | changed


@pytest.fixture
def interactive(tmp_path):
    """Writes a data set of these annotations, in the published form or in COCO's."""

    def write(*annotations, coco=False):
        save(tmp_path / "val2017" / "a.jpg", np.zeros((*SIZE, 3)))
        info = {"id": 1, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}
        listed = [{"image": "a.jpg", "image_info": info, "anns": annotations}]
        content = {"images": [info], "annotations": annotations} if coco else listed
        (tmp_path / "coco_interactive_val_psalm.json").write_text(json.dumps(content))
        return tmp_path

    return write


@pytest.fixture
def iou1(capsys, discs, monkeypatch):
    monkeypatch.setattr("segcli.registry.load.open_model", lambda name, **options: discs)

    def typed(*arguments):
        code = 0
        try:
            main(["bench", "iou1", "-m", "discs", *map(str, arguments)])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return typed


@pytest.mark.parametrize("coco", [False, True])
def test_recorded_prompts_are_asked_and_no_others(interactive, iou1, discs, coco):
    root = interactive(annotation(), coco=coco)
    code, out, err = iou1("--data", root, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["data"]["layout"] == "coco-interactive"
    assert found["settings"]["asked"] == "recorded"
    assert set(found["metrics"]) == {"objects", *(f"1-IoU {k}" for k in KINDS)}
    point, scribble, box, mask = discs.asked
    assert point.points == (Point(28, 18),)
    assert box.boxes == (Box(19, 9, 36, 26),)
    assert scribble.scribbles[0].drawn.coco() == rle(slice(12, 24), 28)
    assert mask.mask.coco() == rle(slice(11, 27), slice(20, 37))


def test_an_object_without_a_recorded_scribble_does_not_count_for_scribbles(interactive, iou1):
    empty = annotation(id=8, scribble_visual_prompt_mask=rle(slice(0), slice(0)))
    found = json.loads(iou1("--data", interactive(annotation(), empty), "--json", "--prompts", "point,scribble")[1])
    assert found["items"][1]["scribble"] is None
    assert found["items"][1]["point"] == found["items"][0]["point"] > 0.5
    assert found["warnings"] == ["1 objects have no recorded scribble; they do not count for it"]


@pytest.mark.parametrize("typed", [("--prompts", "polygon"), ("--seem-box",)])
def test_what_is_not_recorded_is_refused(interactive, iou1, discs, typed):
    code, _, err = iou1("--data", interactive(annotation()), *typed)
    assert (code, len(err.splitlines())) == (2, 1)
    assert typed[-1] in err
    assert not discs.asked


def test_an_object_in_two_pieces_has_a_point_and_a_box_for_each():
    two = np.zeros(SIZE, np.bool_)
    two[2:5, 3:8] = two[20, 30] = True
    assert recorded("box", encode(two)).boxes == (Box(3, 2, 7, 4), Box(30, 20, 30, 20))
    assert recorded("point", encode(two)).points == (Point(4, 3), Point(30, 20))
    with pytest.raises(UsageError, match="stroke"):
        recorded("stroke", encode(two))


def test_a_crowd_is_left_out_and_targets_are_the_objects(interactive):
    (photo,) = coco_interactive(interactive(annotation(), annotation(id=8, iscrowd=1)))
    ((name, truth),) = photo.targets()
    assert name == "7"
    assert truth.sum() == 16 * 16
    assert set(photo.prompts()["7"]) == set(KINDS)


def test_broken_prompts_are_named(interactive):
    lacking = annotation()
    del lacking["box_visual_prompt_mask"]
    with pytest.raises(StorageError, match=r"a\.jpg has no box_visual_prompt_mask"):
        list(coco_interactive(interactive(lacking)))
    small = annotation(point_visual_prompt_mask=encode(np.ones((4, 5), np.bool_)).coco())
    with pytest.raises(ItemError, match=r"a: the point of object 7 is 5x4, the photo 60x40"):
        next(coco_interactive(interactive(small))).prompts()
    with pytest.raises(ItemError, match=r"the mask of object 7 is no run-length code"):
        next(coco_interactive(interactive(annotation(mask_visual_prompt_mask=5)))).prompts()
    root = interactive()
    (root / "coco_interactive_val_psalm.json").write_text('{"images": 3}')
    with pytest.raises(StorageError, match=r"neither a list of photos nor COCO's form"):
        list(coco_interactive(root))

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from segcli.core.errors import ItemError, StorageError
from segcli.datasets.folders import click_targets, photos, sources


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("b", "a"):
        save(tmp_path / "images" / f"{name}.jpg", np.zeros((20, 30, 3), np.uint8))
        mask = np.zeros((20, 30), np.uint8)
        mask[:10, :10], mask[15:, 15:], mask[0, 29] = 1, 2, 255
        save(tmp_path / "masks" / f"{name}.png", mask)
    return tmp_path


def listed(folder, **changes):
    entry = {"image": "images/a.jpg", "mask": "masks/a.png", "objects": [{"id": 1, "class": "cat", "thing": True}]}
    (folder / "objects.jsonl").write_text(json.dumps(entry | changes) + "\n")


def test_plain_folders_are_read_in_order_of_name_with_the_masks_own_objects(folder):
    found = list(photos(folder))
    assert [p.name for p in found] == ["a", "b"]
    ids = found[0].ids()
    assert [o.id for o in found[0].labelled(ids)] == [1, 2]
    assert found[0].pixels().shape == (20, 30, 3)


def test_a_list_names_the_objects(folder):
    listed(folder, complete=True)
    (photo,) = photos(folder)
    assert [(o.id, o.name, o.thing) for o in photo.objects] == [(1, "cat", True)]
    assert photo.complete


def test_a_mask_of_black_and_white_holds_one_object(folder):
    save(folder / "masks" / "a.png", np.repeat(np.uint8([[0, 255]]), 15, axis=1).repeat(20, axis=0))
    photo = next(photos(folder))
    assert [o.id for o in photo.labelled(photo.ids())] == [1]


@pytest.mark.parametrize("listing", [False, True])
def test_a_mask_of_another_size_than_its_photo_is_named_with_both_sizes(folder, listing):
    if listing:
        listed(folder)
    save(folder / "masks" / "a.png", np.ones((30, 20), np.uint8))
    with pytest.raises(ItemError, match=r"masks/a.png: is 20x30, .*images/a.jpg is stored as 30x20 .*make them equal"):
        next(photos(folder)).ids()


@pytest.mark.parametrize("listing", [False, True])
def test_ids_that_no_byte_holds_are_refused_and_do_not_become_others(folder, listing):
    if listing:
        listed(folder)
    values = np.zeros((20, 30), np.uint16)
    values[2:9, 2:9] = 257
    save(folder / "masks" / "a.png", values)
    with pytest.raises(ItemError, match="holds the id 257; ids are 1 to 254"):
        next(photos(folder)).ids()


def test_small_objects_and_stuff_are_no_click_targets(folder):
    photo = next(photos(folder))
    ids = photo.ids()
    assert [o.id for o in click_targets(photo, ids, min_area=0.15)] == [1]
    listed(folder, objects=[{"id": 1, "thing": False}, {"id": 2, "thing": True}])
    photo = next(photos(folder))
    assert [o.id for o in click_targets(photo, ids, min_area=0.01)] == [2]


def test_sources_one_level_below_are_found(folder):
    (folder / "sub").mkdir()
    for name in ("images", "masks"):
        (folder / name).rename(folder / "sub" / name)
    assert [p.name for p in sources(folder)] == ["sub"]


def test_a_photo_without_a_mask_is_named(folder):
    (folder / "masks" / "a.png").unlink()
    with pytest.raises(ItemError, match=r"a.jpg: has no mask"):
        list(photos(folder))


@pytest.mark.parametrize("line", ["{", "[]", '{"image": "x"}', '{"image":"a","mask":"b","objects":[{"id":"x"}]}'])
def test_a_broken_line_of_the_list_is_named(folder, line):
    (folder / "objects.jsonl").write_text("\n" + line + "\n")
    with pytest.raises(StorageError, match=r"objects.jsonl:2"):
        list(photos(folder))


def test_the_ignore_value_is_no_object(folder):
    listed(folder, objects=[{"id": 255}])
    with pytest.raises(StorageError, match="1 to 254"):
        list(photos(folder))


def test_a_folder_without_sources_is_refused(tmp_path):
    with pytest.raises(StorageError, match="no images/ with masks/"):
        sources(tmp_path)

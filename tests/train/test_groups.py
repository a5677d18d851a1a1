"""MaskGroups from annotations (P13 of the published properties), with the worked example."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from segcli.core.ask import Ask
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.datasets.groups import read_groups
from segcli.train.groups import (
    Annotated,
    excluded,
    from_expressions,
    from_instances,
    groups,
    masks_in_boxes,
    merged,
    write,
)
from segcli.train.groups_rules import beside, compared, groups_of_words, of_word, on_side, related

SIZE = (80, 100)
BOXES = [(5, 5, 25, 25), (60, 10, 90, 40), (10, 50, 40, 70)]


def box_mask(box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


MASKS = tuple(encode(box_mask(box)) for box in BOXES)


def photo(**changes: object) -> Annotated:
    categories = tuple(frozenset({word}) for word in ("dog", "cat", "dog"))
    return Annotated("a.jpg", SIZE, MASKS, categories, **changes)  # type: ignore[arg-type]


def test_a_class_of_two_is_a_group_and_one_of_one_is_none() -> None:
    assert groups_of_words([{"dog"}, {"cat"}, {"dog"}]) == {"dog": (0, 2)}
    found = {m.sentence: m for m in groups(photo(), np.random.default_rng(0)) if m.kind == "category"}
    assert set(found) == {"Select all dog", "Segment everything of the same class as <mask-ref>."}
    same = found["Segment everything of the same class as <mask-ref>."]
    assert same.targets == (0, 2)
    assert same.references[0] in (0, 2)


def test_an_attribute_is_asked_for_in_words_and_by_reference() -> None:
    red = (frozenset({"red"}), frozenset({"red", "tall"}), frozenset[str]())
    found = {
        m.sentence: m.targets for m in groups(photo(attributes=red), np.random.default_rng(0)) if m.kind == "attribute"
    }
    assert found == {
        "Select all red objects": (0, 1),
        "Find all the objects with the same attribute as <mask-ref> in the image.": (0, 1),
    }


def test_a_side_of_the_photo_is_where_a_boxs_centre_lies() -> None:
    assert on_side(BOXES, "left", SIZE) == (0, 2)
    assert on_side(BOXES, "right", SIZE) == (1,)
    sentences = {m.sentence: m.targets for m in groups(photo(), np.random.default_rng(0))}
    assert sentences["Locate all the items on the left side of the image."] == (0, 2)


def test_above_a_reference_is_a_smaller_centre_and_leaves_the_reference_out() -> None:
    assert beside(BOXES, "top", 2) == (0, 1)
    assert beside(BOXES, "bottom", 2) == ()


def test_triplets_group_their_objects_and_mirrored_their_subjects() -> None:
    man, dog, cup, phone = range(4)
    found = related([(man, "holds", cup), (man, "holds", phone), (dog, "holds", cup)])
    assert found == [("holds", man, (cup, phone), False), ("holds", cup, (man, dog), True)]


def test_relations_become_sentences_with_the_reference_in_them() -> None:
    meant = [
        m
        for m in groups(photo(triplets=((0, "holds", 1), (0, "holds", 2))), np.random.default_rng(0))
        if m.kind == "relation"
    ]
    assert [(m.sentence, m.references, m.targets) for m in meant] == [
        ("Select all objects that <mask-ref> holds.", (0,), (1, 2))
    ]


def test_sizes_are_compared_without_the_reference() -> None:
    assert compared([4, 9, 4], 0, larger=True) == (1,)
    assert compared([4, 9, 4], 0, larger=False) == ()
    assert of_word([("a",), (), ("a", "b")], "a") == (0, 2)


def test_overlapping_annotations_are_one_object_with_both_words() -> None:
    shifted = np.zeros(SIZE, bool)
    shifted[6:26, 5:25] = True
    masks, words = merged([(MASKS[0], "dog"), (MASKS[1], "cat"), (encode(shifted), "puppy")])
    assert masks == MASKS[:2]
    assert words == (frozenset({"dog", "puppy"}), frozenset({"cat"}))


def instances(path: Path, boxes: list[tuple[int, int, int, int]], word: str) -> Path:
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 80, "width": 100}],
        "categories": [{"id": 1, "name": word}],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": 1, "iscrowd": 0, "segmentation": encode(box_mask(box)).coco()}
            for n, box in enumerate(boxes, 1)
        ],
    }
    path.write_text(json.dumps(content))
    return path


def test_files_of_the_same_photos_are_merged(tmp_path: Path) -> None:
    paths = [
        instances(tmp_path / "coco.json", BOXES[:2], "dog"),
        instances(tmp_path / "lvis.json", BOXES[1:], "mug_cup"),
    ]
    (found,) = from_instances(paths)
    assert len(found.masks) == 3
    assert found.categories == (frozenset({"dog"}), frozenset({"dog", "mug cup"}), frozenset({"mug cup"}))


def test_what_is_written_is_read_as_groups_and_excluded_photos_are_not_in_it(tmp_path: Path) -> None:
    out = tmp_path / "groups.jsonl"
    count = write([photo()], out, seed=0)
    read = read_groups(out, "train")
    assert len(read) == count > 4
    assert all(g.candidates == MASKS for g in read)
    assert write([photo()], out, seed=0, excluded=frozenset({"a.jpg"})) == 0
    assert write([photo()], out, seed=0) == count
    assert [g.targets for g in read_groups(out)] == [g.targets for g in read], "the same seed draws the same references"


def refcoco(root: Path) -> Path:
    root.mkdir()
    instances(root / "instances.json", BOXES, "dog")
    refs = [
        {"ref_id": n, "ann_id": n, "image_id": 7, "split": split, "sentences": [{"sent_id": n, "sent": f"dog {n}"}]}
        for n, split in ((1, "train"), (2, "train"), (3, "val"))
    ]
    (root / "refs(unc).p").write_bytes(pickle.dumps(refs))
    return root


def test_expressions_mean_their_objects(tmp_path: Path) -> None:
    (found,) = from_expressions(refcoco(tmp_path / "refcoco"))
    assert found.masks == MASKS[:2]
    meant = [(m.sentence, m.targets) for m in groups(found, np.random.default_rng(0)) if m.kind == "expression"]
    assert meant == [("Select the dog 1 in the image.", (0,)), ("Select the dog 2 in the image.", (1,))]


def test_photos_of_validation_parts_are_named_to_be_kept_out(tmp_path: Path) -> None:
    assert excluded([refcoco(tmp_path / "refcoco")]) == {"a.jpg"}


class Boxes:
    """Fills boxes, sure of the large ones only."""

    def encode(self, images: list[Image]) -> list[Image]:
        return images

    def decode(self, encoded: Image, asks: list[Ask]) -> list[Prediction]:
        found = []
        for ask in asks:
            box = ask.boxes[0]
            mask = np.zeros(encoded.size, bool)
            mask[round(box.y0) : round(box.y1) + 1, round(box.x0) : round(box.x1) + 1] = True
            found.append(Prediction(encoded.size, (encode(mask),), (0.9 if mask.sum() > 450 else 0.5,)))
        return found


def test_masks_that_the_drawing_model_doubts_are_left_out() -> None:
    image = Image(np.zeros((*SIZE, 3), np.uint8), SIZE)
    drawn = masks_in_boxes(Boxes(), image, [tuple(map(float, box)) for box in BOXES])  # type: ignore[arg-type,misc]
    assert [mask is None for mask in drawn] == [True, False, False]
    assert masks_in_boxes(Boxes(), image, []) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_opposite_sides_of_a_reference_never_share_an_object(side: str) -> None:
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[side]
    for reference in range(3):
        assert not set(beside(BOXES, side, reference)) & set(beside(BOXES, opposite, reference))

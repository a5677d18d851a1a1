"""Masks that somebody has, found for their photos."""

from __future__ import annotations

import io
import json
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
import pytest

from segcli.core.ask import Ask
from segcli.core.errors import ItemError, UsageError
from segcli.core.prediction import Prediction
from segcli.core.rle import decode, encode
from segcli.io import stream
from segcli.io.candidates import Candidates, read_masks

SIZE = (20, 30)
PHOTO = PurePosixPath("a.jpg")


def block(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def white(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return path


def indexed(path: Path, ids: np.ndarray) -> Path:
    picture = PIL.Image.fromarray(ids.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(path)
    return path


def areas(given: Candidates, name: PurePosixPath = PHOTO, *, only: bool = False) -> list[int]:
    return [mask.area for mask in given.of(name, Path(name), only=only)]


def test_a_directorys_files_belong_to_the_photo_whose_name_they_begin_with(tmp_path: Path) -> None:
    white(tmp_path / "a-1.png", block(0, 0, 4))
    white(tmp_path / "a" / "2.png", block(5, 5, 6))
    white(tmp_path / "ab.png", block(0, 0, 9))
    given = Candidates(str(tmp_path))
    assert areas(given) == [16, 36]
    assert areas(given, PurePosixPath("ab.jpg")) == [81]


def test_a_single_photo_may_take_all_files_of_a_directory(tmp_path: Path) -> None:
    white(tmp_path / "left.png", block(0, 0, 4))
    white(tmp_path / "right.png", block(20, 0, 5))
    given = Candidates(str(tmp_path))
    assert areas(given, only=True) == [16, 25]
    with pytest.raises(UsageError, match=r"no masks for a\.jpg"):
        areas(given)


def test_every_object_of_an_indexed_mask_is_a_candidate(tmp_path: Path) -> None:
    ids = block(0, 0, 4) * 1 + block(10, 10, 5) * 3
    path = indexed(tmp_path / "a.png", ids)
    assert areas(Candidates(str(tmp_path))) == [16, 25]
    assert [m.area for m in read_masks(path, 3)] == [25]
    with pytest.raises(ItemError, match=r"no object 2; those it has: 1, 3"):
        list(read_masks(path, 2))


def lines(*predictions: tuple[str, Prediction]) -> bytes:
    return b"".join(stream.dumps(stream.record(name, Ask(), p, "m")) for name, p in predictions)


def test_a_stream_gives_masks_best_first_and_none_is_an_answer() -> None:
    masks = tuple(encode(block(0, 0, side)) for side in (3, 5))
    text = lines(("a.jpg", Prediction(SIZE, masks, (0.2, 0.9))), ("b.jpg", Prediction(SIZE)))
    given = Candidates("-", io.BytesIO(text))
    assert areas(given) == [25, 9]
    assert areas(given, PurePosixPath("b.jpg")) == []
    with pytest.raises(UsageError, match=r"has no masks for c\.jpg"):
        areas(given, PurePosixPath("c.jpg"))


def test_coco_annotations_are_found_by_file_name(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": side**2, "bbox": [0, 0, side, side],
             "segmentation": encode(block(0, 0, side)).coco()}
            for n, side in enumerate((3, 7), 1)
        ],
    }  # fmt: skip
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    given = Candidates(str(path))
    assert areas(given) == [49, 9], "without scores the largest come first"
    np.testing.assert_array_equal(decode(given.of(PHOTO, None, only=True)[0]), block(0, 0, 7))


@pytest.mark.parametrize("name", ["masks.txt", "missing.json"])
def test_what_can_not_be_read_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Candidates(str(tmp_path / name))

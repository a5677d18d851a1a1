"""Training photos from disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from segcli.core.errors import ItemError, StorageError
from segcli.train.photos import load_photos


def write(folder: Path, labels: np.ndarray, name: str = "a") -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    Pillow.fromarray(np.zeros((*labels.shape, 3), np.uint8)).save(folder / "images" / f"{name}.jpg")
    image = Pillow.fromarray(labels)
    image.putpalette(bytes(range(256)) * 3)
    image.save(folder / "masks" / f"{name}.png")


@pytest.fixture
def labels() -> np.ndarray:
    ids = np.zeros((100, 200), np.uint8)
    ids[10:60, 20:90], ids[70:100, :], ids[0, 0], ids[5:9, 150:160] = 1, 2, 255, 3
    return ids


def test_listed_things_are_drawn_more_often_than_stuff(tmp_path: Path, labels: np.ndarray) -> None:
    write(tmp_path, labels)
    objects = [{"id": 1, "class": "cat", "thing": True}, {"id": 2, "class": "sea", "thing": False}, {"id": 3}]
    row = {"image": "images/a.jpg", "mask": "masks/a.png", "objects": objects}
    (tmp_path / "objects.jsonl").write_text(json.dumps(row))
    (photo,) = load_photos([tmp_path])
    assert photo.weights[1] > photo.weights[3] > photo.weights[2] > 0
    assert photo.donors == (1,)  # 2 is stuff and cut by the border, 3 is small and unnamed


def test_without_a_list_every_id_counts_and_ignored_pixels_do_not(tmp_path: Path, labels: np.ndarray) -> None:
    write(tmp_path, labels)
    (photo,) = load_photos([tmp_path])
    assert set(photo.weights) == {1, 2, 3}
    assert len(set(photo.weights.values())) == 1


def test_large_photos_are_kept_small_and_ids_stay_ids(tmp_path: Path, labels: np.ndarray) -> None:
    write(tmp_path, labels)
    (photo,) = load_photos([tmp_path], max_side=50)
    assert photo.pixels.shape == (25, 50, 3)
    assert set(np.unique(photo.labels).tolist()) <= {0, 1, 2, 3, 255}


def test_a_folder_of_folders_is_read_whole(tmp_path: Path, labels: np.ndarray) -> None:
    write(tmp_path / "one", labels)
    write(tmp_path / "two", labels)
    assert len(load_photos([tmp_path])) == 2


def test_a_folder_without_pairs_and_a_photo_without_mask_are_named(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(StorageError, match=str(tmp_path)):
        load_photos([tmp_path])
    write(tmp_path, labels)
    (tmp_path / "masks" / "a.png").unlink()
    with pytest.raises(ItemError, match=r"a\.jpg: has no mask"):
        load_photos([tmp_path])

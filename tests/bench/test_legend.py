"""Class maps that `seg panoptic --kind semantic` writes are scored as they stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segcli.bench.maps import SemanticMeasure
from segcli.core.classes import known
from segcli.core.errors import ItemError
from segcli.datasets.semantic import ClassMap
from segcli.io.formats import get_format
from segcli.io.formats.contract import Options
from segcli.io.png import write_png


def measured(folder: Path, truth: np.ndarray, result: np.ndarray, names: tuple[str, ...], ids: dict, **entry) -> dict:
    (folder / "results").mkdir(parents=True)
    (folder / "a.png").write_bytes(write_png(truth.astype(np.uint8)))
    (folder / "results" / "a.png").write_bytes(write_png(result.astype(np.uint8)))
    form = get_format("semantic")
    legend = b"".join(form.assemble([], Options(categories=names, coco_categories=ids)))
    (folder / "results" / "legend.json").write_bytes(legend)
    classes = entry.pop("classes")
    measure = SemanticMeasure((ClassMap("a", folder / "a.png", **entry),), folder / "results", classes)
    return measure.summarise([measure.measure("a")]).metrics


def test_ids_of_a_class_list_become_the_classes_of_the_data_set(tmp_path: Path):
    ade, voc = known("ade20k"), known("voc")
    truth = np.array([[1, 2], [150, 0]])  # as ADE20K stores them: from 1, 0 ignored
    scores = measured(tmp_path / "ade", truth, truth, ade.names, ade.id_of, shift=1, classes=150)
    assert (scores["mIoU"], scores["pAcc"]) == (100, 100)
    truth = np.array([[0, 15], [255, 20]])  # as VOC does: 0 is the background, 255 ignored
    scores = measured(tmp_path / "voc", truth, np.where(truth == 255, 0, truth), voc.names, voc.id_of, classes=21)
    assert (scores["mIoU"], scores["pAcc"]) == (100, 100)
    wrong = np.array([[15, 0], [0, 20]])
    assert measured(tmp_path / "wrong", truth, wrong, voc.names, voc.id_of, classes=21)["pAcc"] == pytest.approx(
        100 / 3
    )
    scores = measured(tmp_path / "own", np.array([[0, 1]]), np.array([[9, 4]]), ("a", "b"), {"a": 9, "b": 4}, classes=2)
    assert scores["mIoU"] == 100


def test_a_legend_of_other_classes_is_refused(tmp_path: Path):
    voc = known("voc")
    with pytest.raises(ItemError, match=r"legend\.json lists 20 classes, the data set has 150"):
        measured(tmp_path, np.array([[1]]), np.array([[1]]), voc.names, voc.id_of, classes=150)

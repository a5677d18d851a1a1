"""From paths and words as typed to measurements of results that lie on disk."""

from __future__ import annotations

from pathlib import Path

from segcli.bench.maps import PanopticMeasure, SemanticMeasure
from segcli.bench.sentences import GroupMeasure, read_answers
from segcli.core.errors import UsageError
from segcli.datasets import referring
from segcli.datasets.coco import panoptic_pairs
from segcli.datasets.groups import read_groups
from segcli.datasets.referring import Sentence
from segcli.datasets.semantic import CLASSES, class_maps


def open_panoptic(data: Path, pred: Path, data_png: Path | None, pred_png: Path | None) -> PanopticMeasure:
    """Two COCO panoptic JSON files; the PNG folders default to those named like them."""
    pairs, things, names = panoptic_pairs(data, pred, data_png, pred_png)
    return PanopticMeasure(tuple(pairs), things, names)


def open_semantic(data: Path, layout: str, split: str, results: Path, classes: int | None) -> SemanticMeasure:
    """Class maps of a layout against PNG files in `results`. Raises UsageError when nobody says how many classes."""
    count = CLASSES.get(layout) if classes is None else classes
    if count is None and layout == "folder":
        raise UsageError("plain folders: say how many classes there are with --classes N")
    maps = class_maps(data, layout, split)  # names the known layouts if this is none
    return SemanticMeasure(tuple(maps), results, count or 0)


def open_sentences(data: Path, split: str, splits_by: str | None, *, generalised: bool) -> tuple[Sentence, ...]:
    """RefCOCO's sentences, or gRefCOCO's, that may mean nothing."""
    if generalised:
        return tuple(referring.grefcoco(data, split))
    return tuple(referring.refcoco(data, split, splits_by))


def open_groups(data: Path, split: str | None, results: Path | None) -> GroupMeasure:
    """Groups of masks against answers, or against the best of their candidates."""
    answers = None if results is None else read_answers(results)
    return GroupMeasure(tuple(read_groups(data, split)), answers)

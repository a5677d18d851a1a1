"""From paths and words as typed to measurements: of results that lie on disk, or of a model that is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segcli.bench.correspond import CorrespondMeasure
from segcli.bench.instances import AskedInstanceMeasure, names_of, truth_with_images
from segcli.bench.maps import PanopticMeasure, SemanticMeasure
from segcli.bench.predicting import GroupAnswers, ShownClasses, whole_photos
from segcli.bench.sentences import GroupMeasure, read_answers
from segcli.core.errors import UsageError
from segcli.datasets import referring
from segcli.datasets.coco import panoptic_pairs, panoptic_truths
from segcli.datasets.correspondence import CorrespondenceResults, correspondences
from segcli.datasets.groups import read_groups
from segcli.datasets.referring import Sentence
from segcli.datasets.semantic import CLASSES, class_maps
from segcli.models.api import Promptable


def ask_panoptic(data: Path, photos: Path, data_png: Path | None, model: Promptable) -> PanopticMeasure:
    """A COCO panoptic JSON file against what a model says about the photos."""
    pairs, things, names = panoptic_truths(data, photos, data_png)
    return PanopticMeasure(tuple(pairs), things, names, whole_photos(model, names, things))


def ask_semantic(data: Path, layout: str, split: str, names: Sequence[str], model: Promptable) -> SemanticMeasure:
    """Class maps of a layout against what a model says about their photos; `names` of the classes from 0."""
    count = CLASSES.get(layout, len(names))
    if len(names) != count:
        raise UsageError(
            f"layout {layout} has {count} classes, the list {len(names)}; give one name for each, in order"
        )
    asked = whole_photos(model, dict(enumerate(names)))
    return SemanticMeasure(tuple(class_maps(data, layout, split)), asked, count)


def show_semantic(
    data: Path,
    layout: str,
    split: str,
    classes: Mapping[int, int],
    count: int | None,
    model: Promptable,
    learned: Mapping[str, Any],
) -> SemanticMeasure:
    """Class maps of a layout against what a model says that has learned the classes.

    classes: id in the model's answers -> class from 0. count: classes of the data set; known for all layouts but
    "folder", where it is one more than the last class if nobody says it. Where a set counts its background as class 0
    and nobody shows that, it is what no class claims. Raises UsageError for a class that the data set has not.
    """
    maps = tuple(class_maps(data, layout, split))  # names the known layouts if this is none
    total = CLASSES.get(layout, count) or 1 + max(classes.values())
    if max(classes.values()) >= total:
        raise UsageError(f"class {max(classes.values())} is shown; the data set has {total} classes, from 0 on")
    background = 0 if layout in ("folder", "pascal") and 0 not in classes.values() else None
    return SemanticMeasure(maps, ShownClasses(model, classes, background, learned), total)


def ask_instance(data: Path, photos: Path, boxes: bool, model: Promptable) -> AskedInstanceMeasure:
    """A COCO instances file against what a model says about the photos."""
    if not photos.is_dir():
        raise UsageError(f"--images {photos}: no such folder; give the one with the photos of {data.name}")
    names = names_of(truth_with_images(data))
    asked = whole_photos(model, names, dict.fromkeys(names, True))
    return AskedInstanceMeasure(data, photos, asked, "bbox" if boxes else "segm")


def ask_groups(data: Path, split: str | None, photos: Path, model: Promptable) -> GroupMeasure:
    """Groups of masks against what a model chooses of their candidates."""
    groups = tuple(read_groups(data, split))
    return GroupMeasure(groups, GroupAnswers(model, groups, photos))


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


def open_correspondence(data: Path, results: Path, direction: str) -> CorrespondMeasure:
    """Ego-Exo4D's relations against results in the official form."""
    pairs = correspondences(data, direction)
    return CorrespondMeasure(tuple(pairs), CorrespondenceResults(results, direction), direction)

"""Masks from format to format and back, on 500 random mask sets a promise: what is lost is what is said."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcli.core.prediction import Prediction
from segcli.core.rle import encode, iou
from segcli.io.formats.contract import Options
from segcli.io.maskfiles import Masks, read
from segcli.pipeline.maskwriter import HOLDS, write
from segcli.pipeline.plan import Output

EXACT = ("coco", "jsonl", "npz")  # masks may overlap, and have everything
FLAT = ("palette", "panoptic")  # one mask a pixel
OUTLINES = ("labelme", "yolo", "svg")
LABELS = ("cat", "a dog", "ärger", "x,y")
PHOTOS = 5  # mask sets an example

sets = settings(max_examples=500 // PHOTOS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def mask(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Noise in a box, a disc with a hole, a sparse sprinkling, or everything; never nothing."""
    rows, columns = np.indices(size)
    kind, found = rng.integers(4), np.zeros(size, np.bool_)
    y, x = rng.integers(size[0]), rng.integers(size[1])
    if kind == 0:
        found[y : y + 6, x : x + 9] = rng.random(found[y : y + 6, x : x + 9].shape) < 0.6
    elif kind == 1:
        far = np.hypot(rows - y, columns - x)
        found = (far <= rng.integers(1, 12)) & (far >= rng.integers(3))
    elif kind == 2:
        found = rng.random(size) < 0.03
    else:
        found[:] = True
    found[y, x] = True
    return found


@st.composite
def predictions(draw, *, flat: bool = False) -> Prediction:
    """Up to four masks with ids, labels and scores; with `flat`, no pixel has two."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from([(24, 30), (1, 1), (7, 40), (33, 9)]))
    masks = [mask(rng, size) for _ in range(draw(st.integers(0, 4)))]
    if flat:
        taken = np.zeros(size, np.bool_)
        for n, one in enumerate(masks):
            masks[n] = one & ~taken
            taken |= one
        masks = [one for one in masks if one.any()]
    count = len(masks)
    return Prediction(
        size,
        tuple(map(encode, masks)),
        tuple(float(s) for s in rng.integers(0, 65, count) / 64),
        tuple(LABELS[n] for n in rng.integers(0, len(LABELS), count)),
        ids=tuple(int(n) for n in rng.permutation(9)[:count] + 1),
    )


several = st.lists(predictions(), min_size=PHOTOS, max_size=PHOTOS)
several_flat = st.lists(predictions(flat=True), min_size=PHOTOS, max_size=PHOTOS)


def through(given_: list[Prediction], *formats: str, folder: Path) -> tuple[list[Prediction], set[str]]:
    """Written in each format in turn, each time from what the one before holds; and what was said to be lost."""
    found = [Masks(PurePosixPath(f"p{n}.jpg"), p) for n, p in enumerate(given_)]
    sizes = {f"p{n}": p.size for n, p in enumerate(given_)}
    lost: set[str] = set()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for step, kind in enumerate(formats):
            done = write(found, Output(Path(place, str(step)), None, (kind,), Options(categories=LABELS)))
            assert not done.failed
            lost |= done.lost
            known = read([f"{place}/{step}"], kind, size_of=lambda name: sizes[name.stem], categories=LABELS)
            found = sorted(known, key=lambda one: one.key)
    assert [one.key for one in found] == sorted(sizes)
    return [one.prediction for one in found], lost


def rows(prediction: Prediction, *, ids: bool, labels: bool, scores: bool) -> list[tuple]:
    """A prediction's masks with what a format can hold beside them."""
    return [
        (
            prediction.masks[n],
            prediction.ids[n] if ids else None,
            prediction.names[n] if labels else None,
            prediction.scores[n] if scores else None,
        )
        for n in range(len(prediction))
    ]


def held(*formats: str) -> dict[str, bool]:
    """What all of these formats keep."""
    ids, labels, scores, _ = (all(column) for column in zip(*(HOLDS[kind] for kind in formats), strict=True))
    return {"ids": ids, "labels": labels, "scores": scores}


@sets
@given(several, st.sampled_from(EXACT), st.sampled_from(EXACT))
def test_there_and_back_between_exact_formats_nothing_is_lost(tmp_path, wanted, there, back):
    found, lost = through(wanted, there, back, there, folder=tmp_path)
    kept = held(there, back)
    for a, b in zip(found, wanted, strict=True):
        assert a.size == b.size
        assert rows(a, **kept) == rows(b, **kept)
    assert lost <= {"ids"}
    assert kept["ids"] is False or lost == set()


@sets
@given(several_flat, st.sampled_from(FLAT), st.sampled_from(EXACT))
def test_there_and_back_between_formats_of_one_mask_a_pixel_and_exact_ones_nothing_is_lost(
    tmp_path, wanted, flat, exact
):
    found, lost = through(wanted, flat, exact, flat, folder=tmp_path)
    kept = held(flat, exact)
    for a, b in zip(found, wanted, strict=True):
        assert sorted(rows(a, **kept), key=str) == sorted(rows(b, **kept), key=str)
    assert "what lies under another mask" not in lost
    assert "exact borders" not in lost


@sets
@given(several, st.sampled_from(OUTLINES), st.sampled_from(EXACT))
def test_there_and_back_through_outlines_masks_are_nearly_the_same_and_the_rest_is_kept(
    tmp_path, wanted, outlines, exact
):
    found, lost = through(wanted, exact, outlines, exact, folder=tmp_path)
    kept = held(exact, outlines)
    for a, b in zip(found, wanted, strict=True):
        blank = replace(a, masks=b.masks) if len(a) == len(b) else a
        assert rows(blank, **kept) == rows(b, **kept)
        for n in range(len(b)):
            assert iou([a.masks[n]], [b.masks[n]])[0, 0] >= 0.99
    assert ("exact borders" in lost) == any(len(one) for one in wanted)


@sets
@given(several, st.sampled_from([kind for kind in HOLDS if kind not in ("mask", "semantic")]))
def test_whatever_does_not_come_back_was_said_to_be_lost(tmp_path, wanted, kind):
    found, lost = through(wanted, kind, folder=tmp_path)
    for a, b in zip(found, wanted, strict=True):
        same = {
            "ids": sorted(a.ids) == sorted(b.ids),
            "labels": sorted(map(str, a.names)) == sorted(map(str, b.names)),
            "scores": sorted(a.scores) == sorted(b.scores),
        }
        masks = sorted(rle.counts for rle in a.masks) == sorted(rle.counts for rle in b.masks)
        hidden = "what lies under another mask" in lost  # a mask that lies wholly under others is gone with its row
        assert masks or hidden or "exact borders" in lost
        for what, kept in same.items():
            assert kept or what in lost or (hidden and len(a) < len(b)), what


@pytest.mark.parametrize("kind", HOLDS)
def test_what_is_said_to_be_kept_is_not_said_to_be_lost(tmp_path, kind):
    one = Prediction((4, 6), (encode(np.eye(4, 6, dtype=np.bool_)),), (0.5,), ("cat",), ids=(7,))
    done = write([Masks(PurePosixPath("a.jpg"), one)], Output(tmp_path, None, (kind,), Options(categories=("cat",))))
    ids, labels, scores, exact = HOLDS[kind]
    kept = {"ids": ids, "labels": labels, "scores": scores, "exact borders": exact}
    assert done.lost == {what for what, holds in kept.items() if not holds}

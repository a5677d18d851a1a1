from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcli.bench.clicking import ClickSample, click_loop
from segcli.bench.noc import folder_samples, run_noc, summary
from segcli.bench.photos import open_photos
from segcli.bench.prompts import KINDS, prompt
from segcli.bench.rules import ritm, seem
from segcli.core.errors import ItemError, UsageError
from segcli.core.image import Image
from segcli.core.rle import decode
from segcli.datasets.folders import photos as read_photos
from segcli.metrics.clicks import Click
from tests.bench.conftest import save


def box(size=(40, 60), rows=slice(10, 26), columns=slice(20, 38)):
    truth = np.zeros(size, np.int8)
    truth[rows, columns] = 1
    return truth


def sample(truth):
    return ClickSample(Image(np.zeros((*truth.shape, 3), np.uint8), truth.shape), "1", truth)


def test_each_click_answers_the_last_mask_and_brings_all_clicks_before(discs):
    runs = run_noc(discs, [sample(box())], clicks=4)
    assert len(runs[0].clicks) == 4
    assert [len(a.points) for a in discs.asked] == [1, 2, 3, 4]
    assert discs.asked[0].previous is None
    first = decode(discs.asked[1].previous)
    click = discs.asked[0].points[0]
    assert first[int(click.y), int(click.x)]


def test_a_run_ends_once_the_iou_is_reached_but_not_before_the_least_clicks():
    truth = box()
    right = lambda clicks, previous: truth == 1  # noqa: E731
    assert len(click_loop(sample(truth), right, 9, stop_at=0.9)[1]) == 1
    assert len(click_loop(sample(truth), right, 9, stop_at=0.9, min_clicks=3)[1]) == 3
    assert len(click_loop(sample(truth), right, 9)[1]) == 9


def test_borders_are_scored_beside_the_overlap_and_ignored_pixels_count_for_neither():
    truth = box()
    rows, columns = np.nonzero(truth == 1)
    ragged = truth == 1
    ragged[rows.min() : rows.max() : 4, columns.min() : columns.min() + 6] = False
    answers = iter([ragged, truth == 1])
    _, ious, borders, _ = click_loop(sample(truth), lambda clicks, previous: next(answers), 2)
    assert borders[0] < ious[0] < 1
    assert (borders[1], ious[1]) == (1, 1)
    spared = truth.copy()
    spared[(truth == 1) & ~ragged] = -1
    assert click_loop(sample(spared), lambda clicks, previous: ragged, 1)[1:3] == ((1.0,), (1.0,))


def test_an_answer_of_another_size_is_a_bug_of_the_model():
    with pytest.raises(ValueError, match="answered"):
        click_loop(sample(box()), lambda clicks, previous: np.zeros((3, 3), np.bool_))


def test_a_photo_is_encoded_once_for_all_its_objects(tmp_path, discs):
    save(tmp_path / "images" / "a.jpg", np.zeros((40, 60, 3)))
    mask = box() * 1 + box(rows=slice(28, 39), columns=slice(0, 15)) * 2
    save(tmp_path / "masks" / "a.png", mask)
    runs = run_noc(discs, folder_samples(read_photos(tmp_path)), clicks=2)
    assert [r.target for r in runs] == ["1", "2"]
    assert discs.encoded == 1


def test_a_mask_of_another_size_than_its_photo_is_named(tmp_path):
    save(tmp_path / "images" / "a.jpg", np.zeros((40, 60, 3)))
    save(tmp_path / "masks" / "a.png", np.ones((20, 20)))
    (photo,) = open_photos(tmp_path, "folder", "")
    with pytest.raises(ItemError, match=r"a\.png: is 20x20, .*a\.jpg is stored as 60x40"):
        photo.load()


def test_an_empty_set_has_no_summary():
    with pytest.raises(UsageError, match="no object to click at"):
        summary([], 20)


def test_runs_that_stopped_early_keep_their_last_iou_in_the_curve(discs):
    runs = run_noc(discs, [sample(box())], clicks=6, stop_at=0.3)
    values = summary(runs, 6, at=(1, 6))
    assert values["IoU@6"] == runs[0].ious[-1]
    assert values["F@6"] == runs[0].borders[-1]
    assert len(values["IoU-per-click"]) == 6


def test_seems_rule_clicks_inside_first_and_is_content_with_a_right_mask():
    truth = box((400, 600), slice(100, 260), slice(200, 380))
    choose = seem(truth)
    first = choose(np.zeros(truth.shape, np.bool_), [])
    assert first.positive
    assert truth[first.y, first.x] == 1
    assert choose(truth == 1, [first]) is None


def test_seems_rule_decides_by_area_where_ritms_decides_by_depth():
    truth = box((60, 90), slice(10, 50), slice(10, 13))  # 120 missed pixels in a thin bar
    wrong = np.zeros(truth.shape, np.bool_)
    wrong[20:30, 60:70] = True  # 100 false ones in a block
    choose = seem(truth)
    choose(np.zeros(truth.shape, np.bool_), [])
    assert choose(wrong, [Click(0, 0, positive=True)]).positive
    assert not ritm(truth)(wrong, []).positive


@given(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_prompts_are_drawn_the_same_again_and_lie_where_they_should(kind, seed, shape_seed):
    random = np.random.default_rng(shape_seed)
    target = np.zeros((50, 70), np.bool_)
    y, x = random.integers(0, 40), random.integers(0, 60)
    target[y : y + random.integers(1, 30), x : x + random.integers(1, 30)] = True
    ask = prompt(kind, target, seed, "a 1")
    assert ask == prompt(kind, target, seed, "a 1")
    for stroke in ask.scribbles:
        assert all(target[int(py), int(px)] for px, py in stroke.points)
    for p in ask.points:
        assert target[int(p.y), int(p.x)]
    for b in ask.boxes:
        inside = np.zeros_like(target)
        inside[int(b.y0) : int(b.y1) + 1, int(b.x0) : int(b.x1) + 1] = True
        assert np.array_equal(inside, target)
    if ask.mask is not None:
        assert (decode(ask.mask) & target).any()
    for polygon in ask.polygons:
        assert len(polygon.points) >= 8
        assert all(0 <= px <= 69 and 0 <= py <= 49 for px, py in polygon.points)


def test_an_unknown_kind_of_prompt_names_the_known_ones():
    with pytest.raises(UsageError, match="point, stroke"):
        prompt("wish", np.ones((3, 3), np.bool_), 0, "a")

"""Scores of groups of masks (P12 of RAS's published properties), with the worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segcli.metrics.referring import Grefer, Overlap, group_scores, no_target_accuracy, union

TARGET_PREDICTED_BOTH = [(10, 8, 6), (20, 20, 20), (0, 0, 0), (0, 5, 0), (7, 0, 0)]
OVERLAPS = [Overlap(both, target + predicted - both) for target, predicted, both in TARGET_PREDICTED_BOTH]


def test_groups_are_scored_by_the_union_and_an_empty_one_by_silence() -> None:
    assert [o.either for o in OVERLAPS] == [12, 20, 0, 5, 7]
    scores = group_scores(OVERLAPS)
    assert scores["gIoU"] == pytest.approx(50)
    assert scores["cIoU"] == pytest.approx(100 * 26 / 44)


def test_silence_and_speech_are_counted_apart() -> None:
    samples = [Grefer(o, t == 0, p == 0) for o, (t, p, _) in zip(OVERLAPS, TARGET_PREDICTED_BOTH, strict=True)]
    accuracy = no_target_accuracy(samples)
    assert accuracy["N_acc"] == 0.5
    assert accuracy["T_acc"] == pytest.approx(2 / 3)


def test_chosen_masks_that_overlap_count_once() -> None:
    first, second = np.zeros((1, 8), bool), np.zeros((1, 8), bool)
    first[0, :4] = second[0, 2:6] = True
    assert union([first, second], (1, 8)).sum() == 6


def test_only_empty_groups_answered_with_nothing_have_no_cumulative_score() -> None:
    scores = group_scores([Overlap(0, 0)] * 3)
    assert scores["gIoU"] == 100
    assert math.isnan(scores["cIoU"])

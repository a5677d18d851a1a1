"""Loss and labels (P11, P13b), with their worked numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcli.models.ras.loss import assign, selection_loss

LOGITS = torch.tensor([2.0, -1, 0, -3])
LABELS = torch.tensor([1.0, 0, 1, 0])


def test_positives_weigh_five_times_in_a_plain_mean() -> None:
    assert float(selection_loss([LOGITS], [LABELS])) == pytest.approx(1.115556, abs=1e-6)


def test_an_empty_group_is_plain_cross_entropy() -> None:
    expected = torch.nn.functional.softplus(LOGITS).mean()
    torch.testing.assert_close(selection_loss([LOGITS], [torch.zeros(4)]), expected)


def test_samples_count_alike_however_many_candidates_they_have() -> None:
    other = torch.tensor([0.5])
    alone = [selection_loss([LOGITS], [LABELS]), selection_loss([other], [torch.ones(1)])]
    both = selection_loss([LOGITS, other], [LABELS, torch.ones(1)])
    torch.testing.assert_close(both, torch.stack(alone).mean())


def test_a_sample_without_candidates_changes_nothing() -> None:
    nothing = torch.zeros(0)
    torch.testing.assert_close(selection_loss([LOGITS, nothing], [LABELS, nothing]), selection_loss([LOGITS], [LABELS]))


IOUS = np.array([[0.72, 0], [0.55, 0.1], [0.1, 0.31], [0, 0.2]])


def test_candidates_that_reach_a_target_are_positive_and_so_is_the_best_of_a_missed_one() -> None:
    assert assign(IOUS).tolist() == [True, True, True, False]
    assert assign(IOUS, rescue=False).tolist() == [True, True, False, False]


def test_no_target_makes_all_negative() -> None:
    assert assign(np.zeros((3, 0))).tolist() == [False] * 3


def test_a_target_that_nothing_touches_rescues_nothing() -> None:
    assert assign(np.zeros((3, 1))).tolist() == [False] * 3


def test_weights_scale_each_candidates_term() -> None:
    half = selection_loss([LOGITS], [LABELS], weights=[torch.full((4,), 0.5)])
    torch.testing.assert_close(half, selection_loss([LOGITS], [LABELS]) / 2)
    first = selection_loss([LOGITS], [LABELS], weights=[torch.tensor([4.0, 0, 0, 0])])
    torch.testing.assert_close(first, selection_loss([LOGITS[:1]], [LABELS[:1]]))

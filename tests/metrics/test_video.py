from __future__ import annotations

import numpy as np
import pytest

from segcli.bench.vos import Sequence, score, vos_summary, youtube_summary
from segcli.core.errors import ItemError, UsageError
from segcli.metrics.video import decay_wraps, statistics


def labels(frames, *boxes, size=(40, 50)):
    maps = np.zeros((frames, *size), np.uint8)
    for label, y, x in boxes:
        maps[:, y : y + 10, x : x + 10] = label
    return maps


def test_a_perfect_sequence_scores_one():
    truth = labels(5, (1, 3, 3), (2, 20, 20))
    result = score(Sequence.of_arrays("s", truth, truth), "davis")
    assert vos_summary([result])["J&F-Mean"] == 1.0


def test_the_first_and_the_last_frame_are_not_read():
    truth = labels(4, (1, 3, 3))
    prediction = truth.copy()
    prediction[[0, -1]] = 7
    assert score(Sequence.of_arrays("s", truth, prediction), "davis").j_means == [1.0]


def test_a_label_too_many_is_refused_with_sequence_and_frame():
    truth = labels(4, (1, 3, 3))
    prediction = truth.copy()
    prediction[1, 0, 0] = 9
    with pytest.raises(ItemError, match=r"^s: .*label 9.*up to 1"):
        score(Sequence.of_arrays("s", truth, prediction), "davis")


def test_more_than_twenty_proposals_are_refused():
    truth = labels(3, (1, 3, 3))
    with pytest.raises(ItemError, match="at most 20"):
        score(Sequence.of_arrays("s", truth, truth * 21), "davis-unsupervised")


def test_proposals_are_assigned_whatever_their_numbers():
    truth = labels(4, (1, 3, 3), (2, 20, 20))
    prediction = labels(4, (5, 3, 3), (3, 20, 20))
    result = score(Sequence.of_arrays("s", truth, prediction), "davis-unsupervised")
    assert result.j_means == [1.0, 1.0]
    assert result.labels == (2, 1)  # in the order of the proposals 3 and 5


@pytest.mark.parametrize("frames", [1, 2])
def test_a_sequence_without_a_frame_that_counts_is_refused(frames):
    truth = labels(frames, (1, 3, 3))
    with pytest.raises(ItemError, match="s: "):
        score(Sequence.of_arrays("s", truth, truth), "davis")


@pytest.mark.parametrize("rule", ["davis", "davis-unsupervised", "vos-benchmark"])
def test_a_sequence_without_objects_counts_for_nothing_and_says_so(rule):
    nothing = labels(4)
    result = score(Sequence.of_arrays("s", nothing, nothing), rule)
    assert result.labels == ()
    assert result.warnings[0].startswith("s: no object")


def test_sizes_that_differ_name_the_frame():
    truth = labels(4, (1, 3, 3))
    with pytest.raises(ItemError, match="s, frame 00001: the prediction is 50x39, the annotation 50x40"):
        score(Sequence.of_arrays("s", truth, truth[:, 1:]), "davis")


def test_a_label_counts_from_the_frame_where_it_is_first_seen():
    truth = labels(6, (1, 3, 3))
    truth[3:, 20:30, 20:30] = 2
    result = score(Sequence.of_arrays("s", truth, truth), "vos-benchmark")
    assert [len(v) for v in result.j] == [4, 2]


def test_labels_that_only_the_prediction_knows_are_dropped():
    truth = labels(4, (1, 3, 3))
    prediction = labels(4, (1, 3, 3), (8, 20, 20))
    assert score(Sequence.of_arrays("s", truth, prediction), "vos-benchmark").labels == (1,)


def test_decay_wraps_as_published_from_256_frames_on_and_can_be_right():
    values = np.linspace(1, 0, 300)
    assert np.isnan(statistics(values).decay)
    assert statistics(values, wrap=False).decay == pytest.approx(0.75, abs=0.01)
    assert decay_wraps(256)
    assert not decay_wraps(255)


def test_nothing_to_average_is_refused():
    with pytest.raises(UsageError, match="no object"):
        vos_summary([])


def test_unseen_categories_without_objects_make_g_undefined():
    truth = labels(3, (1, 3, 3))
    meta = {"objects": {"1": {"category": "dog", "frames": ["00000", "00001", "00002"]}}}
    result = score(Sequence.of_arrays("s", truth, truth, meta=meta), "youtube-vos")
    summary = youtube_summary([result], ["dog"])
    assert summary["J_seen"] == 1.0
    assert np.isnan(summary["G"])


def test_a_listed_frame_without_annotation_is_named():
    truth = labels(3, (1, 3, 3))
    meta = {"objects": {"1": {"category": "dog", "frames": ["00000", "00005"]}}}
    with pytest.raises(ItemError, match="lists frame 00005"):
        score(Sequence.of_arrays("s", truth, truth, meta=meta), "youtube-vos")

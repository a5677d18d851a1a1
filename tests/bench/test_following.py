from __future__ import annotations

import json

import numpy as np
import pytest

from segcli.bench.following import Followed, carried, labels_of
from segcli.cli.app import main
from segcli.core.ask import PromptKind
from segcli.core.errors import ItemError
from segcli.core.prediction import Prediction
from segcli.core.rle import decode, encode
from segcli.datasets.video import davis_sequences
from tests.bench.conftest import Discs


class Down(Discs):
    """Moves each rough mask one pixel down, as the objects of the test video move."""

    def decode(self, encoded, asks):
        self.asked += asks
        moved = [np.roll(decode(a.mask), 1, axis=0) for a in asks]
        return [Prediction(encoded.size, (encode(m),)) for m in moved]


def test_each_answer_is_the_next_frames_rough_mask(davis):
    root, _ = davis
    (video, _) = davis_sequences(root)
    followed = Followed(carried(Down()), video)
    for frame in video.frames:
        assert np.array_equal(followed(frame), video.truth(frame))


def test_an_object_that_is_lost_stays_lost_and_is_not_asked_for_again(davis):
    class Blind(Discs):
        def decode(self, encoded, asks):
            self.asked += asks
            return [Prediction(encoded.size) for _ in asks]

    root, _ = davis
    model = Blind()
    followed = Followed(carried(model), davis_sequences(root)[0])
    assert not followed("00004").any()
    assert len(model.asked) == 1


def test_an_object_is_shown_on_the_frame_that_meta_lists_first(davis):
    root, _ = davis
    video = davis_sequences(root)[1]
    meta = {"objects": {"1": {"frames": ["00000", "00001"]}, "2": {"frames": ["00002", "00003"]}}}
    followed = Followed(carried(Down()), type(video)(**{**vars(video), "meta": meta}))
    assert np.unique(followed("00001")).tolist() == [0, 1]
    assert np.unique(followed("00002")).tolist() == [0, 1, 2]


def test_of_overlapping_masks_the_smaller_one_is_seen():
    large, small = np.ones((4, 4), np.bool_), np.zeros((4, 4), np.bool_)
    small[0, 0] = True
    assert labels_of({1: encode(small), 2: encode(large)})[0, 0] == 1


def test_a_frame_without_a_photo_is_named(davis):
    root, _ = davis
    (root / "JPEGImages" / "480p" / "cat" / "00001.jpg").unlink()
    with pytest.raises(ItemError, match=r"00001.jpg: no such file"):
        Followed(carried(Down()), davis_sequences(root)[0])("00004")


def test_a_model_is_measured_on_videos_end_to_end(davis, monkeypatch, capsys, tmp_path):
    root, _ = davis
    monkeypatch.setattr("segcli.registry.load.open_model", lambda name, **options: Down(name="down"))
    report = tmp_path / "r.html"
    typed = ["bench", "vos", "--data", str(root), "-m", "down", "--json", "--report", str(report)]
    with pytest.raises(SystemExit) as ended:
        main([*typed, "--require", "J-Mean<0"])
    assert ended.value.code == 7
    found = json.loads(capsys.readouterr().out)
    assert [row["J"] == 1 for row in found["items"]] == [True, True, False]  # the third one does not move
    assert found["settings"]["follows"] == "carried masks"
    assert report.read_text().count("data:image/jpeg") == 2


class Tracked(Discs):
    """Has a tracker whose frames move as the objects do, and that remembers how much it may remember."""

    def tracker(self, *, memory=8, every=1, soft=True):
        self.memory = memory
        return MovingDown()


class MovingDown:
    def __init__(self):
        self.masks = {}

    def step(self, frame, masks=None):
        self.masks = {k: np.roll(m, 1, axis=0) for k, m in self.masks.items()} | dict(masks or {})
        return self.masks


def test_a_model_with_a_tracker_is_followed_by_it_with_the_memory_asked_for(davis, monkeypatch, capsys):
    root, _ = davis
    model = Tracked(name="tracked", accepts=frozenset({PromptKind.VIDEO}))
    monkeypatch.setattr("segcli.registry.load.open_model", lambda name, **options: model)
    main(["bench", "vos", "--data", str(root), "-m", "tracked", "--json", "--memory", "3"])
    found = json.loads(capsys.readouterr().out)
    assert [row["J"] == 1 for row in found["items"]] == [True, True, False]
    assert found["settings"]["follows"] == "tracker"
    assert model.memory == 3


def test_a_model_that_can_follow_nothing_is_refused(davis, monkeypatch, capsys):
    root, _ = davis
    monkeypatch.setattr(
        "segcli.registry.load.open_model",
        lambda name, **options: Discs(name="words", accepts=frozenset({PromptKind.TEXT})),
    )
    with pytest.raises(SystemExit) as ended:
        main(["bench", "vos", "--data", str(root), "-m", "words"])
    assert ended.value.code == 2
    assert "takes no rough masks" in capsys.readouterr().err

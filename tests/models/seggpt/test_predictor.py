from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segcli.core.ask import Ask
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.example import Example
from segcli.core.image import Image
from segcli.models.api import Promptable, Tracking
from segcli.models.seggpt import predictor as module
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.keys import key_table
from segcli.models.seggpt.model import SegGPT
from segcli.models.seggpt.palette import closeness, colors_of, paint
from segcli.models.seggpt.predictor import SegGPTPredictor, build
from segcli.models.seggpt.prepost import binary, resized_output


def photo(seed: int, size: tuple[int, int] = (40, 52)) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8), size, f"{seed}.jpg")


def marked(seed: int, ids: tuple[int, ...] = (1,), size: tuple[int, int] = (40, 52)) -> Example:
    labels = np.zeros(size, np.uint8)
    for place, number in enumerate(ids):
        labels[5:30, 10 * place + 2 : 10 * place + 10] = number
    return Example(photo(seed, size), labels)


@pytest.fixture
def predictor(engine: InContext) -> SegGPTPredictor:
    return SegGPTPredictor(engine, "seggpt.tiny", "0")


def test_it_is_what_verbs_expect_of_a_model(predictor: SegGPTPredictor):
    assert isinstance(predictor, Promptable)


def test_it_follows_objects_with_the_memory_that_was_asked_for(predictor: SegGPTPredictor):
    assert isinstance(predictor, Tracking)
    tracker = predictor.tracker(memory=3, every=2, soft=False)
    assert (tracker.capacity, tracker.memory_every, tracker.memory) == (3, 2, "published")
    assert predictor.tracker().memory == "soft"
    mask = marked(0).ids == 1
    assert np.array_equal(tracker.step(photo(0), {5: mask})[5], mask)
    assert list(tracker.step(photo(1))) == [5]


def test_one_object_is_cut_by_the_published_rule(predictor: SegGPTPredictor):
    """Mean above 128 after the nearest resize, which is where the published output goes back to the photo."""
    predictor.learn([marked(1), marked(2)])
    encoded = predictor.encode([photo(3)])[0]
    answer, again = predictor.decode(encoded, [Ask(), Ask(id="b")])
    expected = binary(resized_output(predictor.paint(encoded), (40, 52)))
    assert expected.any()
    np.testing.assert_array_equal(answer.dense(0), expected)
    np.testing.assert_array_equal(again.dense(0), expected)
    assert answer.ids == (1,)
    assert answer.soft is not None
    assert answer.soft.shape == (1, 32, 32)


def test_ids_of_an_example_come_back_as_their_own_masks(predictor: SegGPTPredictor, monkeypatch: pytest.MonkeyPatch):
    predictor.learn([marked(1, (4, 9, 30))])
    wanted = np.zeros((32, 32), np.uint8)
    wanted[3:9, 4:9], wanted[20:30, 4:9] = 9, 4
    monkeypatch.setattr(predictor, "paint", lambda _: paint(wanted, predictor._colors).astype(np.float64))
    answer = predictor.decode(predictor.encode([photo(5, (32, 32))])[0], [Ask()])[0]
    assert sorted(answer.ids) == [4, 9]
    for index, number in enumerate(answer.ids):
        np.testing.assert_array_equal(answer.dense(index), wanted == number)


def test_nothing_found_is_a_prediction_of_no_masks(predictor: SegGPTPredictor, monkeypatch: pytest.MonkeyPatch):
    predictor.learn([marked(1)])
    monkeypatch.setattr(predictor, "paint", lambda _: np.zeros((32, 32, 3)))
    assert len(predictor.decode(predictor.encode([photo(5)])[0], [Ask()])[0]) == 0


def test_a_vote_is_the_mean_of_what_each_example_paints_alone(predictor: SegGPTPredictor):
    examples, encoded = [marked(n) for n in (1, 2, 3)], predictor.encode([photo(4)])[0]
    alone = []
    for example in examples:
        predictor.learn([example])
        alone.append(predictor.paint(encoded))
    predictor.learn(examples, "vote")
    np.testing.assert_allclose(predictor.paint(encoded), np.mean(alone, axis=0), atol=1e-3)


def test_four_equal_examples_of_the_models_size_tile_into_a_quarter_each(predictor: SegGPTPredictor):
    with pytest.raises(UsageError, match="3 examples: the spatial ensemble tiles 1, 4, 9 or 16"):
        predictor.learn([marked(1)] * 3, "spatial")
    encoded = predictor.encode([photo(4)])[0]
    predictor.learn([marked(1)], "spatial")
    once = predictor.paint(encoded)
    predictor.learn([marked(1)])
    np.testing.assert_array_equal(once, predictor.paint(encoded))
    predictor.learn([marked(1)] * 4, "spatial")
    assert np.abs(predictor.paint(encoded) - once).max() > 1


def test_bad_examples_are_named(predictor: SegGPTPredictor):
    with pytest.raises(UsageError, match="no examples"):
        predictor.learn([])
    with pytest.raises(UsageError, match=r"7\.jpg: its mask is 52x41, the photo 52x40"):
        predictor.learn([Example(photo(7), np.ones((41, 52), np.uint8))])
    with pytest.raises(UsageError, match=r"7\.jpg: its mask is all black"):
        predictor.learn([marked(1), Example(photo(7), np.zeros((40, 52), np.uint8))])
    speck = np.zeros((40, 52), np.uint8)
    speck[0, 1] = 1  # between the columns that a nearest resize of 52 to 32 reads
    with pytest.raises(UsageError, match=r"7\.jpg: its mask marks too little to be seen at 32x32 pixels"):
        predictor.learn([marked(1), Example(photo(7), speck)])
    with pytest.raises(UsageError, match="answers by example"):
        predictor.paint(predictor.encode([photo(1)])[0])


@given(
    arrays.arrays(np.float64, (3, 4, 3), elements=st.floats(0, 255)),
    st.lists(st.integers(1, 255), min_size=1, max_size=6, unique=True),
)
def test_closeness_is_above_a_half_exactly_where_the_colour_is_nearest(colors: np.ndarray, ids: list[int]):
    palette = colors_of(ids)
    away = {0: np.abs(colors).sum(-1)} | {n: np.abs(colors - c).sum(-1) for n, c in palette.items()}
    for number, value in closeness(colors, palette).items():
        assert ((value >= 0) & (value <= 1)).all()
        others = np.min([d for other, d in away.items() if other != number], axis=0)
        assert (value[away[number] < others * (1 - 1e-9)] > 0.5).all()
        assert (value[away[number] > others * (1 + 1e-9)] < 0.5).all()


def test_closeness_of_white_alone_is_the_channel_mean():
    colors = np.random.default_rng(0).uniform(0, 255, (5, 5, 3))
    np.testing.assert_allclose(closeness(colors, colors_of([1]))[1], colors.mean(-1) / 255)


@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_a_model_is_built_from_either_layout(model: SegGPT, layout: str):
    state = model.state_dict()
    tensors = {theirs: state[ours] for theirs, ours in key_table(layout, model.config.depth).items()}
    built = build("tiny", tensors, keys=layout, name="seggpt.tiny", revision="0")
    for name, value in built.engine.model.state_dict().items():
        torch.testing.assert_close(value, state[name], atol=0, rtol=0)


def test_a_checkpoint_that_does_not_fit_is_refused_in_words(model: SegGPT):
    state = model.state_dict()
    tensors = {theirs: state[ours] for theirs, ours in key_table("original", model.config.depth).items()}
    options = {"keys": "original", "name": "seggpt.x", "revision": "0"}
    with pytest.raises(CheckpointError, match="no SegGPT of size 'vit-h'; those it has: vit-l, tiny"):
        build("vit-h", tensors, **options)
    with pytest.raises(CheckpointError, match="unknown key layout 'other'"):
        build("tiny", tensors, **options | {"keys": "other"})
    with pytest.raises(CheckpointError, match="1 of another shape"):
        build("tiny", tensors | {"mask_token": torch.zeros(1, 1, 1, 5)}, **options)
    assert module.KINDS == {"semantic": 0, "instance": 1}

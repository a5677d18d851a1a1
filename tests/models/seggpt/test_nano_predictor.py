"""What people may rely on when they ask the bundled seggpt-nano."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.models.seggpt.nano_scenes import BALL, BOX, iou, only, scene

from segcli.core.ask import Ask
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.example import Example
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.models.api import Learning, Promptable, Tunable
from segcli.models.seggpt.nano_predictor import NanoInContext
from segcli.models.seggpt.predictor import build
from segcli.registry.load import open_model
from segcli.registry.places import BUNDLED

CHELSEA = Path(__file__).parents[3] / "examples" / "photos" / "chelsea.jpg"


def opened(dtype: str = "fp32") -> NanoInContext:
    model = open_model("seggpt-nano", device="cpu", dtype=dtype, say=lambda line: None)
    assert isinstance(model, NanoInContext)
    return model


@pytest.fixture(scope="module")
def nano() -> NanoInContext:
    return opened()


def answered(model: NanoInContext, photo: Image) -> Prediction:
    (encoded,) = model.encode([photo])
    (prediction,) = model.decode(encoded, [Ask()])
    return prediction


def mask_of(prediction: Prediction, number: int) -> np.ndarray:
    found = [prediction.dense(i) for i, n in enumerate(prediction.ids) if n == number]
    return found[0] if found else np.zeros(prediction.size, np.bool_)


def same(one: Prediction, other: Prediction) -> bool:
    return one.masks == other.masks and one.scores == other.scores and one.ids == other.ids


def test_it_keeps_the_contracts_of_a_model_that_learns_by_example(nano: NanoInContext) -> None:
    assert isinstance(nano, Promptable)
    assert isinstance(nano, Learning)
    assert isinstance(nano, Tunable)


@pytest.mark.parametrize("number", [BALL, BOX])
def test_one_example_finds_the_same_thing_elsewhere_and_not_the_other_one(nano: NanoInContext, number: int) -> None:
    values = []
    for seed in (1, 2):
        nano.learn([only(scene(10 + seed), number)])
        query = scene(20 + seed)
        values.append(iou(mask_of(answered(nano, query.photo), 1), query.ids == number))
    assert np.mean(values) > 0.75, values


def test_several_ids_come_back_as_the_same_ids(nano: NanoInContext) -> None:
    example, query = scene(4), scene(5)
    nano.learn([Example(example.photo, np.where(example.ids == BALL, 7, np.where(example.ids == BOX, 300, 0)))])
    prediction = answered(nano, query.photo)
    assert set(prediction.ids) == {7, 300}
    assert iou(mask_of(prediction, 7), query.ids == BALL) > 0.7
    assert iou(mask_of(prediction, 300), query.ids == BOX) > 0.7
    assert not (mask_of(prediction, 7) & mask_of(prediction, 300)).any()


def test_ids_may_come_from_different_examples(nano: NanoInContext) -> None:
    ball, box, query = scene(6, objects=(BALL,)), scene(7, objects=(BOX,)), scene(8)
    nano.learn([ball, box])
    prediction = answered(nano, query.photo)
    assert iou(mask_of(prediction, BALL), query.ids == BALL) > 0.6
    assert iou(mask_of(prediction, BOX), query.ids == BOX) > 0.6


@pytest.mark.parametrize("ensemble", ["feature", "vote", "spatial"])
def test_every_ensemble_of_four_examples_finds_the_ball(nano: NanoInContext, ensemble: str) -> None:
    nano.learn([only(scene(30 + n), BALL) for n in range(4)], ensemble=ensemble)  # type: ignore[arg-type]
    query = scene(40)
    assert iou(mask_of(answered(nano, query.photo), 1), query.ids == BALL) > 0.6


def test_one_example_votes_alone(nano: NanoInContext) -> None:
    example, query = only(scene(1), BALL), scene(2)
    nano.learn([example], ensemble="feature")
    pooled = answered(nano, query.photo)
    nano.learn([example], ensemble="vote")
    assert same(pooled, answered(nano, query.photo))


def test_the_same_question_has_the_same_answer_to_the_bit(nano: NanoInContext) -> None:
    nano.learn([scene(1)])
    query = scene(3)
    one, other = answered(nano, query.photo), answered(nano, query.photo)
    assert same(one, other)
    assert one.soft is not None
    assert other.soft is not None
    assert np.array_equal(one.soft, other.soft)


def test_a_photo_is_answered_alike_alone_and_in_company(nano: NanoInContext) -> None:
    nano.learn([scene(1)])
    alone = nano.encode([scene(2).photo])[0]
    company = nano.encode([scene(3).photo, scene(2).photo])[1]
    assert same(nano.decode(alone, [Ask()])[0], nano.decode(company, [Ask()])[0])


def test_a_fork_learns_for_itself(nano: NanoInContext) -> None:
    nano.learn([only(scene(1), BALL)])
    before = answered(nano, scene(2).photo)
    fork = nano.fork()
    with pytest.raises(UsageError, match="answers by example"):
        answered(fork, scene(2).photo)
    fork.learn([only(scene(1), BOX)])
    assert fork.held == nano.held > 0
    assert same(before, answered(nano, scene(2).photo))


def test_probabilities_are_above_a_half_where_the_mask_is(nano: NanoInContext) -> None:
    nano.learn([scene(1)])
    query = scene(2)
    (encoded,) = nano.encode([query.photo])
    shares = nano.probabilities(encoded)
    assert set(shares) == {BALL, BOX}
    for number, share in shares.items():
        assert share.dtype == np.float32
        assert share.min() >= 0
        assert share.max() <= 1
        covered = mask_of(nano.decode(encoded, [Ask()])[0], number).mean()
        assert abs(float((share > 0.5).mean()) - covered) < 0.01


def test_a_higher_threshold_takes_fewer_pixels() -> None:
    model, query = opened(), scene(2)
    model.learn([only(scene(1), BALL)])
    wide = mask_of(answered(model, query.photo), 1)
    model.threshold = 0.9
    narrow = mask_of(answered(model, query.photo), 1)
    assert narrow.sum() < wide.sum()
    assert not (narrow & ~wide).any()


def test_half_precision_draws_the_same_masks(nano: NanoInContext) -> None:
    half = opened("bf16")
    values = []
    for seed in range(2):
        example, query = scene(50 + seed), scene(60 + seed)
        for model in (nano, half):
            model.learn([example])
        one, other = answered(nano, query.photo), answered(half, query.photo)
        values += [iou(mask_of(one, number), mask_of(other, number)) for number in (BALL, BOX)]
    assert np.mean(values) > 0.97, values


def test_likeness_of_photos_is_the_product_of_their_descriptions(nano: NanoInContext) -> None:
    cat = Image(*_read(CHELSEA))
    mirrored = Image(np.ascontiguousarray(cat.pixels[:, ::-1]), cat.size)
    vectors = nano.describe([cat, mirrored, scene(1).photo, scene(2).photo])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2]
    assert likeness[2, 3] > likeness[0, 3]


def test_a_photo_decoded_small_is_answered_at_full_size(nano: NanoInContext) -> None:
    nano.learn([only(scene(1), BALL)])
    query = scene(2)
    prediction = answered(nano, Image(query.photo.pixels, (960, 1280), "large"))
    assert prediction.size == (960, 1280)
    grown = np.kron(query.ids == BALL, np.ones((4, 4), np.bool_))
    assert iou(mask_of(prediction, 1), grown) > 0.7


def test_unknown_pixels_of_an_example_are_neither_marked_nor_background(nano: NanoInContext) -> None:
    example, query = scene(1), scene(2)
    ball = only(example, BALL)
    nano.learn([Example(ball.photo, ball.ids, ignore=example.ids == BOX)])
    with_unknown = nano.held
    assert iou(mask_of(answered(nano, query.photo), 1), query.ids == BALL) > 0.5
    nano.learn([ball])
    assert with_unknown < nano.held


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([], "no examples"),
        ([Example(scene(1).photo, np.zeros((240, 320), np.uint8))], "scene1: its mask is all black"),
        ([scene(2), Example(scene(1).photo, np.ones((24, 32), np.uint8))], "scene1: its mask is 32x24"),
    ],
)
def test_a_bad_example_is_refused_by_name(nano: NanoInContext, examples: list[Example], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        nano.learn(examples)


def test_three_examples_cannot_be_tiled(nano: NanoInContext) -> None:
    with pytest.raises(UsageError, match="3 examples"):
        nano.learn([scene(n) for n in range(3)], ensemble="spatial")


def test_an_object_of_a_few_pixels_is_an_example_too(nano: NanoInContext) -> None:
    example = scene(1)
    ids = np.zeros_like(example.ids)
    ids[100:103, 100:103] = 1
    nano.learn([Example(example.photo, ids)])
    assert answered(nano, scene(2).photo).size == (240, 320)


def test_nothing_found_is_an_empty_answer() -> None:
    model = opened()
    model.learn([only(scene(1), BALL)])
    model.threshold = 1 - 1e-9
    assert len(answered(model, scene(2).photo)) == 0


def test_a_checkpoint_with_a_key_too_few_is_refused() -> None:
    files = [load_file(BUNDLED / name) for name in ("lite0.safetensors", "seggpt-nano.safetensors")]
    tensors = {**files[0], **files[1]}
    del tensors["gain"]
    with pytest.raises(CheckpointError, match="1 missing: gain"):
        build("nano", tensors, keys="seg", name="broken", revision="0", device="cpu", dtype=torch.float32)


def test_its_own_weights_stay_within_two_megabytes() -> None:
    assert (BUNDLED / "seggpt-nano.safetensors").stat().st_size <= 2_000_000


def _read(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    from PIL import Image as Pillow

    pixels = np.asarray(Pillow.open(path).convert("RGB"))
    return pixels, (pixels.shape[0], pixels.shape[1])

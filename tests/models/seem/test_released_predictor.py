"""The released members as the rest of seg uses them, at a tiny size with random weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.models.seem.test_model import TINY

from segcli.core.ask import Ask, Box, Point
from segcli.core.errors import CheckpointError
from segcli.core.image import Image
from segcli.models.api import Promptable
from segcli.models.seem.model import SeemModel
from segcli.models.seem.released_predictor import ReleasedPredictor, build_released

CLICK = Ask(points=(Point(20, 12), Point(60, 40, positive=False)))


def small(variant: str = "v1"):
    config = replace(TINY["focal"], short_side=40, long_side=64)
    return replace(config, decoder=replace(config.decoder, variant=variant))


def predictor(variant: str = "v1") -> ReleasedPredictor:
    torch.manual_seed(0)
    tensors = SeemModel(small(variant)).state_dict()
    return build_released(
        small(variant),
        tensors,
        keys="original",
        name="tiny",
        revision="0",
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


@pytest.fixture(scope="module")
def photo() -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    return Image(pixels, (50, 80), "noise.jpg")


@pytest.mark.parametrize("variant", ["v1", "v0", "demo", "composed"])
def test_a_click_is_answered_at_the_photos_size_and_the_same_way_every_time(photo: Image, variant: str):
    model = predictor(variant)
    assert isinstance(model, Promptable)
    (encoded,) = model.encode([photo])
    first, second = model.decode(encoded, [CLICK, CLICK])
    assert first.size == (50, 80)
    assert first.masks == second.masks
    assert first.scores == second.scores
    assert all(0.5 <= score <= 1 for score in first.scores)
    (again,) = predictor(variant).decode(predictor(variant).encode([photo])[0], [CLICK])
    assert again.masks == first.masks


def test_alternatives_are_the_same_answers_in_the_order_of_their_scores(photo: Image):
    model = predictor()
    (encoded,) = model.encode([photo])
    one, many = model.decode(encoded, [CLICK, replace(CLICK, multimask=True)])
    assert len(many) <= 3
    assert set(one.masks) <= set(many.masks)
    assert list(many.scores) == sorted(many.scores, reverse=True)
    assert many.soft is None or many.soft.shape == (len(many), 50, 80)


def test_photos_of_a_batch_are_answered_as_alone(photo: Image):
    model = predictor()
    other = Image(photo.pixels[:, ::-1].copy(), photo.size)
    together = [model.decode(encoded, [CLICK])[0].masks for encoded in model.encode([photo, other])]
    alone = [model.decode(model.encode([image])[0], [CLICK])[0].masks for image in (photo, other)]
    assert together == alone


def test_a_previous_answer_and_a_box_are_taken_into_account(photo: Image):
    model = predictor()
    (encoded,) = model.encode([photo])
    box = Ask(boxes=(Box(10, 10, 40, 30),))
    (boxed,) = model.decode(encoded, [box])
    assert boxed.soft is None or boxed.soft.shape[1:] == (50, 80)
    mask = np.zeros((50, 80), bool)
    mask[10:30, 10:40] = True
    from segcli.core.rle import encode

    plain, remembered = model.decode(encoded, [CLICK, replace(CLICK, previous=encode(mask))])
    assert plain.soft is not None
    assert remembered.soft is not None
    assert not np.array_equal(plain.soft, remembered.soft)


def test_a_photo_read_at_a_reduced_scale_gives_masks_of_its_full_size(photo: Image):
    model = predictor()
    (encoded,) = model.encode([Image(photo.pixels, (500, 800))])
    (prediction,) = model.decode(encoded, [Ask(points=(Point(200, 120),))])
    assert prediction.size == (500, 800)


def test_the_encoding_knows_its_size_in_memory(photo: Image):
    (encoded,) = predictor().encode([photo])
    assert encoded.nbytes > 16 * 10 * 32 * 4


def test_an_unknown_key_table_is_refused():
    with pytest.raises(CheckpointError, match="no key table 'other'"):
        build_released(
            small(),
            {},
            keys="other",
            name="tiny",
            revision="0",
            device=torch.device("cpu"),
            dtype=torch.float32,
        )

"""What seem-nano's predictor promises, whatever its weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcli.core.ask import Ask, Box, Point, Polygon, Scribble
from segcli.core.image import Image
from segcli.core.rle import encode
from segcli.models.api import Promptable
from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.models.seem.nano_predictor import NanoPredictor


@pytest.fixture(scope="module")
def model() -> NanoPredictor:
    torch.manual_seed(5)
    network = SeemNano(NanoConfig(dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16), queries=4))
    torch.nn.init.normal_(network.direct.weight, std=0.5)
    return NanoPredictor(network, "tiny", "0", torch.device("cpu"), sides=(128, 96))


def photo(height: int = 120, width: int = 200, seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(pixels, (height, width))


def answer(model: NanoPredictor, image: Image, *asks: Ask):
    (encoded,) = model.encode([image])
    return model.decode(encoded, asks)


def same(a, b) -> bool:
    return a.masks == b.masks and a.scores == b.scores


CLICK = Ask(points=(Point(60, 40),))
OTHER = Ask(points=(Point(150, 90), Point(20, 20, positive=False)))


def test_it_is_what_the_pipeline_expects(model: NanoPredictor) -> None:
    assert isinstance(model, Promptable)


def test_an_answer_does_not_depend_on_what_was_asked_before(model: NanoPredictor) -> None:
    (fresh,) = answer(model, photo(), CLICK)
    *_, after_others = answer(model, photo(), OTHER, Ask(boxes=(Box(10, 10, 60, 60),)), CLICK)
    assert same(fresh, after_others)


def test_an_answer_does_not_depend_on_the_batch(model: NanoPredictor) -> None:
    alone = model.encode([photo(seed=1)])[0]
    among = model.encode([photo(80, 80), photo(seed=1), photo(30, 300)])[1]
    assert same(model.decode(alone, [CLICK])[0], model.decode(among, [CLICK])[0])


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (37, 53), (700, 900)])
def test_masks_have_the_photos_size(model: NanoPredictor, size: tuple[int, int]) -> None:
    image = photo(*size)
    for prediction in answer(model, image, Ask(points=(Point(0, 0),))):
        assert prediction.size == size
        assert all(mask.size == size for mask in prediction.masks)


def test_a_photo_read_at_a_reduced_scale_is_answered_at_full_size(model: NanoPredictor) -> None:
    image = photo(300, 400)
    reduced = Image(image.pixels[::2, ::2].copy(), (300, 400))
    (prediction,) = answer(model, reduced, Ask(points=(Point(399, 299),)))
    assert prediction.size == (300, 400)


def test_an_answer_stays_near_its_box_and_out_of_negative_ones(model: NanoPredictor) -> None:
    ask = Ask(boxes=(Box(40, 20, 140, 100), Box(60, 30, 90, 60, positive=False)))
    (prediction,) = answer(model, photo(), ask)
    for i in range(len(prediction)):
        ys, xs = np.nonzero(prediction.dense(i))
        assert xs.min() >= 35
        assert xs.max() <= 145
        assert ys.min() >= 16
        assert ys.max() <= 104
        assert not prediction.dense(i)[30:61, 60:91].any()


def test_alternatives_come_best_first(model: NanoPredictor) -> None:
    (single,) = answer(model, photo(), CLICK)
    (several,) = answer(model, photo(), Ask(points=CLICK.points, multimask=True))
    assert len(single) <= 1 <= len(several) <= 3
    assert list(several.scores) == sorted(several.scores, reverse=True)


def test_every_kind_of_prompt_is_answered(model: NanoPredictor) -> None:
    rough = np.zeros((120, 200), np.bool_)
    rough[20:80, 50:120] = True
    asks = [
        Ask(boxes=(Box(10, 10, 90, 90),)),
        Ask(scribbles=(Scribble(((10.0, 10.0), (90.0, 60.0))), Scribble(((150.0, 10.0),), positive=False))),
        Ask(scribbles=(Scribble(drawn=encode(rough)),)),
        Ask(polygons=(Polygon(((10.0, 10.0), (90.0, 10.0), (50.0, 80.0))),)),
        Ask(mask=encode(rough)),
        Ask(points=(Point(60, 40),), previous=encode(rough)),
    ]
    predictions = answer(model, photo(), *asks)
    assert len(predictions) == len(asks)
    for ask, prediction in zip(asks, predictions, strict=True):
        assert ask.kinds <= model.accepts
        assert prediction.soft is None or len(prediction.soft) == len(prediction)


def test_no_target_is_an_empty_answer(model: NanoPredictor) -> None:
    network = SeemNano(NanoConfig(dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16), queries=4))
    assert network.direct.bias is not None
    torch.nn.init.constant_(network.direct.bias, -50.0)
    silent = NanoPredictor(network, "silent", "0", torch.device("cpu"), sides=(64, 64))
    (prediction,) = answer(silent, photo(), CLICK)
    assert len(prediction) == 0
    assert prediction.soft is None


def test_an_encoded_photo_knows_its_size_and_keeps_few_windows(model: NanoPredictor) -> None:
    (encoded,) = model.encode([photo(900, 900)])
    before = encoded.nbytes
    assert before >= 900 * 900 * 3
    for x in range(20, 880, 60):
        model.decode(encoded, [Ask(boxes=(Box(x, x, x + 15, x + 15),))])
    assert encoded.nbytes <= 12 * before

"""The released members as the rest of seg uses them, at a tiny size with random weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.models.seem.test_model import TINY

from segcli.core.ask import Ask, Box, Point, Reference
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.image import Image
from segcli.core.rle import encode
from segcli.models.api import Promptable, Referring, Tracking, Worded
from segcli.models.seem.config import TextConfig
from segcli.models.seem.model import SeemModel
from segcli.models.seem.released_predictor import ReleasedPredictor, build_released

CLICK = Ask(points=(Point(20, 12), Point(60, 40, positive=False)))


def small(variant: str = "v1"):
    config = replace(TINY["focal"], short_side=40, long_side=64)
    text = TextConfig(32, 77, 49408, 1, 4)
    return replace(config, decoder=replace(config.decoder, variant=variant, text=text))


def predictor(variant: str = "v1", dtype: torch.dtype = torch.float32) -> ReleasedPredictor:
    torch.manual_seed(0)
    source = SeemModel(small(variant))
    for parameter in source.decoder.parameters():
        if parameter.dim() > 1:  # embeddings large enough for prompts to matter
            torch.nn.init.normal_(parameter, std=0.2)
    tensors = source.state_dict()
    return build_released(
        small(variant),
        tensors,
        keys="original",
        name="tiny",
        revision="0",
        device=torch.device("cpu"),
        dtype=dtype,
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


def mask_of(*box: int) -> np.ndarray:
    mask = np.zeros((50, 80), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


REFERENCE = Reference("ref.jpg", Point(20, 12))
KINDS_OF_ASKS = [
    Ask(text="the red mug"),
    Ask(text="the red mug", points=CLICK.points),
    Ask(text="the red mug", points=CLICK.points, answer="text"),
    Ask(text="the red mug", points=CLICK.points, answer="visual", multimask=True),
    Ask(text="mug", every=True, threshold=0.1),
    Ask(text="mug", points=(Point(60, 40, positive=False),)),
    Ask(references=(REFERENCE,)),
    Ask(
        references=(REFERENCE, Reference(None, Box(3, 4, 30, 30)), Reference("ref.jpg", encode(mask_of(2, 3, 30, 20))))
    ),
    Ask(references=(REFERENCE,), every=True, threshold=0.0),
    Ask(references=(REFERENCE,), text="a mug", points=CLICK.points, previous=encode(mask_of(2, 3, 30, 20))),
    Ask(points=CLICK.points, previous=encode(mask_of(2, 3, 30, 20)), classes=("cat", "sky")),
    *(Ask(classes=("cat", "sky"), kind=kind) for kind in ("panoptic", "semantic", "instance")),
]


@pytest.mark.parametrize("variant", ["v1", "v0", "demo", "composed"])
def test_words_references_and_mixtures_are_answered_the_same_way_alone_and_among_others(photo: Image, variant: str):
    model = predictor(variant)
    assert isinstance(model, Referring)
    assert isinstance(model, Tracking)
    assert isinstance(model, Worded)
    model.know("ref.jpg", photo)
    (encoded,) = model.encode([photo])
    together = model.decode(encoded, KINDS_OF_ASKS)
    for ask, among in zip(KINDS_OF_ASKS, together, strict=True):
        (alone,) = model.decode(encoded, [ask])
        assert alone.size == (50, 80)
        assert (alone.masks, alone.scores) == (among.masks, among.scores)
        assert all(0 <= score <= 1 for score in alone.scores)
        assert set(alone.phrases) <= {ask.text}
        assert set(alone.labels) <= (set(ask.classes) or {None})


def test_half_precision_answers_every_kind_of_ask(photo: Image):
    model = predictor(dtype=torch.bfloat16)
    model.know("ref.jpg", photo)
    answers = model.decode(model.encode([photo])[0], KINDS_OF_ASKS)
    assert all(0 <= score <= 1 for answer in answers for score in answer.scores)
    assert sum(len(answer) for answer in answers) >= len(KINDS_OF_ASKS) - 2


def test_the_kinds_of_prompts_in_weights_toml_are_those_that_the_model_takes():
    from segcli.registry.weights import match

    released = [entry for entry in match("seem.*") if entry.hub == "xdecoder/SEEM"]
    assert len(released) == 6
    for entry in released:
        assert entry.accepts == {str(kind) for kind in ReleasedPredictor.accepts}, entry.name


def test_a_clicked_mask_is_labelled_out_of_the_classes_and_keeps_its_bytes(photo: Image):
    model = predictor()
    (encoded,) = model.encode([photo])
    plain, labelled, one = model.decode(
        encoded,
        [CLICK, replace(CLICK, classes=("cat", "sky", "zzz")), replace(CLICK, classes=("sky",), things=(True,))],
    )
    assert labelled.masks == plain.masks
    assert labelled.labels[0] in ("cat", "sky", "zzz")
    assert labelled.things[0] is {"cat": True, "sky": False, "zzz": None}[labelled.labels[0]]
    assert 0 < labelled.label_scores[0] < 1
    assert one.labels == ("sky",)
    assert one.things == (True,)
    assert plain.labels == (None,)


def test_what_is_too_unlikely_is_an_empty_answer(photo: Image):
    model = predictor()
    model.know("ref.jpg", photo)
    (encoded,) = model.encode([photo])
    sure = [replace(ask, threshold=1.0) for ask in KINDS_OF_ASKS if ask.kind != "semantic"]
    for answer in model.decode(encoded, sure):
        assert len(answer) == 0
        assert answer.size == (50, 80)
        assert answer.soft is None


def test_a_higher_threshold_keeps_some_of_the_same_masks(photo: Image):
    model = predictor()
    (encoded,) = model.encode([photo])
    asks = [Ask(text="mug", every=True, threshold=threshold) for threshold in (0.0, 0.2, 0.25)]
    answers = model.decode(encoded, asks)
    for more, fewer in pairwise(answers):
        assert len(fewer) <= len(more)
        assert min(fewer.scores, default=1) >= min(more.scores)


def test_another_region_of_the_reference_and_other_words_are_other_questions(photo: Image):
    model = predictor("v0")
    model.know("ref.jpg", photo)
    (encoded,) = model.encode([photo])
    elsewhere = Reference("ref.jpg", Point(70, 45))
    one, two, three = model.decode(
        encoded, [Ask(references=(REFERENCE,)), Ask(references=(elsewhere,)), Ask(references=(REFERENCE, elsewhere))]
    )
    assert not np.array_equal(one.soft, two.soft)
    assert not np.array_equal(one.soft, three.soft)
    mug, dog = model.decode(encoded, [Ask(text="the red mug"), Ask(text="a dog")])
    assert not np.array_equal(mug.soft, dog.soft)


def test_what_cannot_be_asked_is_named(photo: Image):
    model = predictor()
    (encoded,) = model.encode([photo])
    for ask, words in (
        (Ask(references=(Reference("x.jpg", Point(1, 1)),)), "x.jpg: no such reference photo"),
        (Ask(references=(Reference(None, Point(99, 1)),)), "the photo itself: .* marks nothing"),
        (Ask(text="mug " * 80), "tokens are too many"),
        (Ask(kind="panoptic"), "class names"),
    ):
        with pytest.raises(UsageError, match=words):
            model.decode(encoded, [ask])
    with pytest.raises(UsageError, match="tokens are too many"):
        model.check_words(["a dog", "mug " * 80])

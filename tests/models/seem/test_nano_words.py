"""What the nano member promises about words, whatever its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from segcli.core.ask import Ask, Point, PromptKind
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.rle import encode
from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.models.seem.nano_predictor import NanoPredictor

WORDS = ("cat", "dog", "person", "face", "body", "sky", "wall", "brick wall")
STUFF = ("sky", "wall", "brick wall")
SIZE = (120, 200)


@pytest.fixture(scope="module")
def model() -> NanoPredictor:
    torch.manual_seed(5)
    sizes = NanoConfig(
        dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16), queries=4, words=WORDS, stuff=STUFF
    )
    network = SeemNano(sizes).requires_grad_(False)
    torch.nn.init.normal_(network.direct.weight, std=0.5)
    return NanoPredictor(network, "tiny", "0", torch.device("cpu"), sides=(128, 96))


@contextmanager
def shows(model: NanoPredictor, **chances: float) -> Iterator[None]:
    """The network finds these words everywhere, by so much more than others, and nothing depends on the photo."""
    head = model.model.words
    assert head is not None
    before = head.bias.clone(), head.scale.clone()
    head.scale.fill_(-20)
    head.bias.zero_()
    for word, value in chances.items():
        head.bias[WORDS.index(word.replace("_", " "))] = value
    try:
        yield
    finally:
        head.bias.copy_(before[0])
        head.scale.copy_(before[1])


def photo(seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return Image(pixels, SIZE)


def answer(model: NanoPredictor, ask: Ask):
    (encoded,) = model.encode([photo()])
    return model.decode(encoded, [ask])[0]


def test_a_member_with_words_accepts_text_and_classes_and_one_without_does_not(model: NanoPredictor) -> None:
    assert {PromptKind.TEXT, PromptKind.CLASSES} <= model.accepts
    plain = NanoPredictor(SeemNano(NanoConfig(dim=32, heads=2, widths=(8, 16, 16))), "plain", "0", torch.device("cpu"))
    assert not {PromptKind.TEXT, PromptKind.CLASSES} & plain.accepts


def test_a_word_that_the_photo_does_not_show_is_an_empty_answer(model: NanoPredictor) -> None:
    with shows(model, dog=9.0):
        assert len(answer(model, Ask(text="a cat"))) == 0


def test_a_word_that_is_everywhere_is_the_whole_photo_with_its_phrase_and_name(model: NanoPredictor) -> None:
    with shows(model, sky=9.0):
        found = answer(model, Ask(text="the skies"))
    assert found.dense(0).all()
    assert found.phrases == ("the skies",)
    assert found.labels == ("sky",)
    assert found.scores[0] > 0.9


def test_a_broad_word_finds_what_its_narrower_words_name(model: NanoPredictor) -> None:
    with shows(model, brick_wall=9.0):
        assert answer(model, Ask(text="wall")).dense(0).all()
        assert len(answer(model, Ask(text="person"))) == 0


def test_a_phrase_that_is_no_word_is_refused_before_anything_is_computed(model: NanoPredictor) -> None:
    with pytest.raises(UsageError, match="zebra"):
        answer(model, Ask(text="zebra"))
    with pytest.raises(UsageError, match="zebra"):
        model.check_words(["cat", "zebra"])
    model.check_words(["cats", "the dog"])


def test_labels_come_out_of_the_classes_that_were_offered(model: NanoPredictor) -> None:
    click = Ask(points=(Point(60, 40),), classes=("dog", "sky"))
    with shows(model, cat=9.0, dog=4.0):
        found = answer(model, click)
    assert found.labels[0] == "dog"
    assert found.label_scores[0] == pytest.approx(np.exp(4) / (np.exp(9) + np.exp(4) + 7), abs=1e-3)
    assert found.masks == answer(model, Ask(points=click.points)).masks


def test_each_alternative_of_an_ambiguous_click_is_labelled(model: NanoPredictor) -> None:
    found = answer(model, Ask(points=(Point(60, 40),), classes=("dog",), multimask=True))
    assert found.labels == ("dog",) * len(found)


def test_a_word_beside_a_click_changes_nothing_where_it_is_not_and_visual_ignores_it(model: NanoPredictor) -> None:
    click = Ask(points=(Point(60, 40),))
    alone = answer(model, click)
    with shows(model, dog=9.0):
        both = answer(model, Ask(points=click.points, text="cat"))
        visual = answer(model, Ask(points=click.points, text="dog", answer="visual"))
        text = answer(model, Ask(points=click.points, text="dog", answer="text"))
    assert both.masks == alone.masks == visual.masks
    assert text.dense(0).all()


@pytest.mark.parametrize("kind", ["panoptic", "semantic"])
def test_masks_of_a_whole_photo_do_not_overlap(model: NanoPredictor, kind: str) -> None:
    found = answer(model, Ask(classes=WORDS, kind=kind))  # type: ignore[arg-type]
    assert len(found)
    total = sum(found.dense(i).astype(int) for i in range(len(found)))
    assert total.max() == 1
    assert set(found.labels) <= set(WORDS)
    assert all(thing == (label not in STUFF) for thing, label in zip(found.things, found.labels, strict=True))


def test_instances_are_things_only(model: NanoPredictor) -> None:
    with shows(model, sky=9.0):
        assert len(answer(model, Ask(classes=WORDS, kind="instance"))) == 0
        assert answer(model, Ask(classes=WORDS, kind="panoptic")).labels == ("sky",)


def test_a_class_name_counts_for_the_narrowest_of_the_classes_that_were_offered(model: NanoPredictor) -> None:
    with shows(model, brick_wall=9.0):
        assert answer(model, Ask(classes=("wall", "brick wall"), kind="semantic")).labels == ("brick wall",)
        assert answer(model, Ask(classes=("wall", "sky"), kind="semantic")).labels == ("wall",)


def test_the_same_ask_has_the_same_answer_whatever_was_asked_before(model: NanoPredictor) -> None:
    (encoded,) = model.encode([photo()])
    ask = Ask(classes=WORDS, kind="panoptic")
    first = model.decode(encoded, [ask])[0]
    model.decode(encoded, [Ask(points=(Point(10, 10),)), Ask(mask=encode(np.eye(*SIZE, dtype=np.bool_)))])
    again = model.decode(encoded, [ask])[0]
    assert (first.masks, first.scores, first.labels) == (again.masks, again.scores, again.labels)


def test_words_read_the_shared_backbone_and_only_when_they_are_asked_for() -> None:
    torch.manual_seed(6)
    sizes = NanoConfig(
        dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16), queries=4, words=WORDS, tuned=True
    )
    network = SeemNano(sizes).requires_grad_(False).eval()
    pixels = torch.rand(1, 3, 64, 96) * 255
    encoded = network.encode_features(network.encode_backbone(pixels))
    assert encoded.words is not None
    assert encoded.words.levels is None
    before = network.read(encoded)
    shared = network.encode_shared(pixels)
    assert encoded.words.levels is not None
    assert encoded.words.pixels is None
    for level, name in zip(encoded.words.levels, ("res4", "res5"), strict=True):
        assert torch.equal(level, shared[name])
    for parameter in network.backbone.parameters():
        parameter.zero_()
    assert torch.equal(network.read(encoded).places, before.places)  # computed once
    again = network.encode_features(network.encode_backbone(pixels))
    assert not torch.equal(network.read(again).places, before.places)

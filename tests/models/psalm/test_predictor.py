"""PSALM behind seg's asks, with a tiny network of random weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from segcli.core.ask import Ask, Box, Point, Polygon, Reference, Scribble
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.api import Conversing, Promptable, Referring, Tracking
from segcli.models.psalm.answers import above, best
from segcli.models.psalm.classes import countable, passes, spoken
from segcli.models.psalm.layout import expand, places
from segcli.models.psalm.phi import run
from segcli.models.psalm.picture import fit
from segcli.models.psalm.predictor import PsalmPredictor
from segcli.models.psalm.prompts import sentence_ids, sentence_prompt
from segcli.models.psalm.seen import SeenPhoto, states

from .conftest import CONFIG


@pytest.fixture(scope="module")
def seen(predictor: PsalmPredictor, photo: Image) -> SeenPhoto:
    return predictor.look(photo)


def one(predictor: PsalmPredictor, seen: SeenPhoto, ask: Ask) -> Prediction:
    return predictor.decode(seen, [ask])[0]


def same(a: Prediction, b: Prediction) -> bool:
    return a.masks == b.masks and np.allclose(a.scores, b.scores, atol=1e-4) and a.labels == b.labels


def test_it_offers_everything_that_verbs_look_for(predictor: PsalmPredictor):
    for protocol in (Promptable, Referring, Tracking, Conversing):
        assert isinstance(predictor, protocol)


def test_the_kept_beginning_of_a_prompt_changes_nothing(predictor: PsalmPredictor, photo: Image):
    model = predictor.model
    pieces = expand(sentence_prompt(predictor.tokenizer), (), sentence_ids(["a red dog"], predictor.tokenizer))
    seen = predictor.look(photo)
    with torch.inference_mode():
        whole = run(model.language, model.embed(pieces, seen.tokens))[0]
        for _ in range(2):  # the second time the beginning is there
            parts = states(model, seen, pieces)
            where = places(pieces, len(seen.tokens), model.config.decoder.queries)
            asked = where.masks | where.sentence
            assert torch.allclose(parts[asked], whole[asked], atol=1e-5)


def test_answers_do_not_depend_on_what_else_is_asked(predictor: PsalmPredictor, photo: Image, seen: SeenPhoto):
    asks = [Ask(text="a red dog"), Ask(points=(Point(20, 30),)), Ask(text="the sky"), Ask(boxes=(Box(4, 4, 40, 40),))]
    together = predictor.decode(seen, asks)
    for ask, prediction in zip(asks, together, strict=True):
        assert same(one(predictor, predictor.look(photo), ask), prediction)


def test_other_words_and_other_places_give_other_scores(predictor: PsalmPredictor, seen: SeenPhoto):
    texts = {one(predictor, seen, replace(Ask(), text=words)).scores for words in ("a dog", "a cat", "the sky")}
    assert len(texts) == 3


def test_several_lines_are_sentences_of_one_object_joined_as_published(predictor: PsalmPredictor, seen: SeenPhoto):
    joined = sentence_ids(["left dog", "the brown one"], predictor.tokenizer)
    assert predictor.tokenizer.decode(joined[:-1]) == " left dog. the brown one."
    assert not same(
        one(predictor, seen, Ask(text="left dog\nthe brown one")), one(predictor, seen, Ask(text="left dog"))
    )
    assert same(one(predictor, seen, Ask(text="left dog\n \n")), one(predictor, seen, Ask(text="left dog")))


def test_a_threshold_lets_the_answer_be_none(predictor: PsalmPredictor, seen: SeenPhoto):
    assert len(one(predictor, seen, Ask(text="a dog"))) == 1
    assert len(one(predictor, seen, Ask(text="a dog", threshold=1.0))) == 0
    assert len(one(predictor, seen, Ask(text="a dog", every=True, threshold=1.0))) == 0


def test_several_targets_are_all_above_the_threshold_and_without_one_at_least_the_best(
    predictor: PsalmPredictor, seen: SeenPhoto
):
    every = one(predictor, seen, Ask(text="dogs", every=True, threshold=0.05))
    assert len(every) > 1
    assert all(score > 0.05 for score in every.scores)
    assert list(every.scores) == sorted(every.scores, reverse=True)
    assert len(one(predictor, seen, Ask(text="dogs", every=True))) >= 1


def test_the_best_masks_are_those_of_a_full_search():
    generator = torch.Generator().manual_seed(0)
    said, masks = torch.rand(30, generator=generator), torch.randn(30, 16, 16, generator=generator) * 3
    size = fit((48, 64), 64)
    full = above(said, masks, size, -1.0)
    for count in (1, 3, 10):
        assert [f.query for f in best(said, masks, size, count)] == [f.query for f in full[:count]]


@pytest.mark.parametrize(
    "ask",
    [
        Ask(points=(Point(20, 30), Point(50, 30))),
        Ask(points=(Point(20, 30), Point(25, 30, positive=False))),
        Ask(scribbles=(Scribble(((5, 5), (60, 40))),)),
        Ask(polygons=(Polygon(((5, 5), (60, 5), (30, 50))),)),
        Ask(mask=encode(np.eye(72, 96) > 0)),
        Ask(references=(Reference(None, Box(4, 4, 20, 20)),)),
    ],
    ids=["points", "negative", "scribble", "polygon", "mask", "reference"],
)
def test_every_kind_of_place_has_an_answer_of_the_photos_size(predictor: PsalmPredictor, seen: SeenPhoto, ask: Ask):
    prediction = one(predictor, seen, ask)
    assert prediction.size == (72, 96)
    assert len(prediction) <= 1


def test_a_region_of_the_same_photo_and_the_place_itself_mean_the_same(
    predictor: PsalmPredictor, photo: Image, seen: SeenPhoto
):
    box = Box(4, 4, 40, 30)
    predictor.know("other.png", photo)
    here = one(predictor, seen, Ask(boxes=(box,)))
    for name in (None, "other.png"):
        assert same(one(predictor, seen, Ask(references=(Reference(name, box),))), here)


def test_a_reference_photo_that_was_never_given_is_named(predictor: PsalmPredictor, seen: SeenPhoto):
    with pytest.raises(UsageError, match=r"missing\.png: no such reference photo"):
        one(predictor, seen, Ask(references=(Reference("missing.png", Box(1, 1, 5, 5)),)))


def test_a_references_mask_of_another_size_is_refused(predictor: PsalmPredictor, seen: SeenPhoto):
    with pytest.raises(UsageError, match="10x10"):
        one(predictor, seen, Ask(references=(Reference(None, encode(np.ones((10, 10)))),)))


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (Ask(text="a dog", points=(Point(1, 1),)), "one kind at a time"),
        (Ask(), "one kind at a time"),
        (Ask(points=(Point(1, 1, positive=False),)), "nothing is marked"),
        (Ask(kind="panoptic"), "without classes"),
        (Ask(text="dog " * 2000), "tokens"),
        (Ask(kind="panoptic", classes=("cat", "dog " * 1000)), "too long"),
    ],
)
def test_what_it_cannot_be_asked_is_refused_in_one_line(
    predictor: PsalmPredictor, seen: SeenPhoto, ask: Ask, words: str
):
    with pytest.raises(UsageError, match=words) as refused:
        one(predictor, seen, ask)
    assert "\n" not in str(refused.value)


def test_panoptic_masks_do_not_overlap_and_stuff_is_one_segment(predictor: PsalmPredictor, seen: SeenPhoto):
    names = ("cat", "sky", "lamp", "grass")
    prediction = one(predictor, seen, Ask(kind="panoptic", classes=names, threshold=0.1))
    assert len(prediction)
    covered = np.sum([prediction.dense(k) for k in range(len(prediction))], axis=0)
    assert covered.max() == 1
    stuff = [name for name, thing in zip(prediction.labels, prediction.things, strict=True) if thing is False]
    assert len(stuff) == len(set(stuff))


def test_a_semantic_answer_gives_every_pixel_one_class(predictor: PsalmPredictor, seen: SeenPhoto):
    names = ("cat", "sky", "lamp")
    prediction = one(predictor, seen, Ask(kind="semantic", classes=names))
    assert np.sum([prediction.dense(k) for k in range(len(prediction))], axis=0).tolist() == np.ones((72, 96)).tolist()
    assert all(names[number - 1] == name for number, name in zip(prediction.ids, prediction.labels, strict=True))


def test_instances_are_things_only(predictor: PsalmPredictor, seen: SeenPhoto):
    names = ("cat", "sky", "lamp", "grass")
    told = (True, False, False, True)
    prediction = one(predictor, seen, Ask(kind="instance", classes=names, things=told))
    assert set(prediction.labels) <= {"cat", "grass"}
    assert len(prediction) <= CONFIG.decoder.queries


def test_a_click_with_classes_is_labelled_from_them(predictor: PsalmPredictor, seen: SeenPhoto):
    prediction = one(predictor, seen, Ask(points=(Point(20, 30),), classes=("cat", "dog")))
    assert set(prediction.labels) <= {"cat", "dog"}
    assert None not in prediction.label_scores


def test_long_lists_are_split_into_passes_that_fit_and_cover_all_of_them(predictor: PsalmPredictor):
    names = [f"class number {k}" for k in range(120)]
    found = passes(names, predictor.tokenizer, CONFIG)
    assert len(found) > 1
    assert [k for each, _ in found for k in each] == list(range(120))
    assert max(len(each) for each, _ in found) - min(len(each) for each, _ in found) <= len(found)  # alike
    for each, pieces in found:
        where = places(pieces, CONFIG.image_tokens, CONFIG.decoder.queries)
        assert len(where.masks) <= CONFIG.phi.positions
        assert int(where.classes.max()) == len(each) + 1  # the background is in every pass


def test_a_list_that_fits_is_one_pass(predictor: PsalmPredictor):
    assert len(passes(["cat", "dog"], predictor.tokenizer, CONFIG)) == 1


def test_a_long_lists_answer_names_classes_of_every_pass(predictor: PsalmPredictor, seen: SeenPhoto):
    names = tuple(f"class number {k}" for k in range(120))
    prediction = one(predictor, seen, Ask(kind="instance", classes=names, threshold=0.0))
    assert set(prediction.labels) <= set(names)


def test_synonyms_are_said_in_full_only_in_short_lists():
    assert spoken(["cat, kitty"]) == ["cat, kitty"]
    assert spoken(["cat, kitty"] * 201)[0] == "cat"


def test_what_is_countable_is_told_or_known():
    assert countable(("cat", "sky-other-merged", "zorb")) == (True, False, None)
    assert countable(("cat", "zorb"), (False, None)) == (False, None)


def test_a_question_has_the_same_answer_each_time_and_never_more_than_the_limit(
    predictor: PsalmPredictor, seen: SeenPhoto
):
    first = predictor.reply(seen, "What is this?", 12)
    assert predictor.reply(seen, "What is this?", 12) == first
    assert len(predictor.tokenizer.encode(first)) <= 12 * 4  # a broken character decodes to three bytes
    with pytest.raises(UsageError, match="shorter"):
        predictor.reply(seen, "why " * 3000)


def test_words_of_placeholders_in_a_question_are_words(predictor: PsalmPredictor, seen: SeenPhoto):
    assert isinstance(predictor.reply(seen, "What is <image> and <seg>?", 2), str)


def test_a_speck_between_the_networks_pixels_is_still_a_region(predictor: PsalmPredictor):
    pixels = np.zeros((900, 1200, 3), np.uint8)
    large = Image(pixels=pixels, size=(900, 1200), name="large.png")
    speck = np.zeros((900, 1200), np.bool_)
    speck[301, 503] = True
    seen = predictor.look(large)
    prediction = predictor.decode(seen, [Ask(mask=encode(speck))])[0]
    assert prediction.size == (900, 1200)

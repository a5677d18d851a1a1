"""Which query answers words, marks and both."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.models.seem.conftest import NOTHING, Scene, marks

from segcli.models.seem.attention import Group
from segcli.models.seem.decoder import SeemDecoder
from segcli.models.seem.prompts import Prompts
from segcli.models.seem.referring import Phrase, match, phrase_tokens
from segcli.models.seem.released_answers import Question, ask_decoder, masks_of, without_doubles
from segcli.models.seem.selection import candidates, distinct, joint, phrase_probability, place_scores, text_scores

DecoderOf = Callable[[str], SeemDecoder]
MARKS = (marks((20, 12)), NOTHING)


@pytest.fixture
def phrase() -> Phrase:
    generator = torch.Generator().manual_seed(5)
    return Phrase(torch.randn(4, 32, generator=generator), torch.randn(32, generator=generator))


def largest_change(decoder: SeemDecoder, scene: Scene, one: Question, other: Question, answer="all") -> float:
    image = scene.on(decoder)
    first, second = (masks_of(decoder, image, ask_decoder(decoder, image, each, answer, 1)) for each in (one, other))
    return float((first - second).abs().max())


def test_words_alone_are_answered_as_released(decoder_of: DecoderOf, scene: Scene, phrase: Phrase):
    for variant in ("v1", "v0", "demo"):
        decoder = decoder_of(variant)
        image = scene.on(decoder)
        output = decoder(image, Prompts(text=phrase_tokens([phrase])), objects=variant == "demo")
        released = match(decoder, image, output, [phrase])
        ours = masks_of(decoder, image, ask_decoder(decoder, image, Question(phrase=phrase), "all", 1))
        torch.testing.assert_close(ours, released.masks)


@pytest.mark.parametrize("variant", ["v1", "v0", "demo"])
def test_marks_alone_are_answered_as_released(decoder_of: DecoderOf, scene: Scene, variant: str):
    decoder = decoder_of(variant)
    image = scene.on(decoder)
    output = decoder(image, Prompts([MARKS[0]], [MARKS[1]]), objects=variant == "demo")
    for count in (1, 3):
        released = torch.cat([decoder.spatial_masks(output, image, rank)[0] for rank in range(count)])
        ours = masks_of(decoder, image, ask_decoder(decoder, image, Question(MARKS), "all", count))
        torch.testing.assert_close(ours, released)


@pytest.mark.parametrize("variant", ["v0", "demo"])
def test_a_reference_is_answered_as_released_in_v0_and_the_demo(decoder_of: DecoderOf, scene: Scene, variant: str):
    decoder = decoder_of(variant)
    image = scene.on(decoder)
    tokens = decoder.read_marks(image, [MARKS[0]], [MARKS[1]])
    prompts = Prompts(visual=tokens) if variant == "demo" else Prompts(reference=tokens)
    output = decoder(image, prompts, objects=variant == "demo")
    ours = masks_of(decoder, image, ask_decoder(decoder, image, Question(references=tokens), "all", 1))
    torch.testing.assert_close(ours, decoder.spatial_masks(output, image)[0])


def test_a_reference_on_the_photo_itself_says_in_v1_what_the_same_marks_say(decoder_of: DecoderOf, scene: Scene):
    decoder = decoder_of("v1")
    tokens = decoder.read_marks(scene.on(decoder), [MARKS[0]], [MARKS[1]])
    assert largest_change(decoder, scene, Question(MARKS), Question(references=tokens)) < 1e-5


@pytest.mark.parametrize("variant", ["v1", "v0", "demo", "composed"])
def test_in_a_mixture_every_part_has_its_say(decoder_of: DecoderOf, scene: Scene, phrase: Phrase, variant: str):
    """What v0 and v1 do not let meet, meets under the composed table: each part changes the queries of the other."""
    decoder = decoder_of(variant)
    image = scene.on(decoder)
    tokens = decoder.read_marks(image, [marks((50, 30))], [NOTHING])
    other = Phrase(phrase.tokens.flip(1), phrase.sentence)
    mixed = Question(MARKS, phrase=phrase)
    assert largest_change(decoder, scene, mixed, Question(MARKS, phrase=other), "visual") > 1e-4
    assert largest_change(decoder, scene, mixed, Question((marks((50, 30)), NOTHING), phrase=phrase), "text") > 1e-4
    assert largest_change(decoder, scene, mixed, Question(MARKS, phrase=phrase, references=tokens), "text") > 1e-4
    assert largest_change(decoder, scene, Question(MARKS), Question(MARKS, references=tokens)) > 1e-4


def test_the_weights_are_shared_and_the_released_table_stays(decoder_of: DecoderOf, scene: Scene, phrase: Phrase):
    decoder = decoder_of("v1")
    before = masks_of(decoder, scene.on(decoder), ask_decoder(decoder, scene.on(decoder), Question(MARKS), "all", 1))
    ask_decoder(decoder, scene.on(decoder), Question(MARKS, phrase=phrase), "all", 1)
    after = masks_of(decoder, scene.on(decoder), ask_decoder(decoder, scene.on(decoder), Question(MARKS), "all", 1))
    assert torch.equal(before, after)
    assert decoder.variant.table.name == "v1"
    view = decoder.with_variant(decoder.variant.composed)
    assert view.query_feat.weight is decoder.query_feat.weight


def test_the_answer_says_which_queries_may_answer(decoder_of: DecoderOf, scene: Scene, phrase: Phrase):
    decoder = decoder_of("composed")
    image = scene.on(decoder)
    output = decoder(image, Prompts([MARKS[0]], [MARKS[1]], text=phrase_tokens([phrase])), objects=False)
    text, spatial = output.last[Group.TEXT_QUERIES], output.last[Group.SPATIAL_QUERIES]
    assert torch.equal(candidates(output, "text").hidden, text.hidden)
    assert torch.equal(candidates(output, "visual").hidden, spatial.hidden)
    assert candidates(output, "all").hidden.shape[1] == 9 + 3
    both = candidates(output, "all")
    words, places = text_scores(decoder, both, phrase), place_scores(decoder, output, both)
    product = words.softmax(0) * places.softmax(0)
    assert int(joint([words, places]).argmax()) == int(product.argmax())
    best = masks_of(decoder, image, ask_decoder(decoder, image, Question(MARKS, phrase=phrase), "all", 1))
    torch.testing.assert_close(best, decoder.masks(both.mask_embeddings[:, product.argmax()][:, None], image)[0])


def test_a_query_is_the_less_likely_a_phrase_the_more_it_is_background(decoder_of: DecoderOf, scene: Scene):
    decoder = decoder_of("v1")
    queries = decoder(scene.on(decoder)).last[Group.OBJECT_QUERIES]
    sentence, background = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    phrase = Phrase(sentence[None], sentence)
    chances = phrase_probability(decoder, queries, phrase, background)
    against = phrase_probability(decoder, queries, Phrase(background[None], background), sentence)
    torch.testing.assert_close(chances + against, torch.ones(9))
    torch.testing.assert_close(phrase_probability(decoder, queries, phrase, sentence), torch.full((9,), 0.5))


def test_every_instance_comes_once_and_the_unlikely_not_at_all(decoder_of: DecoderOf, scene: Scene, phrase: Phrase):
    decoder = decoder_of("v1")
    image = scene.on(decoder)
    background = torch.randn(32, generator=torch.Generator().manual_seed(9))
    found = ask_decoder(decoder, image, Question(phrase=phrase, background=background), "all", 0)
    assert found.queries.hidden.shape[1] == 9
    some, logits = without_doubles(found, masks_of(decoder, image, found), 0.0)
    assert len(some.chances) == len(logits) <= 9
    assert some.chances.tolist() == sorted(some.chances.tolist(), reverse=True)
    kept, _ = without_doubles(found, masks_of(decoder, image, found), float(some.chances[0]))
    assert len(kept.chances) == 1
    assert len(without_doubles(found, masks_of(decoder, image, found), 1.1)[0].chances) == 0


def test_every_instance_of_a_reference_is_looked_for_with_all_queries(decoder_of: DecoderOf, scene: Scene):
    decoder = decoder_of("v1")
    image = scene.on(decoder)
    tokens = decoder.read_marks(image, [MARKS[0]], [MARKS[1]])
    found = ask_decoder(decoder, image, Question(references=tokens), "all", 0)
    assert found.queries.hidden.shape[1] == decoder.config.queries
    assert ((found.chances >= 0) & (found.chances <= 1)).all()


def test_masks_that_overlap_a_better_one_are_doubles_and_empty_ones_are_none():
    masks = torch.zeros(5, 4, 10, dtype=torch.bool)
    masks[0, :, :6] = masks[1, :, :5] = masks[2, :, 5:] = masks[4, :, :3] = True
    assert distinct(masks).tolist() == [0, 2, 4]
    assert distinct(masks, 0.4).tolist() == [0, 2]
    assert distinct(masks[:0]).tolist() == []


def test_marks_that_only_exclude_leave_the_choice_to_the_words(decoder_of: DecoderOf, scene: Scene, phrase: Phrase):
    decoder = decoder_of("v1")
    image = scene.on(decoder)
    question = Question((NOTHING, marks((20, 12))), phrase=phrase)
    output = decoder.with_variant(decoder.variant.composed)(
        image, Prompts([NOTHING], [marks((20, 12))], text=phrase_tokens([phrase])), objects=False
    )
    both = candidates(output)
    best = int(text_scores(decoder, both, phrase).argmax())
    for answer in ("all", "visual", "text"):
        mask = masks_of(decoder, image, ask_decoder(decoder, image, question, answer, 1))
        if answer == "all":
            torch.testing.assert_close(mask[0], decoder.masks(both.mask_embeddings[:, best : best + 1], image)[0, 0])
        assert mask.isfinite().all()

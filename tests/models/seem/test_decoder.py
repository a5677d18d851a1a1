"""What the decoder promises beyond the recordings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.models.seem.conftest import NOTHING, marks
from tests.models.seem.published import published_call

from segcli.models.seem.attention import Group
from segcli.models.seem.draws import RandomDraws
from segcli.models.seem.prompts import PointSet, Prompts, Tokens
from segcli.models.seem.similarity import class_similarity

CLICK = Prompts([marks((20, 30))], [marks((50, 10))])
TEXT = Tokens.of_words(torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(9)))


def answer(decoder, scene, prompts, **options):
    image = scene.on(decoder)
    return decoder.spatial_masks(decoder(image, prompts, **options), image)


@pytest.mark.parametrize("variant", ["v1", "v0", "composed"])
def test_the_same_click_gives_the_same_mask_in_every_run_without_any_flag(decoder_of, scene, variant):
    first = answer(decoder_of(variant), scene, CLICK)
    torch.manual_seed(1234)
    assert torch.equal(first, answer(decoder_of(variant), scene, CLICK))


def test_published_draws_differ_from_call_to_call_and_repeat_with_their_seed(decoder_of, scene):
    decoder = decoder_of("v1")
    draws = RandomDraws(0)
    first, second = (answer(decoder, scene, CLICK, draws=draws) for _ in range(2))
    assert not torch.allclose(first, second)
    assert torch.equal(first, answer(decoder, scene, CLICK, draws=RandomDraws(0)))


@pytest.mark.parametrize("variant", ["v1", "v0", "composed"])
def test_leaving_object_queries_out_changes_no_answer_to_marks_memory_or_words(decoder_of, scene, variant):
    decoder = decoder_of(variant)
    image = scene.on(decoder)
    prompts = replace(CLICK, previous=answer(decoder, scene, CLICK), text=TEXT)
    with_objects, without = decoder(image, prompts), decoder(image, prompts, objects=False)
    assert Group.OBJECT_QUERIES not in without.last
    for group in (Group.SPATIAL_QUERIES, Group.TEXT_QUERIES):
        for ours, theirs in zip(without.stages, with_objects.stages, strict=True):
            torch.testing.assert_close(ours[group].mask_embeddings, theirs[group].mask_embeddings, atol=1e-4, rtol=0)


def test_the_demo_variant_refuses_to_leave_out_the_queries_that_answer(decoder_of, scene):
    decoder = decoder_of("demo")
    with pytest.raises(ValueError, match="can't be left out"):
        decoder(scene.on(decoder), CLICK, objects=False)


@pytest.mark.parametrize("variant", ["v1", "v0", "composed"])
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("memory", [False, True])
def test_our_order_of_work_agrees_with_the_published_order(decoder_of, scene, bank, variant, words, memory):
    decoder = decoder_of(variant)
    image = scene.on(decoder)
    prompts = replace(CLICK, text=TEXT if words else None)
    if memory:
        prompts = replace(prompts, previous=answer(decoder, scene, CLICK))
    expected = published_call(decoder, scene.mask_features, scene.multi_scale, prompts, bank)
    output = decoder(image, prompts)
    torch.testing.assert_close(decoder.spatial_masks(output, image), expected["chosen"], atol=1e-4, rtol=0)
    for group, answers in output.last.items():
        classes = class_similarity(decoder.class_embeddings(answers.hidden), bank, decoder.lang_encoder.logit_scale)
        torch.testing.assert_close(
            decoder.masks(answers.mask_embeddings, image), expected[f"masks.{group}"], atol=1e-4, rtol=0
        )
        torch.testing.assert_close(classes, expected[f"classes.{group}"], atol=1e-3, rtol=0)


def test_an_objects_first_answer_does_not_depend_on_what_else_is_asked(decoder_of, scene):
    decoder = decoder_of("v1")
    alone = answer(decoder, scene, CLICK)
    other = torch.cat([marks((5, 5)), CLICK.positive[0]])
    together = answer(decoder, scene, Prompts([other], [torch.cat([NOTHING, CLICK.negative[0]])]))
    torch.testing.assert_close(together[:, 1:], alone, atol=1e-5, rtol=0)


def test_words_change_the_answer_to_a_click_in_composed_only(decoder_of, scene):
    for variant, changes in (("v1", False), ("v0", False), ("composed", True)):
        decoder = decoder_of(variant)
        plain, mixed = answer(decoder, scene, CLICK), answer(decoder, scene, replace(CLICK, text=TEXT))
        assert torch.allclose(plain, mixed, atol=1e-4) is not changes, variant


def test_negative_marks_alone_give_a_finite_mask_and_change_it(decoder_of, scene):
    decoder = decoder_of("v1")
    first = answer(decoder, scene, Prompts([NOTHING], [marks((50, 10))]))
    second = answer(decoder, scene, Prompts([NOTHING], [marks((10, 40))]))
    assert first.isfinite().all()
    assert not torch.allclose(first, second)


def test_negative_marks_change_the_answer_to_a_positive_one(decoder_of, scene):
    decoder = decoder_of("v1")
    with_negative = answer(decoder, scene, CLICK)
    assert not torch.allclose(with_negative, answer(decoder, scene, replace(CLICK, negative=[NOTHING])))


def test_an_object_without_any_mark_has_the_published_vector_and_a_finite_mask(decoder_of, scene):
    for variant, value in (("v1", -1.0), ("v0", 0.0)):
        decoder = decoder_of(variant)
        image = scene.on(decoder)
        output = decoder(image, Prompts([NOTHING], [NOTHING]))
        assert output.spatial is not None
        assert torch.equal(output.spatial.positive, torch.full((1, 1, 32), value))
        assert decoder.spatial_masks(output, image).isfinite().all()


@pytest.mark.parametrize("variant", ["v0", "demo"])
def test_where_an_image_has_one_object_all_its_masks_are_one_mark(decoder_of, scene, variant):
    decoder = decoder_of(variant)
    several = Prompts([torch.cat([marks((20, 30)), marks((30, 12))])], [torch.cat([NOTHING, marks((50, 10))])])
    one = Prompts([marks((20, 30)) | marks((30, 12))], [marks((50, 10))])
    torch.testing.assert_close(answer(decoder, scene, several), answer(decoder, scene, one), atol=1e-4, rtol=0)


def test_in_v0_the_first_query_answers_where_no_mark_is_positive(decoder_of, scene):
    decoder = decoder_of("v0")
    image = scene.on(decoder)
    output = decoder(image, Prompts([NOTHING], [marks((50, 10))]))
    queries = output.last[Group.SPATIAL_QUERIES].mask_embeddings
    for rank in range(2):
        torch.testing.assert_close(
            decoder.spatial_masks(output, image, rank), decoder.masks(queries[:, rank : rank + 1], image)
        )


def test_a_region_of_another_image_prompts_this_one_also_in_v1(decoder_of, scene):
    for variant in ("v1", "v0"):
        decoder = decoder_of(variant)
        image = scene.on(decoder)
        reference = decoder.read_marks(image, [marks((40, 40))], [NOTHING])
        output = decoder(image, Prompts(reference=reference))
        direct = decoder(image, Prompts([marks((40, 40))], [NOTHING]))
        # The same image as its own reference: the same question.
        torch.testing.assert_close(decoder.spatial_masks(output, image), decoder.spatial_masks(direct, image))


def test_a_reference_beside_a_click_changes_the_answer_in_composed(decoder_of, scene):
    decoder = decoder_of("composed")
    image = scene.on(decoder)
    reference = decoder.read_marks(image, [marks((40, 40))], [NOTHING])
    assert not torch.allclose(answer(decoder, scene, CLICK), answer(decoder, scene, replace(CLICK, visual=reference)))


def test_a_point_set_asks_the_same_as_the_mask_with_its_points(decoder_of, scene):
    decoder = decoder_of("v1")
    points = Prompts([PointSet.of_masks(CLICK.positive[0])], [PointSet.of_masks(CLICK.negative[0])])
    assert torch.equal(answer(decoder, scene, CLICK), answer(decoder, scene, points))


def test_images_of_a_batch_and_repeated_images_answer_as_alone(decoder_of, scene):
    decoder = decoder_of("v1")
    image = scene.on(decoder).take(torch.tensor([0, 0]))
    prompts = Prompts([marks((20, 30)), marks((40, 8), (44, 12))], [marks((50, 10)), NOTHING])
    both = decoder.spatial_masks(decoder(image, prompts), image)
    for b in range(2):
        alone = answer(decoder, scene, Prompts(prompts.positive[b : b + 1], prompts.negative[b : b + 1]))
        torch.testing.assert_close(both[b : b + 1], alone, atol=1e-4, rtol=0)


def test_gradients_reach_every_part_that_a_click_uses(decoder_of, scene):
    decoder = decoder_of("v1").requires_grad_(True)
    image = scene.on(decoder)
    previous = torch.zeros(1, 1, 12, 16)
    output = decoder(image, replace(CLICK, previous=previous), objects=False)
    decoder.masks(output.last[Group.SPATIAL_QUERIES].mask_embeddings, image).square().mean().backward()
    unused = {name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert unused == {"class_embed", "lang_encoder.logit_scale"}


def test_asking_for_the_chosen_mask_without_marks_is_refused(decoder_of, scene):
    decoder = decoder_of("v1")
    image = scene.on(decoder)
    with pytest.raises(ValueError, match="no marks"):
        decoder.spatial_masks(decoder(image), image)


def test_prompts_that_a_variant_cannot_hear_are_refused_not_ignored(decoder_of, scene):
    v1, demo = decoder_of("v1"), decoder_of("demo")
    image = scene.on(v1)
    reference = v1.read_marks(image, [marks((40, 40))], [NOTHING])
    for decoder, prompts, part in (
        (v1, replace(CLICK, visual=reference), "Tvis"),
        (v1, Prompts(audio=TEXT), "Taud"),
        (v1, Prompts(previous=torch.zeros(1, 1, 12, 16)), "Mem"),
        (demo, replace(CLICK, previous=torch.zeros(1, 1, 12, 16)), "Mem"),
    ):
        with pytest.raises(ValueError, match=f"no queries that look at {part}"):
            decoder(image, prompts)


def test_asking_nothing_at_all_is_refused(decoder_of, scene):
    decoder = decoder_of("v1")
    with pytest.raises(ValueError, match="nothing is asked"):
        decoder(scene.on(decoder), objects=False)


def test_memory_of_another_number_of_objects_is_refused(decoder_of, scene):
    decoder = decoder_of("v1")
    with pytest.raises(ValueError, match=r"of \[1, 2\] objects"):
        decoder(scene.on(decoder), replace(CLICK, previous=torch.zeros(1, 2, 12, 16)))


def test_half_given_marks_and_doubled_ones_are_refused(decoder_of, scene):
    decoder = decoder_of("v1")
    with pytest.raises(ValueError, match="together"):
        Prompts([marks((20, 30))])
    reference = decoder.read_marks(scene.on(decoder), CLICK.positive, CLICK.negative)
    with pytest.raises(ValueError, match="in their place"):
        replace(CLICK, reference=reference)


def test_beside_negative_marks_alone_a_reference_chooses_the_mask(decoder_of, scene):
    decoder = decoder_of("composed")
    image = scene.on(decoder)
    reference = decoder.read_marks(image, [marks((40, 40))], [NOTHING])
    output = decoder(image, Prompts([NOTHING], [marks((50, 10))], visual=reference))
    embeddings = output.last[Group.SPATIAL_QUERIES].mask_embeddings
    torch.testing.assert_close(decoder.spatial_scores(output), embeddings @ reference.positive.mT)

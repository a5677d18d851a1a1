"""The sequence and the three kinds of attention (P6 to P10) on tiny random models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.models.ras.conftest import BEFORE, PLAIN, TEXT, logits, question, tiny

from segcli.models.ras.model import Question
from segcli.models.ras.text import PLACE

MODES = ("causal", "independent", "set")
close = {"atol": 1e-5, "rtol": 0}


def permuted(asked: Question, order: list[int]) -> Question:
    return replace(asked, candidates=asked.candidates[order])


def decoded_in(model: object, asked: Question, order: list[int]) -> torch.Tensor:
    """Logits when only the second list is in another order, in that order."""
    fed = model.sequence(asked)  # type: ignore[attr-defined]
    pair = model.config.pair  # type: ignore[attr-defined]
    tail = fed.embeddings[fed.context :].unflatten(0, (-1, pair))[order].flatten(0, 1)
    changed = replace(fed, embeddings=torch.cat([fed.embeddings[: fed.context], tail]))
    states = model.hidden([changed])[0]  # type: ignore[attr-defined]
    return model.classifier(states[fed.layout.reads]).squeeze(-1)  # type: ignore[attr-defined]


def cut(model: object, asked: Question, keep: int) -> torch.Tensor:
    """Logits when the decoding part ends after `keep` pairs."""
    fed = model.sequence(asked)  # type: ignore[attr-defined]
    length = fed.context + keep * model.config.pair  # type: ignore[attr-defined]
    states = model.hidden([replace(fed, embeddings=fed.embeddings[:length])])[0]  # type: ignore[attr-defined]
    return model.classifier(states[fed.layout.reads[:keep]]).squeeze(-1)  # type: ignore[attr-defined]


def test_a_sequence_is_prefix_pool_text_with_references_and_the_pool_again() -> None:
    model = tiny()
    fed = model.sequence(question(4, 1))
    assert fed.context == 20
    assert len(fed.embeddings) == 28
    pool, again = fed.embeddings[5:13], fed.embeddings[20:]
    assert torch.equal(pool, again), "second copies equal the first bit for bit"
    for k in range(4):
        assert torch.equal(pool[2 * k], model.mask_pool_pre)
        assert torch.equal(pool[2 * k + 1], fed.mask_tokens[k])


def test_a_reference_is_the_candidates_token_behind_another_pre_token() -> None:
    model = tiny()
    asked = question(4)
    asked = replace(asked, references=asked.candidates[2:3], after=TEXT)
    fed = model.sequence(asked)
    at = 5 + 8 + TEXT.index(PLACE)
    assert torch.equal(fed.embeddings[at], model.mask_ref_pre)
    torch.testing.assert_close(fed.embeddings[at + 1], fed.embeddings[5 + 2 * 2 + 1], **close)


def test_without_references_their_pre_token_is_not_in_the_sequence() -> None:
    model = tiny()
    rows = model.sequence(question(3)).embeddings
    assert not (rows == model.mask_ref_pre).all(1).any()


def test_the_two_pre_tokens_are_not_the_same_to_the_model() -> None:
    model, asked = tiny(), question(4, 1)
    before = logits(model, asked)
    model.mask_pool_pre.data, model.mask_ref_pre.data = model.mask_ref_pre.data, model.mask_pool_pre.data
    assert (logits(model, asked) - before).abs().max() > 1e-3


@pytest.mark.parametrize(("references", "after"), [(1, [10, PLACE, PLACE]), (2, [10, PLACE]), (1, [10])])
def test_as_many_references_as_places_are_needed(references: int, after: list[int]) -> None:
    with pytest.raises(ValueError, match="places for references"):
        tiny().sequence(question(3, references, after))


def test_it_matters_which_reference_stands_where() -> None:
    model, asked = tiny(), question(4, 2, [10, PLACE, 11, PLACE])
    swapped = replace(asked, references=asked.references.flip(0))
    assert (logits(model, asked) - logits(model, swapped)).abs().max() > 1e-3


def test_causal_is_the_plain_model() -> None:
    model, asked = tiny(), question(4)
    fed = model.sequence(asked)
    plain = model.language_model(inputs_embeds=fed.embeddings[None]).last_hidden_state[0]
    expected = model.classifier(plain[fed.layout.reads]).squeeze(-1)
    assert torch.equal(logits(model, asked), expected)


def test_causal_does_not_see_later_copies() -> None:
    model, asked = tiny(), question(4)
    torch.testing.assert_close(cut(model, asked, 2), logits(model, asked)[:2], **close)


@pytest.mark.parametrize("mode", MODES)
def test_every_candidate_is_seen_through_the_context(mode: str) -> None:
    model, asked = tiny(decoding_attention=mode), question(4)
    other = asked.candidates.clone()
    other[3] *= -1
    assert abs(float((logits(model, replace(asked, candidates=other)) - logits(model, asked))[0])) > 1e-3


def test_causal_depends_on_the_order_of_the_second_list() -> None:
    model, asked, order = tiny(), question(4), [2, 0, 3, 1]
    assert (decoded_in(model, asked, order) - logits(model, asked)[order]).abs().max() > 1e-2


@pytest.mark.parametrize("mode", ["independent", "set"])
def test_one_pass_gives_what_candidate_by_candidate_gives(mode: str) -> None:
    model, asked = tiny(decoding_attention=mode), question(4, 1)
    together = logits(model, asked)
    fed = model.sequence(asked)
    for n in range(4):
        context = list(range(fed.context))
        rows = [*context, fed.context + 2 * n, fed.context + 2 * n + 1]
        placed = fed.layout
        alone = replace(
            fed,
            embeddings=fed.embeddings[rows],
            layout=replace(placed, positions=placed.positions[rows], allowed=placed.allowed[rows][:, rows]),
        )
        state = model.hidden([alone])[0, -1]
        torch.testing.assert_close(model.classifier(state)[0], together[n], **close)


@pytest.mark.parametrize("mode", ["independent", "set"])
def test_the_order_of_the_second_list_is_irrelevant(mode: str) -> None:
    model, asked, order = tiny(decoding_attention=mode), question(4), [2, 0, 3, 1]
    torch.testing.assert_close(decoded_in(model, asked, order), logits(model, asked)[order], **close)


def test_independent_still_depends_on_the_order_of_the_first_list() -> None:
    model, asked, order = tiny(decoding_attention="independent"), question(4), [2, 0, 3, 1]
    assert (logits(model, permuted(asked, order)) - logits(model, asked)[order]).abs().max() > 1e-2


def test_the_first_independent_logit_is_the_causal_one() -> None:
    asked = question(4)
    causal, independent = (logits(tiny(decoding_attention=m), asked) for m in ("causal", "independent"))
    torch.testing.assert_close(causal[0], independent[0], **close)
    assert (causal[1:] - independent[1:]).abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["independent", "set"])
def test_identical_candidates_are_judged_alike(mode: str) -> None:
    asked = question(4)
    asked = replace(asked, candidates=asked.candidates[[0, 1, 0, 2]])
    found = logits(tiny(decoding_attention=mode), asked)
    torch.testing.assert_close(found[0], found[2], **close)


def test_a_set_has_no_order() -> None:
    model, asked, order = tiny(decoding_attention="set"), question(4, 1), [2, 0, 3, 1]
    torch.testing.assert_close(logits(model, permuted(asked, order)), logits(model, asked)[order], **close)


def test_one_candidate_alone_is_the_same_causal_and_independent() -> None:
    asked = question(1)
    causal, independent = (logits(tiny(decoding_attention=m), asked) for m in ("causal", "independent"))
    torch.testing.assert_close(causal, independent, **close)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_gives_what_each_question_gives_alone(mode: str) -> None:
    model = tiny(decoding_attention=mode)
    asked = [question(4), question(7, 1, seed=3), question(1, 0, PLAIN[:2], seed=5)]
    for one, together in zip(asked, model(asked), strict=True):
        torch.testing.assert_close(logits(model, one), together, **close)


@pytest.mark.parametrize("pre", ["same", "none"])
def test_the_ablations_have_one_pre_token_or_none(pre: str) -> None:
    model = tiny(pre_tokens=pre)
    assert model.mask_ref_pre is None
    assert (model.mask_pool_pre is None) == (pre == "none")
    fed = model.sequence(question(4, 1))
    assert fed.context == len(BEFORE) + (4 + 1) * model.config.pair + len(TEXT) - 1
    assert logits(model, question(4, 1)).shape == (4,)

"""Names, colours and relations beside mask tokens, all of the nano size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from segcli.models.ras.colours import COLOURS
from segcli.models.ras.matches import Related
from segcli.models.ras.model import Question, Ras
from segcli.models.ras.names import FORMS, TOKENS, mentioned, owned, rows
from segcli.models.ras.relations import PAIR, STANDING

from .conftest import question, tiny

NAMES = 5


def known(**changes: object) -> Ras:
    model = tiny(relations=True, names=NAMES, decoding_attention="set", pre_tokens="added", **changes)
    assert model.names is not None
    generator = torch.Generator().manual_seed(7)
    model.names.ids.copy_(torch.randint(20, 50, (len(COLOURS) + NAMES, FORMS, TOKENS), generator=generator))
    return model


def asked(count: int = 4, references: int = 1, seed: int = 1) -> Question:
    generator = torch.Generator().manual_seed(seed)
    numbers = (
        torch.randn(count, STANDING, generator=generator),
        torch.randn(count, references, PAIR, generator=generator),
    )
    plain = question(count, references, seed=seed)
    plain = replace(plain, candidates=plain.candidates.abs() / 4, references=plain.references.abs() / 4)
    return replace(plain, related=Related(*numbers))


def test_a_set_with_names_and_relations_has_no_order() -> None:
    model, whole, order = known(), asked(), [2, 0, 3, 1]
    assert whole.related is not None
    moved = Related(whole.related.standing[order], whole.related.beside[order])
    turned = replace(whole, candidates=whole.candidates[order], related=moved)
    torch.testing.assert_close(model([turned])[0], model([whole])[0][order], atol=1e-5, rtol=1e-4)


def test_a_batch_gives_what_each_question_gives_alone() -> None:
    model, several = known(), [asked(), asked(6, seed=3)]
    for one, together in zip(several, model(several), strict=True):
        torch.testing.assert_close(model([one])[0], together, atol=1e-5, rtol=1e-4)


def test_relations_reach_the_second_copies_only_and_change_the_answer() -> None:
    model, whole = known(), asked()
    assert whole.related is not None
    other = replace(whole, related=Related(whole.related.standing, -whole.related.beside))
    first, second = model.sequence(whole), model.sequence(other)
    assert torch.equal(first.embeddings[: first.context], second.embeddings[: first.context])
    assert (model([whole])[0] - model([other])[0]).abs().max() > 1e-3


def test_a_question_without_relations_is_refused_where_they_are_needed() -> None:
    with pytest.raises(ValueError, match="asks for relations"):
        known()([question(3, 1)])


def test_chances_that_are_given_stand_in_for_the_heads_own() -> None:
    model, whole = known(), asked()
    assert model.names is not None
    own = model.names(torch.cat([whole.candidates, whole.references])).softmax(1)
    torch.testing.assert_close(model([replace(whole, chances=own)])[0], model([whole])[0])
    assert (model([replace(whole, chances=own.flip(1))])[0] - model([whole])[0]).abs().max() > 1e-4


def test_what_is_said_is_the_mean_of_a_names_tokens() -> None:
    model = known()
    assert model.names is not None
    model.names.ids.copy_(rows([[[3], [4]]] * (len(COLOURS) + NAMES - 1) + [[]]))
    table = torch.randn(50, 8)
    words = model.names.words(table)
    torch.testing.assert_close(words[0], (table[3] + table[4]) / 2)
    assert not words[-1].any()


def test_a_colour_is_owned_from_half_of_the_pixels_on() -> None:
    found = owned(torch.tensor([0.0, 0.4, 0.5, 0.6, 1.0]))
    assert found.round().tolist() == [0, 0, 0, 1, 1]
    assert found[2] == 0.5


def test_the_longest_name_at_each_place_is_heard() -> None:
    forms = {(7,): [0], (7, 8): [1], (9,): [2, 3]}
    assert mentioned([5, 7, 8, 6], forms) == [1]
    assert mentioned([7, 9], forms) == [0, 2, 3]
    assert mentioned([8, 5], forms) == []
    assert mentioned([5, 7], {(7, 8): [1]}) == []


def test_a_name_in_the_sentence_changes_what_candidates_are_told() -> None:
    model = known()
    assert model.names is not None
    model.names.ids[len(COLOURS)] = rows([[[12]]])[0]
    whole = asked()
    first = model.sequence(whole)
    model.names.ids[len(COLOURS)] = rows([[[19]]])[0]
    second = model.sequence(whole)
    assert (first.embeddings[first.context :] - second.embeddings[second.context :]).abs().max() > 1e-3

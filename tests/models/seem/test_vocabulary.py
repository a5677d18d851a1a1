"""A closed vocabulary finds what people type, and refuses the rest by naming what is near."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.errors import UsageError
from segcli.models.seem.vocabulary import BUNDLED, Vocabulary, covers


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("dog", "dog"),
        ("the dogs", "dog"),
        ("A Dog.", "dog"),
        ("knives", "knife"),
        ("buses", "bus"),
        ("people", "person"),
        ("mice", "mouse"),
        ("sofa", "couch"),
        ("sofas", "couch"),
        ("all the wine glasses", "wine glass"),
        ("sky-other-merged", "sky"),
        ("wall-brick", "brick wall"),
        ("window-blind", "window blind"),
        ("diningtable", "dining table"),
    ],
)
def test_a_phrase_is_found_whatever_its_article_number_case_or_list(typed: str, word: str):
    assert BUNDLED.find(typed) == word


def test_every_word_finds_itself_and_its_plural():
    for word in BUNDLED.words:
        assert BUNDLED.find(word) == word
        assert BUNDLED.find(f"the {word}") == word


def test_an_unknown_word_is_refused_with_near_ones_and_what_to_type_instead():
    with pytest.raises(UsageError, match=r"'hors'.*near: horse.*-m seem\."):
        BUNDLED.find("hors")


@given(st.text(max_size=30))
def test_no_text_does_anything_but_find_a_word_or_be_refused(text: str):
    with suppress(UsageError):
        assert BUNDLED.find(text) in BUNDLED.words


def test_no_word_stands_twice_and_every_broad_word_covers_words_that_are_there():
    assert len(set(BUNDLED.words)) == len(BUNDLED.words)
    for broad, narrow in covers().items():
        assert {broad, *narrow} <= set(BUNDLED.words)
        assert len(BUNDLED.covered(broad)) == 1 + len(narrow)


def test_things_come_before_stuff_and_none_is_both():
    flags = [word in BUNDLED.stuff for word in BUNDLED.words]
    assert flags == sorted(flags)
    assert set(BUNDLED.stuff) <= set(BUNDLED.words)


def test_a_training_label_under_another_name_means_its_word():
    assert BUNDLED.words[BUNDLED.index("armchair") or 0] == "chair"
    assert BUNDLED.index("bannister") is None


def test_words_that_are_like_none_are_told_some_without_calling_them_near():
    with pytest.raises(UsageError, match="this is none; some are person, ") as refused:
        BUNDLED.find("zzqqx")
    assert "near" not in str(refused.value)


def test_a_member_with_few_words_knows_no_others():
    few = Vocabulary(("cat", "sky"), frozenset({"sky"}))
    assert few.find("cats") == "cat"
    with pytest.raises(UsageError, match="knows 2 words"):
        few.find("dog")

"""Phrases and class banks of a released member, from typed words to embeddings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segcli.core.errors import StorageError, UsageError
from segcli.models.seem.config import DecoderConfig, TextConfig
from segcli.models.seem.decoder import SeemDecoder
from segcli.models.seem.language import BACKGROUND, Language, bank_folder
from segcli.models.seem.similarity import normalise
from segcli.models.seem.templates import TEMPLATES
from segcli.models.seem.tokenizer import spoken_length, token_ids
from segcli.registry.places import cache_home

SMALL = DecoderConfig(32, 32, 32, 4, 48, 2, 9, 3, 6, 64, text=TextConfig(32, 77, 49408, 1, 4))


@pytest.fixture(scope="module")
def decoder() -> SeemDecoder:
    torch.manual_seed(0)
    return SeemDecoder(SMALL).requires_grad_(False)


def test_there_are_81_different_sentences_with_one_place_for_the_name():
    assert len(set(TEMPLATES)) == 81
    assert all(one.count("{}") == 1 and one.endswith(".") for one in TEMPLATES)
    assert TEMPLATES[0] == "{}."


def test_a_phrase_has_a_token_for_each_of_its_own_and_ends_in_the_sentence(decoder: SeemDecoder):
    text = "the red mug left of the dog"
    phrase = Language(decoder, "0", None).phrase(text)
    whole, sentence = decoder.lang_encoder.tokens(torch.from_numpy(token_ids([text])))
    assert phrase.tokens.shape == (spoken_length(text), 32)
    torch.testing.assert_close(phrase.tokens, whole[0, : spoken_length(text)])
    torch.testing.assert_close(phrase.sentence, sentence[0])
    torch.testing.assert_close(phrase.sentence, phrase.tokens[-1])


def test_a_bank_is_the_mean_of_all_sentences_encoded_one_by_one_and_uncut(decoder: SeemDecoder):
    bank = Language(decoder, "0", None).bank(["tree-merged", "traffic light"])
    rows = []
    for name in ("tree", "traffic light", BACKGROUND):
        each = [torch.from_numpy(token_ids([template.format(name)])) for template in TEMPLATES]
        mean = torch.stack([normalise(decoder.lang_encoder.tokens(ids)[1][0]) for ids in each]).mean(0)
        rows.append(mean / mean.norm())
    torch.testing.assert_close(bank, torch.stack(rows))


def test_another_process_reads_the_bank_from_disk_and_encodes_nothing(decoder: SeemDecoder, tmp_path: Path):
    first = Language(decoder, "abc", tmp_path).bank(["cat", "dog"])
    other = Language(decoder, "abc", tmp_path)
    other.decoder = SeemDecoder(replace(SMALL, text=None))  # could not encode a word
    other.decoder.class_embed = decoder.class_embed
    assert torch.equal(other.bank(["cat", "dog"]), first)
    with pytest.raises(ValueError, match="without a text encoder"):
        other.bank(["cat", "bird"])


def test_texts_that_cannot_be_read_are_named(decoder: SeemDecoder):
    language = Language(decoder, "0", None)
    for nothing in ("", " \n"):
        with pytest.raises(UsageError, match="empty text"):
            language.phrase(nothing)
        with pytest.raises(UsageError, match="empty"):
            language.bank(["cat", nothing])
    long = "mug " * 76
    with pytest.raises(UsageError, match=r"'mug mug .* 76 tokens are too many, SEEM reads 75"):
        language.phrase(long)
    assert language.phrase("mug " * 75).tokens.shape[0] == 77
    with pytest.raises(UsageError, match="too many"):
        language.bank(["mug " * 70])  # fits alone, but not into the longest sentence


def test_banks_are_kept_in_segs_own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("SEG_CACHE")
    assert bank_folder() == cache_home() / "banks"
    monkeypatch.setenv("SEG_CACHE", str(tmp_path))
    assert bank_folder() == cache_home() / "banks" == tmp_path / "banks"


def test_a_cache_that_cannot_be_written_says_what_to_set(decoder: SeemDecoder, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="set SEG_CACHE"):
        Language(decoder, "0", tmp_path / "file" / "banks").bank(["cat"])

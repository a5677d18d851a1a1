"""CLIP's tokenizer: published ids, and the ids of the implementation that the released models were trained with."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.models.seem.tokenizer import BEGIN, CONTEXT, END, _tokenizer, spoken_length, token_ids

PUBLISHED = {
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "a photo of a dog": [320, 1125, 539, 320, 1929],
    "hello world": [3306, 1002],
    "": [],
}


@pytest.fixture(scope="module")
def transformers_tokenizer(tmp_path_factory: pytest.TempPathFactory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    merges = gzip.decompress((files("segcli.models.seem") / "clip_merges.txt.gz").read_bytes()).decode()
    (folder / "vocab.json").write_text(json.dumps(_tokenizer().get_vocab()))
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges)
    return transformers.CLIPTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(("text", "ids"), PUBLISHED.items())
def test_well_known_phrases_have_their_published_ids(text: str, ids: list[int]):
    assert token_ids([text])[0].tolist() == [BEGIN, *ids] + [END] * (CONTEXT - 1 - len(ids))
    assert spoken_length(text) == len(ids) + 2


def test_case_and_white_space_make_no_difference():
    plain, odd = token_ids(["the red mug", "  The\tRED \n mug "])
    assert (plain == odd).all()


@given(st.lists(st.text(max_size=60), max_size=4))
def test_ids_never_leave_the_context_or_the_vocabulary(texts: list[str]):
    ids = token_ids([*texts, " ".join(texts) * 9], 20)
    assert ids.shape == (len(texts) + 1, 20)
    assert ids.dtype == np.int64
    assert (ids[:, 0] == BEGIN).all()
    assert (ids[:, -1] == END).all()
    assert ids.min() >= 0
    assert ids.max() == END
    for row, text in zip(ids, texts, strict=False):
        end = int(row.argmax())  # the first of the largest id, where the sentence is read
        assert end == min(spoken_length(text), 20) - 1
        assert (row[end:] == END).all()


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80).filter(lambda t: "<|" not in t.lower()))
def test_ids_are_those_of_transformers(transformers_tokenizer, text: str):
    wanted = transformers_tokenizer(text, padding="max_length", truncation=True, max_length=CONTEXT)["input_ids"]
    assert token_ids([text])[0].tolist() == wanted


def test_a_text_cannot_bring_an_end_token_of_its_own():
    assert (
        token_ids(["a cat <|endoftext|> a dog"])[0].tolist().index(END)
        == spoken_length("a cat <|endoftext|> a dog") - 1
    )


def test_the_merges_stand_beside_the_notice_of_where_they_come_from():
    notice = (files("segcli.models.seem") / "clip_merges.md").read_text()
    assert "permission notice shall be" in notice
    assert len(_tokenizer().get_vocab()) == END + 1

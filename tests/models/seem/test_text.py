"""Text encoder and class bank."""

from __future__ import annotations

import pytest
import torch

from segcli.models.seem.config import TextConfig
from segcli.models.seem.text import LanguageEncoder

END = 59


@pytest.fixture(scope="module")
def encoder() -> LanguageEncoder:
    torch.manual_seed(0)
    return LanguageEncoder(TextConfig(32, 12, 60, 2, 4), 16).requires_grad_(False)


def test_what_stands_behind_the_end_token_changes_nothing(encoder: LanguageEncoder):
    short = torch.tensor([[58, 3, 4, END]])
    padded = torch.tensor([[58, 3, 4, END] + [END] * 8])
    tokens, sentence = encoder.tokens(padded)
    cut_tokens, cut_sentence = encoder.tokens(short)
    torch.testing.assert_close(tokens[:, :4], cut_tokens)
    torch.testing.assert_close(sentence, cut_sentence)
    torch.testing.assert_close(encoder.sentences(padded), encoder.sentences(short))


def test_sentences_of_any_lengths_come_back_in_order(encoder: LanguageEncoder):
    ids = torch.randint(0, 58, (300, 12), generator=torch.Generator().manual_seed(2))
    lengths = torch.randint(2, 13, (300, 1), generator=torch.Generator().manual_seed(3))
    ids[torch.arange(12) >= lengths - 1] = END
    alone = torch.cat([encoder.sentences(text[None]) for text in ids])
    torch.testing.assert_close(encoder.sentences(ids), alone)


def test_a_class_bank_is_normalised_and_does_not_depend_on_the_order_of_templates(encoder: LanguageEncoder):
    ids = torch.randint(0, 58, (3, 7, 12), generator=torch.Generator().manual_seed(1))
    ids[:, :, -1] = END
    bank = encoder.bank(ids)
    torch.testing.assert_close(bank.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(bank, encoder.bank(ids.flip(1)))


def test_a_model_without_a_text_encoder_says_so():
    with pytest.raises(ValueError, match="without a text encoder"):
        LanguageEncoder(None, 16).tokens(torch.tensor([[58, END]]))

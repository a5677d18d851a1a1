"""Words to masks: which query answers which text (section 3.2, "grounding")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segcli.models.seem.attention import Group
from segcli.models.seem.decoder import DecoderImage, DecoderOutput, SeemDecoder
from segcli.models.seem.prompts import Tokens
from segcli.models.seem.similarity import text_similarity


@dataclass(frozen=True)
class Phrase:
    """One encoded text: tokens [T, C] (begin and end tokens included) and its sentence embedding [C]."""

    tokens: Tensor
    sentence: Tensor


@dataclass(frozen=True)
class Matches:
    """Of T texts on one image: similarity [q, T] to every query, the best query [T], mask logits [T, H/4, W/4]."""

    similarity: Tensor
    query: Tensor
    masks: Tensor


def encode_phrases(decoder: SeemDecoder, ids: Tensor, attention_mask: Tensor) -> list[Phrase]:
    """Texts as ids [T, L] with their attention mask -> phrases."""
    tokens, sentences = decoder.lang_encoder.tokens(ids)
    return [Phrase(t[m.bool()], s) for t, m, s in zip(tokens, attention_mask, sentences, strict=True)]


def phrase_tokens(phrases: Sequence[Phrase]) -> Tokens:
    """All phrases as the text prompt of one image: their tokens one after the other.

    As published, the texts of one image are read together and influence each other; give one phrase for an answer that
    depends on nothing else.
    """
    return Tokens.of_words(torch.cat([phrase.tokens for phrase in phrases])[None])


def match(decoder: SeemDecoder, image: DecoderImage, output: DecoderOutput, phrases: Sequence[Phrase]) -> Matches:
    """Choose the query nearest to each phrase, on one image, after a decoder call with `phrase_tokens`."""
    group = Group.TEXT_QUERIES if Group.TEXT_QUERIES in output.last else Group.OBJECT_QUERIES
    answers = output.last[group]
    sentences = torch.stack([phrase.sentence for phrase in phrases])
    embeddings = decoder.class_embeddings(answers.hidden)[0]
    similarity = text_similarity(embeddings, sentences, decoder.lang_encoder.logit_scale)
    best = similarity.argmax(0)
    return Matches(similarity, best, decoder.masks(answers.mask_embeddings[:, best], image)[0])

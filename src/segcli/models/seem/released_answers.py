"""How a released member answers one ask: words, marks, regions of other photos, and mixtures of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.ask import Answer, Ask
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.seem.answers import Answers, DecoderImage
from segcli.models.seem.config import SpatialQueries
from segcli.models.seem.decoder import SeemDecoder
from segcli.models.seem.marks import InputSize
from segcli.models.seem.postprocess import resize_interactive, resize_masks
from segcli.models.seem.prompts import Prompts, SpatialTokens
from segcli.models.seem.referring import Phrase, phrase_tokens
from segcli.models.seem.selection import (
    candidates,
    distinct,
    joint,
    phrase_probability,
    place_scores,
    text_scores,
)

ALTERNATIVES = 3
"""Masks of an ambiguous prompt: as many as v1 has queries for an object."""

EVERY_THRESHOLD = 0.5
"""Score from which an instance counts where all of them are asked for and nobody says otherwise."""

_SOFT_SIDE = 1024  # longest side of the probabilities that are handed out


@dataclass(frozen=True)
class EncodedPhoto:
    """A photo after everything that no prompt changes."""

    image: DecoderImage
    size: InputSize

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.image.nbytes


@dataclass(frozen=True)
class Question:
    """What is asked about one object, in the decoder's terms. At least one is not None.

    marks:      positive and negative marks, bool [1, H, W] of the padded input each.
    previous:   the last round's mask logits [1, 1, h, w], beside marks.
    phrase:     words, with `background` [C], the embedding of what they are not (None: chances aren't asked for).
    references: regions of other photos (or of this one).
    """

    marks: tuple[Tensor, Tensor] | None = None
    previous: Tensor | None = None
    phrase: Phrase | None = None
    background: Tensor | None = None
    references: SpatialTokens | None = None

    @property
    def mixed(self) -> bool:
        """Whether words, marks and references meet, which the `composed` table lets them do."""
        return sum(part is not None for part in (self.marks, self.phrase, self.references)) > 1


@dataclass(frozen=True)
class Found:
    """N queries, best first: what they are [1, N, C] and [1, N, M], how likely they are what was asked for [N]."""

    queries: Answers
    chances: Tensor


def ask_decoder(decoder: SeemDecoder, image: DecoderImage, question: Question, answer: Answer, count: int) -> Found:
    """The `count` best queries for a question, all that may answer with 0.

    Words alone, marks alone and references alone are answered as released (v1's reference tokens, whose object numbers
    the released code loses on the way, keep them); mixtures by the same weights under the composed table.
    """
    released = decoder.variant
    if question.mixed:
        decoder = decoder.with_variant(decoder.variant.composed)
    if not count:
        decoder = decoder.with_variant(decoder.variant.exhaustive)
    demo = released.spatial_queries is SpatialQueries.NONE
    beside = demo or question.mixed
    prompts = Prompts(
        positive=None if question.marks is None else [question.marks[0]],
        negative=None if question.marks is None else [question.marks[1]],
        previous=None if demo else question.previous,  # the demo has no memory
        text=None if question.phrase is None else phrase_tokens([question.phrase]),
        reference=None if beside else question.references,
        visual=question.references if beside else None,
    )
    # Object queries exchange nothing with prompts, except in the demo variant, where they answer them.
    output = decoder(image, prompts, objects=demo)
    queries = candidates(output, answer if question.mixed else "all")
    placed = question.references is not None or (question.marks is not None and bool(question.marks[0].any()))
    scores = []
    if question.phrase is not None and (answer != "visual" or not placed):
        scores.append(text_scores(decoder, queries, question.phrase))
    if question.phrase is None or (placed and answer != "text"):
        scores.append(place_scores(decoder, output, queries))
    order = joint(scores).argsort(descending=True, stable=True)[: count or None]
    queries = Answers(queries.hidden[:, order], queries.mask_embeddings[:, order])
    chances = torch.ones(len(order), device=order.device)
    if question.phrase is not None and question.background is not None:
        chances = phrase_probability(decoder, queries, question.phrase, question.background)
    elif question.phrase is None and (question.marks is None or not count):
        chances = place_scores(decoder, output, queries).sigmoid()
    return Found(queries, chances)


def masks_of(decoder: SeemDecoder, image: DecoderImage, found: Found) -> Tensor:
    """Mask logits [N, h, w] of what was found, float32."""
    return decoder.masks(found.queries.mask_embeddings, image)[0].float()


def without_doubles(found: Found, logits: Tensor, threshold: float) -> tuple[Found, Tensor]:
    """Every instance once: those as likely as `threshold`, likeliest first, of overlapping ones the first."""
    order = found.chances.argsort(descending=True, stable=True)
    order = order[found.chances[order] >= threshold]
    order = order[distinct(logits[order] > 0)]
    queries = Answers(found.queries.hidden[:, order], found.queries.mask_embeddings[:, order])
    return Found(queries, found.chances[order]), logits[order]


def prediction_of(
    ask: Ask,
    chances: Sequence[float],
    logits: Tensor,
    size: InputSize,
    labels: Sequence[tuple[str, float]] | None,
    things: Sequence[bool | None] | None,
) -> Prediction:
    """Masks where the logit is positive at the photo's size, surest first; an empty mask is no answer.

    A score is the mean probability inside the mask times the chance that it is what was asked for. Marks alone are
    resized as in the released interactive evaluation, everything else as in its other ones.
    """
    resize = resize_interactive if ask.text is None and not ask.references else resize_masks
    least = EVERY_THRESHOLD if ask.every and ask.threshold is None else ask.threshold or 0.0
    found = []
    for n, plane in enumerate(logits):
        full = resize(plane[None], size.padded, size.image, size.photo)[0]
        mask = full > 0
        if not mask.any():
            continue
        score = float(full[mask].sigmoid().double().mean()) * chances[n]
        if score >= least:
            found.append((score, n, encode(mask.cpu().numpy()), _soft(full)))
    found.sort(key=lambda one: -one[0])
    order = [n for _, n, _, _ in found]
    return Prediction(
        size.photo,
        tuple(mask for _, _, mask, _ in found),
        tuple(round(score, 4) for score, _, _, _ in found),
        labels=() if labels is None else tuple(labels[n][0] for n in order),
        label_scores=() if labels is None else tuple(round(labels[n][1], 4) for n in order),
        phrases=(ask.text,) * len(found),
        things=() if things is None else tuple(things[n] for n in order),
        soft=np.stack([soft for _, _, _, soft in found]) if found else None,
    )


def _soft(logits: Tensor) -> NDArray[np.float16]:
    height, width = (int(v) for v in logits.shape)
    factor = min(1.0, _SOFT_SIDE / max(height, width))
    fit = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = F.interpolate(logits[None, None], size=fit, mode="bilinear", align_corners=False)[0, 0]
    soft: NDArray[np.float16] = small.sigmoid().cpu().numpy().astype(np.float16)
    return soft

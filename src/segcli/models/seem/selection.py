"""Which query answers: by what it says of the words, of the marked place, or of both (section 3.2, equations 5 and 6).

Words and places are each compared with queries as in training: a softmax over queries of the similarity to the text,
and one of the product with the mean feature under the marks. Where both were asked and all queries may answer, the two
probabilities of a query are multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segcli.core.ask import Answer
from segcli.models.seem.answers import Answers, DecoderOutput
from segcli.models.seem.attention import Group
from segcli.models.seem.decoder import SeemDecoder
from segcli.models.seem.referring import Phrase
from segcli.models.seem.similarity import text_similarity


def candidates(output: DecoderOutput, answer: Answer = "all") -> Answers:
    """The queries that may answer: those of the words, of the marks, or both; object queries where there are no others.

    answer: "text" or "visual" keeps the queries of one kind; where there are none of it (demo) object queries answer.
    Answers hold [1, q, C] and [1, q, M].
    """
    wanted = {
        "all": (Group.TEXT_QUERIES, Group.SPATIAL_QUERIES),
        "text": (Group.TEXT_QUERIES,),
        "visual": (Group.SPATIAL_QUERIES,),
    }[answer]
    groups = [group for group in wanted if group in output.last] or [Group.OBJECT_QUERIES]
    return Answers(
        torch.cat([output.last[group].hidden for group in groups], 1),
        torch.cat([output.last[group].mask_embeddings for group in groups], 1),
    )


def text_scores(decoder: SeemDecoder, queries: Answers, phrase: Phrase) -> Tensor:
    """Similarity of each query to a phrase, [q]."""
    embeddings = decoder.class_embeddings(queries.hidden)[0].float()
    scale = decoder.lang_encoder.logit_scale.float()
    return text_similarity(embeddings, phrase.sentence[None].float(), scale)[:, 0]


def place_scores(decoder: SeemDecoder, output: DecoderOutput, queries: Answers) -> Tensor:
    """Product of each query with the mean feature under the marks of one object, [q]: its mean mask logit there.

    A reference speaks where no mark does. Raises ValueError when nothing was marked.
    """
    marks = [each.positive[0, 0].float() for each in (output.spatial, output.visual) if each is not None]
    if not marks:
        raise ValueError("no marks were given, so that no query answers them")
    silent = bool((marks[0] == decoder.variant.empty_vector).all())
    return queries.mask_embeddings[0].float() @ marks[-1 if silent else 0]


def joint(scores: Sequence[Tensor]) -> Tensor:
    """One score of several per query: itself, or the log of the product of the probabilities over queries."""
    if len(scores) == 1:
        return scores[0]
    return torch.stack([score.log_softmax(0) for score in scores]).sum(0)


def phrase_probability(decoder: SeemDecoder, queries: Answers, phrase: Phrase, background: Tensor) -> Tensor:
    """How likely each query shows what the phrase says and not the background [C], [q] in 0..1."""
    embeddings = decoder.class_embeddings(queries.hidden)[0].float()
    either = torch.stack([phrase.sentence, background]).float()
    return text_similarity(embeddings, either, decoder.lang_encoder.logit_scale.float()).softmax(-1)[:, 0]


def distinct(masks: Tensor, overlap: float = 0.7) -> Tensor:
    """Indices of masks bool [N, ...], best first, without those that share more than `overlap` (IoU) with a better one.

    Empty masks are left out.
    """
    flat = masks.flatten(1).float()
    both = flat @ flat.t()
    area = both.diagonal()
    union = area[:, None] + area[None] - both
    kept: list[int] = []
    for i in range(len(masks)):
        if area[i] > 0 and all(both[i, j] <= overlap * union[i, j] for j in kept):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.long, device=masks.device)

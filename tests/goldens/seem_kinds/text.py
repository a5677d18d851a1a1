"""Text encoder, class bank and similarities (kind `text`)."""

from __future__ import annotations

import torch

from segcli.models.seem.config import TextConfig
from segcli.models.seem.similarity import class_similarity, normalise, text_similarity
from segcli.models.seem.text import LanguageEncoder
from tests.goldens.contract import Golden, Outcome
from tests.goldens.seem_kinds.recorded import Recorded, layers_in, load

PREFIX = "sem_seg_head.predictor.lang_encoder."


@torch.no_grad()
def run(golden: Golden) -> Outcome:
    recorded = Recorded.read(golden)
    weights = recorded.weights(PREFIX)
    vocabulary, width = weights["lang_encoder.token_embedding.weight"].shape
    config = TextConfig(
        width,
        weights["lang_encoder.positional_embedding"].shape[0],
        vocabulary,
        layers_in(weights, "lang_encoder.resblocks."),
        recorded.setting("NHEADS", "heads", 8),
    )
    encoder = LanguageEncoder(config, weights["lang_proj"].shape[1])
    load(encoder, weights)
    assert encoder.lang_encoder is not None
    ids, embeddings = recorded.get("in.ids"), recorded.get("in.v_emb")
    tokens, sentences = encoder.tokens(ids)
    bank = encoder.bank(recorded.get("in.bank_ids"))
    outputs = {
        "last_hidden_state": encoder.lang_encoder(ids),
        "class_emb_normalised": encoder.sentences(ids),
        "token_emb": tokens,
        "class_emb": sentences,
        "bank": bank,
        "similarity": class_similarity(embeddings, bank, encoder.logit_scale),
        "vl_similarity": text_similarity(embeddings[0], normalise(sentences), encoder.logit_scale),
    }
    return recorded.compare(outputs)

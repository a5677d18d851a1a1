"""The paper's baseline: the group is written down one mask after the other, and each choice is read before the next.

At each step the last hidden state points at a mask token (a scaled dot product) or at a learnt stop; the chosen mask's
pair is fed. N masks cost N + 1 passes where parallel decoding needs one. How exactly the paper's baseline points is
not said; this is our reading.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.ras.layout import layout
from segcli.models.ras.model import Fed, Question, Ras


def choose(model: Ras, question: Question) -> Tensor:
    """Logits [N]: positive for chosen masks. A chosen one has its lead over the stop when it was chosen, the others
    what they had at the end."""
    fed = model.sequence(question)
    count = len(fed.mask_tokens)
    result = torch.zeros(count, device=fed.embeddings.device)
    chosen: list[int] = []
    while True:
        scores = _scores(model, fed, model.hidden([_with(model, fed, chosen)])[0, -1:])[0]
        lead = scores[:count] - scores[count]
        left = [n for n in range(count) if n not in chosen]
        best = max(left, key=lambda n: float(lead[n]), default=None)
        if best is None or lead[best] <= 0:
            for n in left:
                result[n] = lead[n]
            return result
        result[best] = lead[best]
        chosen.append(best)


def teacher_forced(model: Ras, question: Question, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the positives in order and the stop after them. labels: [N], 1 for positives."""
    fed = model.sequence(question)
    truth = labels.nonzero().flatten().tolist()
    states = model.hidden([_with(model, fed, truth)])[0]
    pair = model.config.pair
    steps = [fed.context - 1 + pair * n for n in range(len(truth) + 1)]
    target = torch.tensor([*truth, len(labels)], device=states.device)
    return F.cross_entropy(_scores(model, fed, states[steps]).float(), target)


def _with(model: Ras, fed: Fed, chosen: list[int]) -> Fed:
    pairs = model._paired(fed.mask_tokens[chosen], model.mask_pool_pre)
    embeddings = torch.cat([fed.embeddings, pairs])
    return Fed(embeddings, layout(len(embeddings), 0, 0, model.config.pair, "causal"), fed.mask_tokens, fed.context)


def _scores(model: Ras, fed: Fed, states: Tensor) -> Tensor:
    """[S, D] -> [S, N + 1], the stop last."""
    assert model.pointer is not None
    assert model.stop is not None
    keys = torch.cat([fed.mask_tokens, model.stop.to(fed.mask_tokens)[None]])
    scores: Tensor = model.pointer(states) @ keys.T / keys.shape[1] ** 0.5
    return scores

"""PSALM's training in two stages: first the projector alone on captions, then all but the image encoder on everything.

PSALM, section 3.4 and supplement. A batch about masks has mask losses only, one about words only the next word's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.psalm.conditions import canonical_order
from segcli.models.psalm.decoder import Conditions
from segcli.models.psalm.layout import Places, places
from segcli.models.psalm.model import Heard, Psalm
from segcli.models.psalm.phi import gradient_checkpointing, run
from segcli.models.psalm.prompts import IGNORED
from segcli.models.psalm.regions import POINTS, RandomPoints, region_features
from segcli.train.loop import LoopConfig
from segcli.train.points import SeededUniform
from segcli.train.psalm_data import Lesson
from segcli.train.psalm_loss import PsalmLoss, PsalmLossConfig, Targets

BATCH = {1: 128, 2: 64}
"""Photos behind one step, as published."""

LOOPS = {
    1: LoopConfig(steps=4650, lr=2e-3, final_lr=0.0, warmup=140, weight_decay=0.0, average=0.0),
    2: LoopConfig(steps=56_000, lr=4e-5, final_lr=0.0, warmup=1680, weight_decay=0.0, average=0.0),
}
"""Steps and rates of the two stages, as published; without an average of the weights."""


@dataclass(frozen=True)
class PsalmRecipe:
    """Which stage, and what is computed twice to spare memory."""

    stage: int = 2
    loss: PsalmLossConfig = field(default_factory=PsalmLossConfig)
    checkpointing: bool = False


def prepare(model: Psalm, recipe: PsalmRecipe) -> Psalm:
    """Let only what the stage trains be trained."""
    for name, parameter in model.named_parameters():
        if recipe.stage == 1:
            parameter.requires_grad_(name.startswith("projector."))
        else:
            parameter.requires_grad_(not name.startswith(("swin.", "backbone.")))
    if recipe.checkpointing:
        gradient_checkpointing(model.language)
    return model


class PsalmObjective:
    """Losses of a batch of lessons of one kind; points are drawn with `seed`."""

    def __init__(self, recipe: PsalmRecipe, seed: int = 0) -> None:
        self.loss = PsalmLoss(recipe.loss, SeededUniform(seed))
        self.points = RandomPoints(seed, POINTS)

    def __call__(self, model: nn.Module, batch: Sequence[Lesson]) -> dict[str, Tensor]:
        """Weighted terms by name."""
        assert isinstance(model, Psalm)
        device = model.mask_tokens.device
        maps = self.maps(model, batch)
        tokens = model.tokens_of(maps)
        hidden = self._hidden(model, batch, tokens)
        if batch[0].kind == "words":
            return {"loss_words": _next_word(model, batch, hidden)}
        image = model.decoder.prepare(*model.pixel_decoder(maps))
        heard = [
            _heard(model, states, places(lesson.pieces, tokens.shape[1], len(model.mask_tokens)), lesson)
            for states, lesson in zip(hidden, batch, strict=True)
        ]
        stages = model.decoder(image, torch.cat([h.queries for h in heard]), _together(heard))
        return self.loss.weighted(self.loss(stages, [_on(lesson.targets, device) for lesson in batch]))

    @torch.no_grad()
    def maps(self, model: Psalm, batch: Sequence[Lesson]) -> dict[str, Tensor]:
        """The image encoder's maps; it is frozen in both stages, its drop-path stays active, as published."""
        return model.maps(torch.stack([lesson.pixels for lesson in batch]).to(model.mask_tokens.device))

    def _hidden(self, model: Psalm, batch: Sequence[Lesson], tokens: Tensor) -> Tensor:
        """States [B, L, D]; shorter sequences end in zeros, which no earlier position sees."""
        rows = []
        for lesson, own in zip(batch, tokens, strict=True):
            regions = None
            if lesson.regions:
                regions = region_features(own, [r.to(own.device) for r in lesson.regions], self.points)
            rows.append(model.embed(lesson.pieces, own, regions)[0])
        return run(model.language, nn.utils.rnn.pad_sequence(rows, batch_first=True))


def _next_word(model: Psalm, batch: Sequence[Lesson], hidden: Tensor) -> Tensor:
    """Cross-entropy of the learned words, mean over all of the batch; logits only where a word is learned."""
    wanted, states = [], []
    for lesson, own in zip(batch, hidden, strict=True):
        assert lesson.labels is not None
        labels = lesson.labels.to(own.device)[1:]
        learned = labels != IGNORED
        wanted.append(labels[learned])
        states.append(own[: len(labels)][learned])
    return F.cross_entropy(model.lm_head(torch.cat(states)).float(), torch.cat(wanted))


def _heard(model: Psalm, states: Tensor, where: Places, lesson: Lesson) -> Heard:
    """Queries and conditions of one sample, classes in the list's order; what fills `states` up is left out."""
    heard = model.heard(states[: len(where.masks)], where)
    classes = heard.conditions.classes
    if classes is None or lesson.shown_at is None:
        return heard
    ordered = canonical_order(classes[0], lesson.shown_at)[None]
    return Heard(heard.queries, Conditions(ordered, heard.conditions.sentence, heard.conditions.regions))


def _together(heard: Sequence[Heard]) -> Conditions:
    """Conditions of a batch."""
    first = heard[0].conditions
    return Conditions(
        None if first.classes is None else torch.cat([c for h in heard if (c := h.conditions.classes) is not None]),
        None if first.sentence is None else torch.cat([s for h in heard if (s := h.conditions.sentence) is not None]),
        None if first.regions is None else [r for h in heard for r in h.conditions.regions or ()],
    )


def _on(targets: Targets | None, device: torch.device) -> Targets:
    assert targets is not None
    return Targets(targets.masks.to(device), targets.labels.to(device))

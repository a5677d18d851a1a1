"""A tiny RAS with random weights, and random questions to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from segcli.models.ras.config import EncoderConfig, LanguageConfig, RasConfig
from segcli.models.ras.model import Question, Ras
from segcli.models.ras.text import PLACE

TINY = RasConfig(
    encoders=(EncoderConfig("colours", 8),),
    language=LanguageConfig(hidden=32, layers=3, heads=4, ffn=64, vocabulary=50, context=256),
    positions=8,
    position_side=4,
    visual_tokens=False,
    template="plain",
)
BEFORE = [1, 2, 3, 4, 5]
TEXT = [10, 11, PLACE, 12, 13, 14]
PLAIN = [10, 11, 12, 13, 14, 15]


def tiny(**changes: Any) -> Ras:
    """The same random weights every time, but for what the change removes. Scaled up, so that inputs matter."""
    torch.manual_seed(0)
    model = Ras(replace(TINY, **changes)).eval()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            generator = torch.Generator().manual_seed(sum(map(ord, name)))
            if parameter.ndim > 1 or name.endswith("_pre"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def question(
    count: int = 4, references: int = 0, after: list[int] | None = None, seed: int = 1, before: list[int] = BEFORE
) -> Question:
    generator = torch.Generator().manual_seed(seed)
    width = tiny().feature_width
    features = torch.randn(count + references, width, generator=generator) * 2
    after = (TEXT if references else PLAIN) if after is None else after
    return Question(features[:count], features[count:], before, [], after)


@pytest.fixture(autouse=True)
def _exact() -> Any:
    with torch.no_grad():
        yield


def logits(model: Ras, asked: Question) -> torch.Tensor:
    return model([asked])[0]

"""A tiny SegGPT with the recorded random weights, and one with weights of a seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.goldens.__main__ import read_manifest
from tests.goldens.contract import Golden
from tests.goldens.seggpt_kinds.recorded import load_model

from segcli.models.seggpt.config import PRESETS, SegGPTConfig
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.model import SegGPT

DATA = Path(__file__).parents[2] / "goldens" / "data" / "seggpt"


def golden(name: str) -> Golden:
    return next(each for each in read_manifest(DATA) if each.name == name)


@pytest.fixture(scope="session")
def model() -> SegGPT:
    return load_model(golden("c_full_single"))


@pytest.fixture(scope="session")
def engine(model: SegGPT) -> InContext:
    return InContext(model)


@pytest.fixture
def random_model():
    def build(seed: int, config: SegGPTConfig = PRESETS["tiny"]) -> SegGPT:
        generator = torch.Generator().manual_seed(seed)
        built = SegGPT(config).eval()
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        return built

    return build

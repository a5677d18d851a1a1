"""A tiny decoder with the recorded random weights, in any variant, and inputs of its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tests.goldens.__main__ import read_manifest
from tests.goldens.contract import Golden
from tests.goldens.seem_kinds.decoder import PREFIX, decoder_config
from tests.goldens.seem_kinds.recorded import Recorded, load
from torch import Tensor

from segcli.models.seem.decoder import DecoderImage, SeemDecoder

DATA = Path(__file__).parents[2] / "goldens" / "data" / "seem"


def golden(name: str) -> Golden:
    return next(each for each in read_manifest(DATA) if each.name == name)


@dataclass(frozen=True)
class Scene:
    """A photo as the decoder sees it: 48x64 pixels padded, maps at strides 32, 16, 8 and mask features."""

    mask_features: Tensor
    multi_scale: list[Tensor]

    def on(self, decoder: SeemDecoder) -> DecoderImage:
        return decoder.prepare(self.mask_features, self.multi_scale)


@pytest.fixture(scope="session")
def decoder_of() -> Callable[[str], SeemDecoder]:
    recorded = Recorded.read(golden("d_dec_v1_spatial_multi"))
    weights = recorded.weights(PREFIX)

    def build(variant: str) -> SeemDecoder:
        decoder = SeemDecoder(replace(decoder_config(recorded, weights), variant=variant))
        load(decoder, weights)
        return decoder.requires_grad_(False)

    return build


@pytest.fixture(scope="session")
def scene() -> Scene:
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return Scene(noise(1, 32, 12, 16), [noise(1, 32, 2, 2), noise(1, 32, 3, 4), noise(1, 32, 6, 8)])


@pytest.fixture(scope="session")
def bank() -> Tensor:
    return torch.nn.functional.normalize(torch.randn(6, 32, generator=torch.Generator().manual_seed(4)), dim=1)


def marks(*clicks: tuple[int, int]) -> Tensor:
    """One object, 3x3 squares around (x, y)."""
    mask = torch.zeros(1, 48, 64, dtype=torch.bool)
    for x, y in clicks:
        mask[0, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    return mask


NOTHING = torch.zeros(1, 48, 64, dtype=torch.bool)


@pytest.fixture(scope="session", autouse=True)
def no_cache_but_our_own(tmp_path_factory: pytest.TempPathFactory):
    """Class banks of random weights must not be kept in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEG_CACHE", str(tmp_path_factory.mktemp("seg-cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

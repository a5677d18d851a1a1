"""PSALM on a frozen Lite: what the encoder is given, what tokens are made from, and how sure a segment must be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from segcli.models.psalm.config import PRESETS
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.picture import fit, pixel_values
from segcli.models.psalm.whole import Proposals, whole_photo

CONFIG = replace(PRESETS["lite0"], image_size=128)


@pytest.fixture(scope="module")
def model() -> Psalm:
    torch.manual_seed(0)
    return Psalm(CONFIG).eval()


def test_the_encoder_gets_the_photos_own_bytes(model: Psalm):
    photo = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    found = model.maps(pixel_values(photo, fit((128, 128), 128))[None])
    plain = model.backbone(torch.from_numpy(photo).permute(2, 0, 1)[None].float())
    assert set(found) == {"res2", "res3", "res4", "res5"}
    assert all(torch.allclose(found[level], plain[level], atol=1e-3) for level in found)


def test_tokens_are_at_twice_the_stride_of_the_finest_map_and_know_their_places(model: Psalm):
    maps = {level: torch.ones(1, model.backbone.channels[level], s, s) for level, s in (("res4", 8), ("res5", 4))}
    tokens = model.tokens_of(maps)
    assert tokens.shape == (1, CONFIG.image_tokens, CONFIG.phi.hidden) == (1, 16, 128)
    with torch.no_grad():
        model.places[5] += 1
    moved = model.tokens_of(maps)
    assert torch.allclose(moved[0, 5], tokens[0, 5] + 1, atol=1e-5)
    assert torch.equal(moved[0, :5], tokens[0, :5])


def test_a_member_may_be_less_sure_of_its_panoptic_segments_than_the_published_one():
    classes = torch.tensor([[0.6, 0.1, 0.3], [0.05, 0.9, 0.05]])
    masks = torch.full((2, 8, 8), -5.0)
    masks[0, :, :4], masks[1, :, 4:] = 5.0, 5.0
    seen = Proposals(classes, masks, fit((32, 32), 32), 2)
    asked = (seen, "panoptic", ("cat", "dog"), (True, True))
    assert whole_photo(*asked, None).labels == ("dog",)
    assert whole_photo(*asked, None, 0.5).labels == ("dog", "cat")
    assert whole_photo(*asked, 0.8, 0.5).labels == ("dog",)

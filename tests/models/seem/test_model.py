"""The whole network at a tiny size, from a file in the official format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segcli.models.backbones.config import DavitConfig, FocalConfig, SamVitConfig
from segcli.models.layers.loading import load_strict
from segcli.models.seem.config import DecoderConfig, PixelDecoderConfig, SeemConfig, TextConfig
from segcli.models.seem.keys import KEY_TABLES
from segcli.models.seem.model import SeemModel
from segcli.models.seem.prompts import Prompts

DECODER = DecoderConfig(32, 32, 32, 4, 48, 2, 9, 3, 6, 64, text=TextConfig(32, 10, 60, 1, 4))
PIXELS = PixelDecoderConfig(dim=32, mask_dim=32, heads=4, ffn=48, layers=1)
TINY = {
    "focal": SeemConfig(FocalConfig(8, (1, 1, 1, 1), (2, 2, 2, 2)), PIXELS, DECODER, 5),
    "davit": SeemConfig(DavitConfig((8, 16, 24, 32), (2, 2, 3, 4), (2, 4, 3, 4), (1, 1, 1, 1)), PIXELS, DECODER, 5),
    "samvit": SeemConfig(
        SamVitConfig(16, 2, 2, (1,), 64, 16, 3, 2.0, (8, 8, 8, 16)),
        replace(PIXELS, kind="deform"),
        DECODER,
        5,
        size_divisibility=64,
    ),
}


@pytest.mark.parametrize("name", TINY)
def test_a_file_in_the_official_format_loads_strictly_and_masks_a_photo(name: str, tmp_path: Path):
    torch.manual_seed(0)
    source = SeemModel(TINY[name])
    torch.save(source.state_dict(), tmp_path / "released.pt")
    with torch.device("meta"):
        model = SeemModel(TINY[name])
    load_strict(model, torch.load(tmp_path / "released.pt", weights_only=True), KEY_TABLES["original"])
    model.eval().requires_grad_(False)
    photo = torch.randint(0, 256, (1, 3, 40, 56), generator=torch.Generator().manual_seed(1))
    image = model.encode(photo)
    assert image.mask_features.shape == (1, 32, 16, 16)
    click = torch.zeros(1, 64, 64, dtype=torch.bool)
    click[0, 20:23, 20:23] = True
    output = model.decoder(image, Prompts([click], [torch.zeros_like(click)]), objects=False)
    masks = model.decoder.spatial_masks(output, image)
    assert masks.shape == (1, 1, 16, 16)
    assert masks.isfinite().all()
    expected = source.eval().encode(photo)
    assert torch.equal(expected.mask_features, image.mask_features)


def test_a_photo_is_normalised_before_it_is_padded_with_zeros():
    model = SeemModel(TINY["focal"])
    white = torch.full((1, 3, 30, 33), 255)
    x = model.prepare_image(white)
    assert x.shape == (1, 3, 32, 64)
    assert (x[..., :30, :33] > 2).all()
    assert not x[..., 30:, :].any()
    assert not x[..., 33:].any()


def test_the_sam_backbone_refuses_another_size_than_its_positions_have():
    with pytest.raises(ValueError, match="reads 64x64"):
        SeemModel(TINY["samvit"]).backbone(torch.zeros(1, 3, 64, 128))


def test_what_the_decoder_keeps_of_a_photo_is_counted():
    image = SeemModel(TINY["focal"]).requires_grad_(False).encode(torch.zeros(1, 3, 64, 64))
    keys = 2 * 2 * (2 * 2 + 4 * 4) * 32 // 2  # keys and values of layer 0 (2x2) and layer 1 (4x4)
    maps = (2 * 2 + 4 * 4 + 8 * 8) * 32
    assert image.nbytes == 4 * (16 * 16 * 32 + maps + maps + keys)

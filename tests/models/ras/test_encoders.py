"""The ensemble on transformers' classes, tiny and random (P4: each encoder pools on its own grid)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from segcli.models.layers.loading import load_strict
from segcli.models.ras.colours import COLOURS, colour_shares, named
from segcli.models.ras.config import NANO, PRESETS, EncoderConfig
from segcli.models.ras.encoders import build_encoder
from segcli.models.ras.keys import ENCODER_TABLES, llava
from segcli.models.ras.model import Ras

VIT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 14}
TINY = {
    "clip": EncoderConfig("clip", 56, {**VIT, "intermediate_size": 32}),
    "siglip": EncoderConfig("siglip", 62, {**VIT, "intermediate_size": 32}),
    "dinov2": EncoderConfig("dinov2", 70, VIT),
    "convnext": EncoderConfig("convnext", 64, {"hidden_sizes": [4, 6, 8, 10], "depths": [1, 1, 2, 1]}),
}
PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("kind", "grid", "width"), [("clip", 4, 16), ("siglip", 4, 16), ("dinov2", 5, 16), ("convnext", 2, 10)]
)
def test_each_encoder_has_its_own_grid(kind: str, grid: int, width: int) -> None:
    encoder = build_encoder(TINY[kind]).eval()
    (found,) = encoder(encoder.prepare(PHOTO))
    assert found.shape == (width, grid, grid)
    assert (encoder.grids, encoder.widths) == ([grid], [width])


def test_all_stages_of_convnext_can_be_pooled() -> None:
    config = EncoderConfig("convnext", 64, TINY["convnext"].sizes, "multi")
    encoder = build_encoder(config).eval()
    assert [m.shape for m in encoder(encoder.prepare(PHOTO))] == [(4, 16, 16), (6, 8, 8), (8, 4, 4), (10, 2, 2)]


def test_the_norms_of_convnext_have_the_released_epsilon() -> None:
    encoder = build_encoder(TINY["convnext"])
    assert {m.eps for m in encoder.modules() if hasattr(m, "eps")} == {1e-5}


def test_clip_gives_its_last_but_one_state() -> None:
    encoder: Any = build_encoder(TINY["clip"]).eval()
    before = encoder(encoder.prepare(PHOTO))[0]
    for parameter in encoder.model.encoder.layers[-1].parameters():
        parameter.data.zero_()
    torch.testing.assert_close(encoder(encoder.prepare(PHOTO))[0], before)


@pytest.mark.parametrize("kind", TINY)
def test_padding_is_the_encoders_mean_colour(kind: str) -> None:
    encoder = build_encoder(TINY[kind])
    prepared = encoder.prepare(PHOTO)
    assert prepared.shape == (1, 3, encoder.config.side, encoder.config.side)
    torch.testing.assert_close(prepared[0, :, 0], torch.zeros_like(prepared[0, :, 0]), atol=1e-5, rtol=0)


def test_encoders_are_frozen() -> None:
    assert not [p for kind in TINY for p in build_encoder(TINY[kind]).parameters() if p.requires_grad]


def test_the_published_ensemble_concatenates_to_7296_channels() -> None:
    with torch.device("meta"):
        model = Ras(PRESETS["7b"])
    assert model.grids == [24, 32, 27, 37, 32]
    assert model.feature_width == 1024 + 3072 + 1152 + 1024 + 1024 == 7296


def test_the_nano_member_stays_below_its_bound() -> None:
    with torch.device("meta"):
        model = Ras(NANO)
    own = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("encoders."))
    assert 2 * own <= 3.5e6


def renamed(kind: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict as its publisher names it."""
    found = {}
    for key, value in state.items():
        name = key
        if kind in ("clip", "siglip"):
            name = f"vision_model.{key}"
        if kind == "dinov2":
            for ours, theirs in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
                name = name.replace(f"attention.{ours}.", f"attention.attention.{theirs}.")
            name = name.replace("attention.o_proj.", "attention.output.dense.")
        if kind == "convnext":
            name = name.replace("embeddings.patch_embeddings", "stem.0").replace("embeddings.layernorm", "stem.1")
            name = name.replace("encoder.stages", "stages").replace("downsampling_layer", "downsample")
            name = name.replace(".layers.", ".blocks.").replace("dwconv", "conv_dw").replace(".layernorm", ".norm")
            name = (
                name.replace("pwconv1", "mlp.fc1")
                .replace("pwconv2", "mlp.fc2")
                .replace("layer_scale_parameter", "gamma")
            )
            name = f"visual.trunk.{name}"
        found[name] = value
    return found


UNNEEDED = {
    "clip": ["text_model.final_layer_norm.weight", "logit_scale", "visual_projection.weight"],
    "siglip": ["text_model.head.weight", "logit_bias", "vision_model.head.probe"],
    "dinov2": [],
    "convnext": [
        "visual.trunk.head.norm.weight",
        "visual.head.mlp.fc1.weight",
        "token_embedding.weight",
        "logit_scale",
    ],
}


@pytest.mark.parametrize("kind", TINY)
def test_published_files_fill_every_parameter(kind: str) -> None:
    state = build_encoder(TINY[kind]).get_submodule("model").state_dict()
    published = renamed(kind, state) | {name: torch.zeros(1) for name in UNNEEDED[kind]}
    other = build_encoder(TINY[kind]).get_submodule("model")
    load_strict(other, published, ENCODER_TABLES[kind])
    for key, value in other.state_dict().items():
        torch.testing.assert_close(value, state[key])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("language_model.model.layers.0.mlp.up_proj.weight", "language_model.layers.0.mlp.up_proj.weight"),
        ("model.language_model.norm.weight", "language_model.norm.weight"),
        ("multi_modal_projector.linear_2.bias", "image_projector.2.bias"),
        ("vision_tower.vision_model.pre_layrnorm.weight", "encoders.0.model.pre_layrnorm.weight"),
        ("language_model.lm_head.weight", None),
    ],
)
def test_llavas_names_are_known_in_both_layouts(theirs: str, ours: str | None) -> None:
    assert llava(theirs) == ours


@pytest.mark.parametrize(
    ("rgb", "word"),
    [((220, 20, 30), "red"), ((30, 80, 220), "blue"), ((40, 160, 50), "green"), ((240, 220, 40), "yellow"),
     ((250, 250, 250), "white"), ((10, 10, 12), "black"), ((128, 128, 130), "gray"), ((110, 60, 20), "brown"),
     ((255, 140, 0), "orange"), ((130, 40, 160), "purple"), ((255, 182, 193), "pink")],
)  # fmt: skip
def test_plain_colours_have_their_names(rgb: tuple[int, int, int], word: str) -> None:
    assert COLOURS[int(named(torch.tensor(rgb).float() / 255))] == word


def test_pixels_are_named_before_the_photo_is_made_smaller() -> None:
    stripes = np.zeros((40, 40, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (220, 20, 20), (20, 200, 20)
    encoder = build_encoder(EncoderConfig("colours", 10))
    (found,) = encoder(encoder.prepare(stripes))
    shares = found[3:].mean((1, 2))
    assert shares[COLOURS.index("red")] == pytest.approx(0.5, abs=1e-4)
    assert shares[COLOURS.index("green")] == pytest.approx(0.5, abs=1e-4)


def test_the_colours_of_a_large_photo_are_read_from_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def recorded(photo: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(photo.shape))
        return colour_shares(photo)

    monkeypatch.setattr("segcli.models.ras.encoders.colour_shares", recorded)
    large = np.zeros((600, 900, 3), np.uint8)
    large[:, :450], large[:, 450:] = (220, 20, 20), (20, 200, 20)
    encoder = build_encoder(EncoderConfig("colours", 10))
    many, few = (encoder(encoder.prepare(photo))[0] for photo in (large, large[::30, ::30]))
    assert seen == [(3, 27, 40), (3, 20, 30)]
    torch.testing.assert_close(many[3:].mean((1, 2)), few[3:].mean((1, 2)), atol=0.03, rtol=0)

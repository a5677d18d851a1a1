"""Parts of PSALM that no recorded file of this size pins."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcli.core.ask import Ask, Box, Point, Scribble
from segcli.core.errors import CheckpointError
from segcli.models.psalm.config import PRESETS, PixelDecoderConfig, PsalmConfig, SwinConfig, config_of
from segcli.models.psalm.marks import grown, region_of
from segcli.models.psalm.picture import fit, full_size, pixel_values, region_mask, visible_mask
from segcli.models.psalm.pixel_decoder import PixelDecoder
from segcli.models.psalm.regions import AllPoints, RandomPoints, chosen_pixels, read_tokens, region_features
from segcli.models.psalm.swin import Swin
from segcli.models.psalm.tokenizer import FILES, Tokenizer, read_tokenizer

from .conftest import DATA


def test_swin_is_that_of_transformers():
    """Also where a map is no multiple of the window, and smaller than one."""
    from transformers import SwinBackbone
    from transformers import SwinConfig as Theirs

    torch.manual_seed(0)
    ours = Swin(SwinConfig(8, (2, 2, 2, 1), (1, 2, 2, 4), 4, 0.0)).eval()
    stages = [f"stage{k}" for k in range(1, 5)]
    theirs = SwinBackbone(
        Theirs(embed_dim=8, depths=[2, 2, 2, 1], num_heads=[1, 2, 2, 4], window_size=4, out_features=stages)
    ).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(0, 0.3)
    renamed = {}
    version_5 = any(".o_proj." in name for name in theirs.state_dict())
    for name, tensor in ours.state_dict().items():
        if ".attn.qkv." in name:
            for part, word in zip(tensor.chunk(3), "qkv", strict=True):
                old = {"q": "self.query", "k": "self.key", "v": "self.value"}[word]
                renamed[_theirs(name).replace("attention.qkv", f"attention.{f'{word}_proj' if version_5 else old}")] = (
                    part
                )
        else:
            renamed[_theirs(name, version_5)] = tensor
    missing, unexpected = theirs.load_state_dict(renamed, strict=False)
    assert not unexpected
    assert all(
        "position_index" in name or name.endswith(("swin.layernorm.weight", "swin.layernorm.bias")) for name in missing
    )
    pixels = torch.randn(2, 3, 72, 100)
    with torch.no_grad():
        for mine, other in zip(ours(pixels).values(), theirs(pixels).feature_maps, strict=True):
            assert torch.allclose(mine, other, atol=2e-5)


def _theirs(name: str, version_5: bool = True) -> str:
    out = "attention.o_proj" if version_5 else "attention.output.dense"
    table = "attention.relative_position_bias." if version_5 else "attention.self."
    for a, b in (
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "embeddings.norm"),
        ("attn.relative_position_bias_table", f"{table}relative_position_bias_table"),
        ("attn.proj", out),
        ("attn.qkv", "attention.qkv"),
        ("norm1", "layernorm_before") if ".blocks." in name else ("norm1.", "stage2."),
        ("norm2", "layernorm_after") if ".blocks." in name else ("norm2.", "stage3."),
        ("norm0.", "stage1."),
        ("norm3.", "stage4."),
    ):
        name = name.replace(a, b)
    if not version_5:
        name = name.replace("mlp.fc1", "intermediate.dense").replace("mlp.fc2", "output.dense")
    if name.startswith("layers."):
        name = f"encoder.{name}"
    return f"hidden_states_norms.{name}" if name.startswith("stage") else f"swin.{name}"


def test_stochastic_depth_is_for_training_only():
    swin = Swin(SwinConfig(8, (2, 2), (1, 2), 4, 0.9))
    pixels = torch.randn(1, 3, 64, 64)
    assert torch.equal(swin.eval()(pixels)["res3"], swin(pixels)["res3"])
    torch.manual_seed(0)
    swin.train()
    assert not torch.equal(swin(pixels)["res3"], swin(pixels)["res3"])


def test_the_pixel_decoders_lateral_convolutions_have_biases_and_a_relu():
    torch.manual_seed(0)
    module = PixelDecoder((8, 8, 8, 8), PixelDecoderConfig(16, 16, 2, 4, 16, 1, 4)).eval()
    maps = {f"res{k}": torch.randn(1, 8, 64 >> k, 64 >> k) for k in range(2, 6)}
    with torch.no_grad():
        before = module(maps)[0]
        module.adapter_1[0].bias += torch.linspace(-3, 3, 16)  # 4 channels a group: its norm does not hide it
        between = module(maps)[0]
        module.layer_1[0].bias += torch.linspace(-3, 3, 16)
        assert float(module.adapter_1(maps["res2"]).min()) == 0.0
        assert not torch.allclose(before, between)
        assert not torch.allclose(between, module(maps)[0])


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([32, 64, 256]))
@settings(max_examples=30, deadline=None)
def test_the_longest_side_becomes_the_networks_and_the_rest_is_grey(height: int, width: int, side: int):
    size = fit((height, width), side)
    assert max(size.image) == side
    assert min(size.image) >= 1
    values = pixel_values(np.zeros((height, width, 3), np.uint8), size)
    grey = (128 - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor([58.395, 57.12, 57.375])
    assert torch.allclose(values[:, size.image[0] :], grey[:, None, None].expand(3, side - size.image[0], side))
    assert full_size(torch.zeros(2, 8, 8), size).shape == (2, height, width)


@given(st.integers(1, 300), st.integers(1, 300), st.data())
@settings(max_examples=30, deadline=None)
def test_a_marked_pixel_is_never_lost_on_the_way_to_the_network(height: int, width: int, data: st.DataObject):
    mask = np.zeros((height, width), np.bool_)
    mask[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = True
    size = fit((height, width), 64)
    seen = visible_mask(mask, size)
    assert seen.any()
    assert not seen[size.image[0] :].any()
    if region_mask(mask, size).any():
        assert np.array_equal(seen, region_mask(mask, size))


def test_an_empty_mask_is_no_region():
    with pytest.raises(ValueError, match="empty"):
        chosen_pixels(torch.zeros(8, 8), AllPoints())
    with pytest.raises(ValueError, match="empty"):
        visible_mask(np.zeros((8, 8), np.bool_), fit((8, 8), 16))


def test_reading_tokens_is_bilinear_sampling_at_corners_of_pixels():
    torch.manual_seed(0)
    tokens, mask = torch.randn(16, 5), torch.rand(24, 32) > 0.7
    at = mask.nonzero().float() / torch.tensor([24, 32])
    grid = (2 * at.flip(-1) - 1)[None, None]
    square = tokens.t().reshape(1, 5, 4, 4)
    expected = torch.nn.functional.grid_sample(square, grid, align_corners=True)[0, :, 0].mean(1)
    assert torch.allclose(read_tokens(tokens, mask.float()), expected, atol=1e-6)


def test_random_points_are_256_whatever_the_mask_and_the_same_for_the_same_seed():
    for inside in (3, 256, 900):
        mask = torch.zeros(32, 32)
        mask.flatten()[:inside] = 1
        counts = [chosen_pixels(mask, RandomPoints(5)) for _ in range(2)]
        assert torch.equal(*counts)
        assert int(counts[0].sum()) == 256
        assert not counts[0][mask == 0].any()
        assert bool((counts[0][mask > 0] > 0).all()) == (inside <= 256)


def test_each_mask_is_a_region_of_its_own():
    tokens, masks = torch.randn(4, 3), [torch.eye(8), torch.ones(8, 8)]
    both = region_features(tokens, masks, AllPoints())
    assert torch.equal(both[1], region_features(tokens, masks[1:], AllPoints())[0])


def test_a_click_is_a_disc_and_a_stroke_is_thick():
    spot = np.zeros((60, 60), np.bool_)
    spot[30, 30] = True
    disc = grown(spot, 10)
    rows, columns = np.nonzero(disc)
    assert ((rows - 30) ** 2 + (columns - 30) ** 2).max() == 100
    assert not grown(np.zeros((5, 5), np.bool_), 10).any()
    clicked = region_of(Ask(points=(Point(30, 30),)), (60, 60))
    assert np.array_equal(clicked, disc)
    stroke = region_of(Ask(scribbles=(Scribble(((10, 30), (50, 30))),)), (60, 60))
    assert stroke[25, 30]
    assert not stroke[24, 30]


def test_what_lies_under_a_negative_prompt_is_taken_out():
    region = region_of(Ask(boxes=(Box(0, 0, 9, 9), Box(5, 0, 9, 9, positive=False))), (10, 10))
    assert region[:, :5].all()
    assert not region[:, 5:].any()


def test_a_tokenizer_of_three_files_reads_as_the_one_of_a_single_file(tokenizer: Tokenizer):
    whole = json.loads((DATA / "prompts_tokenizer.json").read_text(encoding="utf-8"))
    added = {token["content"]: token["id"] for token in whole["added_tokens"]}
    files = {
        "vocab.json": json.dumps(whole["model"]["vocab"]).encode(),
        "merges.txt": b"#version: 0.2\n",
        "added_tokens.json": json.dumps(added).encode(),
    }
    other = read_tokenizer(files, "x")
    text = "a  cat<|endoftext|>[SEG] \u00e9\n"
    assert other.encode(text) == tokenizer.encode(text)
    assert (other.end, other.seg, other.size) == (tokenizer.end, tokenizer.seg, tokenizer.size)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "missing vocab.json"),
        ({FILES[0]: b"not json"}, "can't be read"),
        ({FILES[0]: b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}'}, "tokenizer"),
        ({"vocab.json": b"{}", "merges.txt": b"a b c\n", "added_tokens.json": b"{}"}, "can't be read"),
        ({"vocab.json": b'{"a": 0}', "merges.txt": b"", "added_tokens.json": b'{"[SEG]": 77}'}, "should have 77"),
    ],
)
def test_a_broken_tokenizer_is_one_line(files: dict[str, bytes], words: str):
    with pytest.raises(CheckpointError, match=words) as refused:
        read_tokenizer(files, "psalm.x")
    assert "\n" not in str(refused.value)


def test_a_config_is_a_presets_name_or_its_values():
    assert config_of("swin-b", "x") == PsalmConfig() == PRESETS["swin-b"]
    given = config_of({"image_size": 64, "swin": {"depths": [1, 1, 1, 1]}, "decoupled": False}, "x")
    assert given.swin.depths == (1, 1, 1, 1)
    assert not given.decoupled
    for wrong in ("swin-x", {"image": 3}, {"swin": {"size": 3}}):
        with pytest.raises(CheckpointError, match="x: "):
            config_of(wrong, "x")

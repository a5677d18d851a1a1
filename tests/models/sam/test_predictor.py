"""SAM and SAM 2 of tiny random sizes behind seg's protocols; the classes themselves are transformers'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from segcli.core.ask import Ask, Box, Point
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.image import Image
from segcli.core.rle import encode
from segcli.models.api import Promptable, Tracking
from segcli.models.sam.build import build_sam, build_sam2
from segcli.models.sam.config import PRESETS, SamSizes
from segcli.models.sam.frames import Frame
from segcli.models.sam.keys import sam_original
from segcli.models.sam.predictor import build

SIDE = 64
SEED = 2
GAUSSIAN = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
TINY_SAM = {
    "family": "sam",
    "values": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "global_attn_indexes": [1],
        "mlp_dim": 32,
        "image_size": SIDE,
        "patch_size": 16,
        "window_size": 2,
        "output_channels": 32,
        "num_pos_feats": 16,
    },
    "more": {
        "prompt_encoder_config": {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "image_embedding_size": 4},
        "mask_decoder_config": {
            "hidden_size": 32,
            "mlp_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    },
}
TINY_SAM2 = {
    "family": "sam2",
    "values": {
        "hidden_size": 8,
        "num_attention_heads": 1,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
        "window_size_per_stage": [4, 4, 4, 2],
        "image_size": [128, 128],
    },
    "neck": [64, 32, 16, 8],
    "more": {
        "image_size": 128,
        "vision": {"fpn_hidden_size": 128, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]},
        "prompt_encoder_config": {"hidden_size": 128, "image_size": 128, "patch_size": 16},
        "mask_decoder_config": {
            "hidden_size": 128,
            "mlp_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 128,
        },
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 32,
        "memory_attention_rope_feat_sizes": [8, 8],
        "memory_encoder_hidden_size": 128,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 32,
        "memory_fuser_num_layers": 1,
    },
}
PHOTO = Image(np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8), (48, 80), "p.png")


def tensors(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    sizes = SamSizes(**config)
    model = build_sam(sizes) if sizes.family == "sam" else build_sam2(sizes)
    generator = torch.Generator().manual_seed(SEED)
    found = {k: torch.randn(v.shape, generator=generator) * 0.2 for k, v in model.state_dict().items()}
    # Strong mask embeddings, so that masks differ and have an inside and an outside.
    return {k: v * 10 if "hypernetworks" in k and "proj_out" in k else v for k, v in found.items()}


def opened(config: dict[str, Any], given: dict[str, torch.Tensor], keys: str = "transformers") -> Any:
    cpu, real = torch.device("cpu"), torch.float32
    return build(config, given, keys=keys, name="tiny", revision="0", device=cpu, dtype=real, seed=0)


@pytest.fixture(scope="module", params=["sam", "sam2"])
def model(request: pytest.FixtureRequest) -> Any:
    config = TINY_SAM if request.param == "sam" else TINY_SAM2
    return opened(config, tensors(config))


ASKS = {
    "click": Ask(points=(Point(20, 20),)),
    "clicks": Ask(points=(Point(20, 20), Point(60, 30, positive=False))),
    "box": Ask(boxes=(Box(5, 5, 40, 30),)),
    "mask": Ask(mask=encode(np.pad(np.ones((10, 10), bool), ((10, 28), (20, 50))))),
    "refined": Ask(points=(Point(25, 15),), previous=encode(np.pad(np.ones((10, 10), bool), ((10, 28), (20, 50))))),
}


@pytest.mark.parametrize("ask", ASKS)
def test_every_kind_of_prompt_is_answered_at_the_photos_size(model: Any, ask: str) -> None:
    (encoded,) = model.encode([PHOTO])
    assert encoded.nbytes > 0
    (answer,) = model.decode(encoded, [ASKS[ask]])
    assert len(answer) <= 1
    assert all(mask.size == (48, 80) for mask in answer.masks)


def test_alternatives_come_best_first(model: Any) -> None:
    (encoded,) = model.encode([PHOTO])
    (answer,) = model.decode(encoded, [Ask(points=(Point(20, 20),), multimask=True)])
    assert 1 < len(set(answer.masks)) <= 3
    assert list(answer.scores) == sorted(answer.scores, reverse=True)


def test_an_answer_does_not_depend_on_what_else_is_asked(model: Any) -> None:
    (encoded,) = model.encode([PHOTO])
    alone = model.decode(encoded, [ASKS["box"]])[0]
    together = model.decode(encoded, [ASKS["click"], ASKS["box"]])[1]
    assert alone.masks == together.masks


def test_a_second_box_is_refused_in_one_line(model: Any) -> None:
    (encoded,) = model.encode([PHOTO])
    with pytest.raises(UsageError, match="one box"):
        model.decode(encoded, [Ask(boxes=(Box(0, 0, 9, 9), Box(20, 20, 30, 30)))])


def test_both_are_promptable_and_only_sam2_tracks(model: Any) -> None:
    assert isinstance(model, Promptable)
    assert isinstance(model, Tracking) == (model.stretch is True)


def test_a_file_that_lacks_a_key_is_refused_with_its_name() -> None:
    given = tensors(TINY_SAM)
    del given["mask_decoder.iou_token.weight"]
    with pytest.raises(CheckpointError, match=r"missing.*iou_token"):
        opened(TINY_SAM, given)


def test_a_tensor_that_the_model_holds_twice_may_stand_in_the_file_once() -> None:
    given = tensors(TINY_SAM)
    del given["prompt_encoder.shared_embedding.positional_embedding"]
    assert opened(TINY_SAM, given).name == "tiny"


def original(key: str) -> str | None:
    """The authors' name of a tensor of transformers' SAM."""
    swaps = (
        ("vision_encoder.neck.conv1", "image_encoder.neck.0"),
        ("vision_encoder.neck.layer_norm1", "image_encoder.neck.1"),
        ("vision_encoder.neck.conv2", "image_encoder.neck.2"),
        ("vision_encoder.neck.layer_norm2", "image_encoder.neck.3"),
        ("vision_encoder.layers", "image_encoder.blocks"),
        ("vision_encoder", "image_encoder"),
        ("patch_embed.projection", "patch_embed.proj"),
        ("shared_image_embedding.positional_embedding", GAUSSIAN),
        ("point_embed.", "point_embeddings."),
        ("mask_embed.conv1", "mask_downscaling.0"),
        ("mask_embed.layer_norm1", "mask_downscaling.1"),
        ("mask_embed.conv2", "mask_downscaling.3"),
        ("mask_embed.layer_norm2", "mask_downscaling.4"),
        ("mask_embed.conv3", "mask_downscaling.6"),
        ("upscale_conv1", "output_upscaling.0"),
        ("upscale_layer_norm", "output_upscaling.1"),
        ("upscale_conv2", "output_upscaling.3"),
        ("layer_norm", "norm"),
    )
    if key == "prompt_encoder.shared_embedding.positional_embedding":
        return None
    for part in ("iou_prediction_head", "output_hypernetworks_mlps"):
        if part in key:
            return key.replace("layers.0", "layers.1").replace("proj_in", "layers.0").replace("proj_out", "layers.2")
    for ours, theirs in swaps:
        key = key if "not_a_point" in key else key.replace(ours, theirs)
    return key


def test_the_authors_file_of_sam_fills_the_same_model() -> None:
    given = tensors(TINY_SAM)
    given["prompt_encoder.shared_embedding.positional_embedding"] = given["shared_image_embedding.positional_embedding"]
    theirs = {name: value for key, value in given.items() if (name := original(key)) is not None}
    assert (
        sam_original("mask_decoder.transformer.norm_final_attn.bias")
        == "mask_decoder.transformer.layer_norm_final_attn.bias"
    )
    ours, other = opened(TINY_SAM, given), opened(TINY_SAM, theirs, "original")
    answers = [m.decode(m.encode([PHOTO])[0], [ASKS["click"]])[0] for m in (ours, other)]
    assert answers[0].masks == answers[1].masks


@pytest.mark.parametrize(
    ("preset", "size"),
    [("vit-b", 374979480), ("hiera-t-v2.1", 155908064), ("hiera-s-v2.1", 184305280), ("hiera-b-plus-v2.1", 323476296),
     ("hiera-l-v2.1", 897897416)],
)  # fmt: skip
def test_the_presets_have_as_many_numbers_as_the_released_files(preset: str, size: int) -> None:
    """Sizes as weights.toml has them; what a file has beyond its numbers is a header of about 120 bytes a tensor."""
    sizes = PRESETS[preset]
    state = (build_sam(sizes) if sizes.family == "sam" else build_sam2(sizes)).state_dict()
    header = size - 4 * sum(t.numel() for t in state.values())
    assert 90 * len(state) < header < 140 * len(state)


def test_a_mask_in_a_video_is_carried_on_and_a_stopped_tracker_goes_on() -> None:
    model = opened(TINY_SAM2, tensors(TINY_SAM2))
    rng = np.random.default_rng(1)
    frames = [Image(rng.integers(0, 256, (48, 80, 3), dtype=np.uint8), (48, 80), str(n)) for n in range(4)]
    first = np.zeros((48, 80), bool)
    first[10:30, 10:40] = True
    tracker = model.tracker()
    assert tracker.step(frames[0]) == {}
    np.testing.assert_array_equal(tracker.step(frames[1], {3: first})[3], first)
    tracker.step(frames[2])
    saved = tracker.state()
    expected = tracker.step(frames[3])
    assert list(expected) == [3]
    later = model.tracker()
    later.restore(saved)
    found = later.step(frames[3])
    np.testing.assert_array_equal(found[3], expected[3])


def test_an_object_that_is_dropped_leaves_the_others_as_they_were() -> None:
    model = opened(TINY_SAM2, tensors(TINY_SAM2))
    rng = np.random.default_rng(2)
    frames = [Image(rng.integers(0, 256, (48, 80, 3), dtype=np.uint8), (48, 80), str(n)) for n in range(3)]
    left, right = np.zeros((2, 48, 80), bool)
    left[10:30, 5:30], right[10:30, 50:75] = True, True
    alone, both = model.tracker(), model.tracker()
    alone.step(frames[0], {7: right})
    both.step(frames[0], {3: left, 7: right})
    both.step(frames[1])
    alone.step(frames[1])
    both.drop(3)
    found = both.step(frames[2])
    assert list(found) == [7]
    assert (found[7] != alone.step(frames[2])[7]).mean() < 0.01
    with pytest.raises(UsageError, match="object 3 is not followed"):
        both.drop(3)


def test_a_click_lands_where_it_was_made() -> None:
    kept, stretched = Frame((48, 80), SIDE, stretch=False), Frame((48, 80), SIDE, stretch=True)
    assert kept.used == (38, 64)
    assert kept.place(40, 24) == (32, 19)
    assert stretched.place(40, 24) == (32, 32)
    back = kept.back(torch.cat([torch.ones(1, 8, 16), -torch.ones(1, 8, 16)], 1))
    assert back.shape == (1, 48, 80)
    assert bool((back[0, :30] > 0).all())

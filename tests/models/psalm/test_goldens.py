"""The released code's own numbers: each golden pins one published behaviour."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.goldens.__main__ import read_manifest
from tests.goldens.psalm import runner_for
from tests.goldens.psalm_kinds.recorded import tolerances

DATA = Path(__file__).parents[2] / "goldens" / "data" / "psalm"
GOLDENS = {golden.name: golden for golden in read_manifest(DATA)}
PROMISES = {
    "condition_pooling.safetensors": "a_condition_is_the_mean_of_its_tokens_and_of_its_seg_token",
    "losses_referring.safetensors": "every_stage_is_matched_anew_and_sentences_match_on_masks_alone",
    "masked_decoder.safetensors": "queries_are_the_mask_tokens_and_scores_plain_dot_products",
    "projector.safetensors": "the_projector_applies_its_second_convolution_twice",
    "region_pooling.safetensors": "a_region_is_read_at_corners_of_pixels_from_the_projected_tokens",
    "visual_prompts.safetensors": "drawn_prompts_follow_the_published_draws_in_their_order",
    "prompts.json": "text_between_placeholders_is_tokenised_on_its_own",
    "keys/psalm_full.json": "every_published_tensor_has_its_place_and_no_place_is_left",
}


@pytest.mark.parametrize("name", PROMISES, ids=PROMISES.values())
def test_as_released(name: str):
    runner = runner_for(GOLDENS[name])
    assert runner is not None
    outcome = runner(GOLDENS[name])
    assert outcome.passed, outcome.detail


def test_every_golden_has_its_promise():
    assert GOLDENS.keys() == PROMISES.keys()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("abs 1e-5", {"map": 0.0, "value": 1e-5, "score": 1e-5}),
        ("abs 2e-4; scores 1e-5", {"map": 0.0, "value": 2e-4, "score": 1e-5}),
        ("exact (1e-6); needs Pillow", {"map": 0.0, "value": 1e-6, "score": 1e-6}),
        ("exact", {"map": 0.0, "value": 0.0, "score": 0.0}),
        ("logits abs 2e-4; maps exact (allow 0.1 % of pixels)", {"map": 0.001, "value": 2e-4, "score": 2e-4}),
    ],
)
def test_tolerances_are_read_from_the_manifests_words(words: str, expected: dict[str, float]):
    assert tolerances(words) == expected

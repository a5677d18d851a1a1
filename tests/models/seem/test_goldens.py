"""The released code's own numbers: each golden pins one published behaviour."""

from __future__ import annotations

import pytest
from tests.goldens.__main__ import read_manifest
from tests.goldens.seem import runner_for
from tests.models.seem.conftest import DATA, golden

PROMISES = {
    "a_pixel_decoder_fpn": "the_pyramid_upsamples_by_nearest_to_the_laterals_size_and_laterals_have_no_relu",
    "b_pixel_decoder_deform": "the_deformable_decoder_reads_zeros_outside_and_upsamples_bilinearly",
    "c_dec_v1_object": "object_queries_look_inside_their_own_last_mask",
    "d_dec_v1_spatial_multi": "objects_of_one_call_share_the_point_budget_and_never_meet",
    "e_dec_v1_grounding": "padded_words_neither_look_nor_are_looked_at",
    "e_dec_v1_grounding_spatial": "in_v1_words_and_marks_in_one_call_give_two_independent_answers",
    "f_dec_v1_memory_multi": "memory_slots_look_where_the_previous_mask_of_their_object_was",
    "g_dec_v0_spatial_memory_refimg": "v0_answers_marks_and_reference_images_with_copies_of_all_queries",
    "g_dec_demo_all_prompts": "in_the_demo_all_prompts_reach_the_object_queries",
    "h_text_encoder": "class_banks_are_means_of_templates_and_only_grounding_clamps_the_scale",
    "i_losses_matcher": "losses_matches_and_gradients_are_the_released_ones",
    "j_postprocess": "masks_are_resized_bilinearly_then_bicubically_before_panoptic_and_instances",
    "k_end_to_end_v1": "a_photo_goes_through_panoptic_and_rounds_of_clicks",
    "l_backbone_focal": "focal_pads_its_stem_by_two_and_norms_inside_the_residual",
    "l_backbone_davit": "davit_pads_windows_after_the_norm_without_a_mask",
    "l_backbone_samvit": "sam_vit_has_relative_positions_and_a_simple_pyramid",
    "n_next_click_v1": "the_next_click_is_deepest_in_the_larger_kind_of_error",
    "o_referring_v1": "texts_of_one_pass_influence_each_other",
}


@pytest.mark.parametrize("name", PROMISES, ids=PROMISES.values())
def test_as_released(name: str):
    runner = runner_for(golden(name))
    assert runner is not None
    outcome = runner(golden(name))
    assert outcome.passed, outcome.detail


def test_every_golden_has_its_promise():
    assert {each.name for each in read_manifest(DATA)} == set(PROMISES)

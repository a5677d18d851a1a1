"""Losses, matching and points of training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcli.train.losses import mask_bce, mask_dice, query_cross_entropy, shared_text_targets
from segcli.train.matching import assign, bce_cost, dice_cost, forbid, iou_cost
from segcli.train.points import SeededUniform, read_at, uncertain_points
from segcli.train.seem_loss import ImageTargets, LossConfig, SeemLoss, StagePredictions, Weights, paper_weights

SURE = 12.0


def test_costs_are_lowest_for_the_mask_itself():
    targets = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    logits = SURE * (2 * targets - 1)
    for cost in (bce_cost, dice_cost, iou_cost):
        assert cost(logits, targets).argmin(1).tolist() == [0, 1]
    torch.testing.assert_close(iou_cost(logits, targets), torch.tensor([[0.0, 1], [1, 0]]))


def test_costs_are_the_losses_of_each_pair():
    logits = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    targets = (torch.rand(2, 9, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    for q in range(3):
        for t in range(2):
            pair = logits[q : q + 1], targets[t : t + 1], 1
            torch.testing.assert_close(bce_cost(logits, targets)[q, t], mask_bce(*pair))
            torch.testing.assert_close(dice_cost(logits, targets)[q, t], mask_dice(*pair))


def test_the_assignment_is_the_cheapest_and_never_a_forbidden_pair():
    cost = torch.tensor([[0.0, 5.0], [1.0, 9.0], [9.0, 9.0]])
    assert [part.tolist() for part in assign(cost)] == [[0, 1], [1, 0]]
    allowed = torch.tensor([[False, False], [True, True], [True, True]])
    queries, targets = assign(forbid(cost, allowed))
    assert dict(zip(targets.tolist(), queries.tolist(), strict=True)) == {0: 1, 1: 2}


def test_points_of_training_have_cells_with_area():
    maps = torch.tensor([[[1.0, 3.0]]])
    points = torch.tensor([[[0.25, 0.5], [0.75, 0.5], [0.5, 0.5]]])
    assert read_at(maps, points)[0].tolist() == [1, 3, 2]


def test_most_points_lie_where_the_mask_is_unsure():
    logits = torch.full((1, 32, 32), 9.0)
    logits[:, :, 8:24] = 0.0
    points = uncertain_points(logits, 100, SeededUniform(0))
    assert points.shape == (1, 100, 2)
    unsure = ((points[0, :, 0] - 0.5).abs() < 0.27).sum()
    assert unsure >= 80  # 75 chosen points and half of the random rest


def test_the_same_seed_takes_the_same_points():
    logits = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    first = uncertain_points(logits, 20, SeededUniform(3))
    torch.manual_seed(99)
    assert torch.equal(first, uncertain_points(logits, 20, SeededUniform(3)))


@given(st.integers(2, 40), st.floats(0, 1))
def test_points_are_as_many_as_asked_for_whatever_the_share_of_hard_ones(count, importance):
    points = uncertain_points(torch.randn(1, 6, 6), count, SeededUniform(0), importance=importance)
    assert points.shape == (1, count, 2)
    assert ((points >= 0) & (points < 1)).all()


def test_texts_that_mean_the_same_share_their_queries():
    targets = shared_text_targets(torch.tensor([4, 1]), torch.tensor([0, 2]), torch.tensor([7, 8, 7]), 5)
    assert targets[:, 0].tolist() == [0, 0.5, 0, 0, 0.5]
    assert targets[:, 2].tolist() == targets[:, 0].tolist()
    assert not targets[:, 1].any()


def test_cross_entropy_over_queries_is_zero_for_the_right_one():
    targets = torch.tensor([[1.0], [0.0]])
    assert query_cross_entropy(torch.tensor([[30.0], [0.0]]), targets) < 1e-6


def scene(objects: int = 2):
    """Three queries, the first two right about two objects; words and marks mean the same objects."""
    masks = torch.zeros(objects, 8, 8)
    masks[:1, :, :4], masks[1:, :, 4:] = 1, 1
    logits = torch.full((1, 3, 8, 8), -SURE)
    logits[0, :objects] = SURE * (2 * masks - 1)
    classes = torch.full((1, 3, 4), -SURE)
    for query, label in enumerate([0, 1, 3]):
        classes[0, query, label] = SURE
    if objects < 2:
        classes[0, 1] = classes[0, 2]
    embeddings = torch.eye(3)[None] * SURE
    spatial = logits[:, :objects].repeat_interleave(2, 1)
    stage = StagePredictions(
        classes.requires_grad_(),
        logits.requires_grad_(),
        logits,
        embeddings,
        spatial,
        torch.eye(3)[:objects][None].repeat_interleave(2, 1) * SURE,
        torch.eye(3)[:objects][None],
    )
    labels = torch.arange(objects)
    return stage, ImageTargets(labels, masks, masks, masks, torch.eye(3)[:objects], labels)


@pytest.mark.parametrize("matching", ["points", "iou"])
def test_right_predictions_match_their_targets_and_cost_less_than_wrong_ones(matching: str):
    stage, target = scene()
    loss = SeemLoss(LossConfig(points=64, matching=matching), SeededUniform(0))
    right = loss([stage], [target], torch.tensor(4.0))
    for kind, matches in loss.matches:
        queries, targets = matches[0]
        assert targets.tolist() == [0, 1], kind
        assert (queries // (2 if kind == "spatial" else 1)).tolist() == [0, 1], kind
    turned = replace(target, **{name: getattr(target, name).mT for name in ("masks", "spatial_masks", "text_masks")})
    turned = replace(turned, labels=torch.tensor([2, 2]), text_embeddings=-target.text_embeddings)
    wrong = loss([replace(stage, marked=-stage.marked)], [turned], torch.tensor(4.0))
    assert {name for name in right if not right[name] < wrong[name]} == set()


def test_an_image_without_any_target_has_finite_losses():
    stage, target = scene()
    empty = ImageTargets(*(value[:0] for value in (target.labels, target.masks, target.masks, target.masks)),
                         target.text_embeddings[:0], target.text_hashes[:0])  # fmt: skip
    losses = SeemLoss(LossConfig(points=16), SeededUniform(0))([stage], [empty], torch.tensor(4.0))
    assert all(value.isfinite() for value in losses.values()), losses
    SeemLoss(LossConfig(), SeededUniform(0)).total(losses).backward()


def test_of_a_marked_object_with_an_empty_mask_nothing_is_learned():
    stage, target = scene()
    stage = replace(stage, spatial_masks=(stage.spatial_masks / 9).detach())  # not so sure that nothing is left to lose
    some = replace(target, spatial_masks=target.spatial_masks * torch.tensor([1.0, 0.0])[:, None, None])
    loss = SeemLoss(LossConfig(points=512), SeededUniform(0))
    with_empty = loss([stage], [some], torch.tensor(4.0))
    assert [kind for kind, _ in loss.matches] == ["default", "spatial", "grounding"]
    both = loss([stage], [target], torch.tensor(4.0))
    for term in ("bce", "dice"):  # the empty object would raise the mean
        assert with_empty[f"loss_spatial_{term}_0"] == pytest.approx(float(both[f"loss_spatial_{term}_0"]), rel=0.1)
    nobody = replace(target, spatial_masks=torch.zeros_like(target.spatial_masks))
    none = loss([stage], [nobody], torch.tensor(4.0))
    assert [kind for kind, _ in loss.matches] == ["default", "grounding"]
    assert all(float(none[f"loss_spatial_{term}_0"]) == 0 for term in ("ce", "bce", "dice"))


def test_the_final_stage_has_suffix_zero_and_the_sum_its_weights():
    stage, target = scene()
    wrong = StagePredictions(-stage.logits, -stage.masks)
    config = LossConfig(points=64, weights=paper_weights() | {"mask": Weights(1, 0, 0)})
    loss = SeemLoss(config, SeededUniform(0))
    losses = loss([wrong, StagePredictions(stage.logits, stage.masks)], [target], torch.tensor(4.0))
    assert losses["loss_mask_ce_0"] < 0.01 < losses["loss_mask_ce_1"]
    torch.testing.assert_close(loss.total(losses), losses["loss_mask_ce_0"] + losses["loss_mask_ce_1"])

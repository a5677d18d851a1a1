"""Users simulated on the device beside those that are simulated one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcli.train.chance import Chance
from segcli.train.device_users import DeviceUsers
from segcli.train.seem import ObjectBatch, SeemRecipe, Users

CAREFUL = SeemRecipe(box=0, scribble=0, rough=0, careful=1.0, forget=0, hard=1.0)


def batch(count: int = 6, side: int = 64) -> ObjectBatch:
    """Discs, one an object, on two views; the second view has an ignored strip."""
    ys, xs = np.mgrid[: side // 2, : side // 2]
    rng = np.random.default_rng(1)
    centres = rng.uniform(6, side // 2 - 6, (count, 2))
    discs = [(ys - y) ** 2 + (xs - x) ** 2 < rng.uniform(9, 80) for y, x in centres]
    truth = torch.from_numpy(np.stack(discs)).float()
    valid = torch.ones(2, side // 2, side // 2, dtype=torch.bool)
    valid[1, :, :8] = False
    image_of = torch.arange(count) * 2 // count
    return ObjectBatch(torch.zeros(2, 3, side, side, dtype=torch.uint8), truth, valid, image_of)


def answers(seed: int, objects: ObjectBatch) -> torch.Tensor:
    """Bad logits: the truth, moved and with noise."""
    noise = torch.randn(objects.truth.shape, generator=torch.Generator().manual_seed(seed))
    return ((objects.truth.roll(seed + 2, 2) - 0.5) * 6 + noise)[:, None]


@pytest.mark.parametrize("hard", [0.0, 1.0])
def test_careful_users_ask_what_those_on_the_cpu_ask(hard: float) -> None:
    recipe = SeemRecipe(box=0, scribble=0, rough=0, careful=1.0, forget=0, hard=hard)
    objects = batch()
    one = Users(objects, recipe, np.random.default_rng(0))
    many = DeviceUsers(objects, recipe, Chance(0))
    for seed in range(4):
        expected, prompts = one.prompts(), many.prompts()
        assert torch.equal(prompts.region, expected.region)
        torch.testing.assert_close(prompts.previous, expected.previous)
        for mine, theirs in zip(prompts.points, expected.points, strict=True):
            assert mine[mine[:, 2] >= 0].tolist() == theirs[theirs[:, 2] >= 0].tolist()
        one.answer(answers(seed, objects))
        many.answer(answers(seed, objects))


def test_nobody_clicks_when_nothing_is_wrong() -> None:
    objects = batch()
    users = DeviceUsers(objects, CAREFUL, Chance(0))
    users.answer((objects.truth[:, None] - 0.5) * 20)
    assert (users.prompts().points[:, 1, 2] == -1).all()
    assert (users.prompts().points[:, 0, 2] == 1).all()


def test_a_box_is_all_that_its_user_says_and_lies_around_the_object() -> None:
    objects = batch()
    prompts = DeviceUsers(objects, SeemRecipe(box=1.0, scribble=0, rough=0), Chance(2)).prompts()
    assert (prompts.points[..., 2] == -1).all()
    assert set(prompts.region.unique().tolist()) == {0.0, 1.0}
    for truth, region in zip(objects.truth, prompts.region[:, 0], strict=True):
        inside = torch.nn.functional.max_pool2d(truth[None, None], 2)[0, 0] > 0
        tight = inside.any(1)[:, None] & inside.any(0)[None]
        assert (region.bool() ^ tight).sum() <= 4 * max(region.shape)
        assert (region.bool() & tight).sum() > 0.4 * tight.sum()


def test_a_scribble_is_several_points_in_the_object() -> None:
    objects = batch()
    points = DeviceUsers(objects, SeemRecipe(box=0, scribble=1.0, rough=0), Chance(2)).prompts().points
    for truth, marks in zip(objects.truth, points, strict=True):
        given = marks[marks[:, 2] >= 0]
        assert len(given) >= 1
        assert (given[:, 2] == 1).all()
        assert all(truth[int(y) // 2, int(x) // 2] == 1 for x, y, _ in given.tolist())
    assert (points[..., 2] == 1).sum(1).float().mean() > 3


def test_a_rough_mask_comes_first_and_half_of_its_users_click_too() -> None:
    objects = batch(60)
    prompts = DeviceUsers(objects, SeemRecipe(box=0, scribble=0, rough=1.0), Chance(4)).prompts()
    assert (prompts.previous.amax((1, 2, 3)) > 0).float().mean() > 0.8
    clicking = (prompts.points[..., 2] >= 0).any(1).float().mean()
    assert 0.25 < clicking < 0.75


def test_shares_of_boxes_scribbles_and_rough_masks_are_those_of_the_recipe() -> None:
    objects = batch(400)
    prompts = DeviceUsers(objects, SeemRecipe(box=0.3, scribble=0.2, rough=0.1), Chance(7)).prompts()
    boxed = (prompts.region != 0.5).any(3).any(2).any(1)
    rough = prompts.previous.amax((1, 2, 3)) > 0
    assert boxed.float().mean() == pytest.approx(0.3, abs=0.08)
    assert rough.float().mean() == pytest.approx(0.1, abs=0.05)
    assert not (boxed & rough).any()


def test_some_answers_are_forgotten_and_a_second_look_is_coarser_than_the_answer() -> None:
    objects = batch(200)
    users = DeviceUsers(objects, SeemRecipe(box=0, scribble=0, rough=0, forget=0.5, hard=0), Chance(1))
    logits = (objects.truth[:, None] - 0.5) * 8
    users.answer(logits)
    assert (users.previous.amax((1, 2, 3)) == 0).float().mean() == pytest.approx(0.5, abs=0.12)
    fine = torch.nn.functional.avg_pool2d(logits.sigmoid(), 2)
    for _ in range(6):
        users.look_again(logits)
        assert users.previous.shape == fine.shape
        torch.testing.assert_close(users.previous.mean((1, 2, 3)), fine.mean((1, 2, 3)), atol=0.02, rtol=0.05)

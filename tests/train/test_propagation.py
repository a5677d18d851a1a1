from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segcli.models.backbones.efficientnet_lite import EfficientNetLite
from segcli.models.layers.propagation.network import PropagationNet, joined_levels
from segcli.train.propagation import Objective, PropagationRecipe, groups, scenes, start_keys
from segcli.train.propagation_scenes import SIDE, Clip, Scene, composed, filmed, order, roughened, viewed
from segcli.train.views import TrainingPhoto


def photo(seed: int) -> TrainingPhoto:
    rng = np.random.default_rng(seed)
    labels = np.zeros((120, 160), np.uint8)
    labels[20:90, 30:80] = 1
    labels[40:100, 100:150] = 2
    pixels = rng.integers(0, 90, (120, 160, 3), dtype=np.uint8)
    pixels[labels == 1] += np.uint8(150)
    return TrainingPhoto(pixels, labels, {1: 1.0, 2: 0.4}, (1,))


def clip() -> Clip:
    frames, masks = [], []
    for t in range(6):
        mask = np.zeros((90, 160), bool)
        mask[20:60, 20 + 10 * t : 60 + 10 * t] = True
        pixels = np.full((90, 160, 3), 80, np.uint8)
        pixels[mask] = (200, 60, 40)
        frames.append(pixels)
        masks.append(mask)
    return Clip(frames, masks)


PHOTOS = [photo(seed) for seed in range(3)]


def sound(scene: Scene) -> None:
    count = scene.masks.shape[1]
    assert count > 0
    assert scene.frames.shape == (3, 3, SIDE, SIDE)
    assert scene.masks.shape == (3, count, SIDE, SIDE)
    assert 0 <= float(scene.frames.min()) <= float(scene.frames.max()) <= 255
    assert 0 <= float(scene.masks.min()) <= float(scene.masks.max()) <= 1 + 1e-5


def test_composed_scenes_have_masks_that_never_overlap():
    rng = np.random.default_rng(0)
    for _ in range(8):
        scene = composed(PHOTOS, rng)
        assert scene is not None
        sound(scene)
        assert float(scene.masks.sum(1).max()) < 1 + 1e-4


def test_filmed_scenes_show_the_object_where_its_mask_is():
    rng = np.random.default_rng(1)
    for _ in range(8):
        scene = filmed(clip(), rng)
        sound(scene)
        mask = scene.masks[2, 0] > 0.5
        red = scene.frames[2, 0] - scene.frames[2, 1]
        assert float(red[mask].mean()) > float(red[~mask].mean()) + 40


def test_a_cut_out_before_a_video_is_followed_as_well():
    rng = np.random.default_rng(6)
    drawn = [filmed(clip(), rng, PHOTOS) for _ in range(16)]
    for scene in drawn:
        sound(scene)
        assert float(scene.masks.sum(1).max()) < 1 + 1e-4
    assert {scene.masks.shape[1] for scene in drawn} == {1, 2}


def test_cut_outs_of_videos_move_as_there():
    rng = np.random.default_rng(7)
    drawn = [scene for _ in range(12) if (scene := composed(PHOTOS, rng, [clip()])) is not None]
    for scene in drawn:
        sound(scene)


def test_a_view_shows_the_object_where_its_mask_is():
    rng = np.random.default_rng(8)
    frame, mask = torch.full((3, SIDE, SIDE), 60.0), torch.zeros(1, SIDE, SIDE)
    frame[0, 60:150, 70:200], mask[0, 60:150, 70:200] = 240.0, 1.0
    for _ in range(8):
        seen, shown = viewed(frame, mask, rng)
        assert float(seen[0][shown[0] > 0.9].min()) > 200
        assert float(seen[0][shown[0] < 0.1].max()) < 100


@given(st.integers(2, 30), st.integers(0, 1000))
def test_the_recent_frame_lies_between_the_first_and_the_new_one(count: int, seed: int):
    first, recent, new = order(count, np.random.default_rng(seed))
    assert 0 <= min(first, new) <= recent <= max(first, new) < count
    assert recent != new


def test_rough_masks_stay_masks():
    rng = np.random.default_rng(2)
    mask = torch.zeros(SIDE, SIDE)
    mask[80:180, 60:200] = 1
    for _ in range(10):
        rough = roughened(mask, rng, 0.9)
        assert rough.shape == mask.shape
        assert 0 <= float(rough.min()) <= float(rough.max()) <= 1


def test_the_same_seed_gives_the_same_scenes():
    recipe = PropagationRecipe(scenes=2)

    def once() -> list[Tensor]:
        return [scene.frames for scene in next(scenes(PHOTOS, [clip()], recipe, 5))]

    for a, b in zip(once(), once(), strict=True):
        assert torch.equal(a, b)


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite:
    torch.manual_seed(0)
    return EfficientNetLite()


def test_every_parameter_learns_and_the_backbone_does_not(backbone: EfficientNetLite):
    torch.manual_seed(1)
    net = PropagationNet(backbone.channels, dim=8, widths=(12, 12, 8))
    for out in (net.out8, net.out4, net.out2):  # they start at zero, which stops gradients below
        torch.nn.init.normal_(out.weight, std=0.1)
    step = next(scenes(PHOTOS, [clip()], PropagationRecipe(scenes=2), 3))
    losses = Objective(backbone, PropagationRecipe(), 0)(net, step)
    assert set(losses) == {"mask", "early", "votes"}
    torch.stack(list(losses.values())).sum().backward()
    without = [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    assert float(net.key.weight.grad.abs().max()) > 0  # type: ignore[union-attr]
    assert all(p.grad is None for p in backbone.parameters())


@pytest.mark.parametrize(
    "recipe",
    [
        PropagationRecipe(scenes=1, answered=1.0, second=0.0, views=0),
        PropagationRecipe(scenes=1, answered=0.0, second=1.0, views=2),
    ],
)
def test_the_networks_own_answers_may_stand_in_for_masks(backbone: EfficientNetLite, recipe: PropagationRecipe):
    torch.manual_seed(1)
    net = PropagationNet(backbone.channels, dim=8, widths=(12, 12, 8))
    losses = Objective(backbone, recipe, 0)(net, next(scenes(PHOTOS, [clip()], recipe, 3)))
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_keys_begin_by_comparing_as_the_backbone_does(backbone: EfficientNetLite):
    frames = torch.stack([s.frames[0] for s in next(scenes(PHOTOS, [], PropagationRecipe(), 4))])
    wide = PropagationNet(backbone.channels, dim=472, widths=(12, 12, 8))
    start_keys(wide, backbone, frames)
    with torch.no_grad():
        maps = backbone(frames[:1])
        plain = torch.nn.functional.normalize(joined_levels(maps)[0].flatten(1), dim=0)[:, ::37]
        keys = wide.keys(maps)[0][:, ::37]
    torch.testing.assert_close(keys.T @ keys, plain.T @ plain, atol=1e-3, rtol=1e-3)


def test_what_starts_well_learns_slowly(backbone: EfficientNetLite):
    net = PropagationNet(backbone.channels, dim=8, widths=(12, 12, 8))
    fast, slow = groups(list(net.named_parameters()), 0.01)
    assert slow["scale"] < 1
    assert len(slow["params"]) == 3
    assert len(fast["params"]) + 3 == len(list(net.parameters()))

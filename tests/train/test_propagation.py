from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segcli.core.errors import UsageError
from segcli.models.backbones.efficientnet_lite import EfficientNetLite
from segcli.models.layers.propagation.network import PropagationNet, joined_levels
from segcli.train.propagation import followed, groups, read_plan, scenes, start_keys
from segcli.train.propagation_scenes import Clip, Scene, composed, filmed
from segcli.train.propagation_unroll import Objective, PropagationRecipe
from segcli.train.propagation_warps import SIDE, recoloured, roughened
from segcli.train.views import TrainingPhoto

COUNT = 4


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
    assert scene.frames.shape == (COUNT, 3, SIDE, SIDE)
    assert scene.masks.shape == (COUNT, count, SIDE, SIDE)
    assert 0 <= float(scene.frames.min()) <= float(scene.frames.max()) <= 255
    assert 0 <= float(scene.masks.min()) <= float(scene.masks.max()) <= 1 + 1e-5


def test_composed_scenes_have_masks_that_never_overlap():
    rng = np.random.default_rng(0)
    for clips in [[], [clip()]] * 4:
        scene = composed(PHOTOS, rng, COUNT, clips)
        assert scene is not None
        sound(scene)
        assert float(scene.masks.sum(1).max()) < 1 + 1e-4


def test_filmed_scenes_show_the_object_where_its_mask_is():
    rng = np.random.default_rng(1)
    for _ in range(8):
        scene = filmed(clip(), rng, COUNT)
        sound(scene)
        mask = scene.masks[2, 0] > 0.5
        red = scene.frames[2, 0] - scene.frames[2, 1]
        assert float(red[mask].mean()) > float(red[~mask].mean()) + 40


def test_what_is_pasted_over_a_film_takes_from_its_object():
    rng = np.random.default_rng(8)
    drawn = [filmed(clip(), rng, COUNT, PHOTOS) for _ in range(12)]
    covered = [scene for scene in drawn if scene.masks.shape[1] > 1]
    assert covered
    for scene in covered:
        sound(scene)
        assert float(scene.masks.sum(1).max()) < 1 + 1e-4


def test_a_short_film_still_gives_every_frame():
    short = clip()
    scene = filmed(Clip(short.frames[:2], short.masks[:2]), np.random.default_rng(4), COUNT)
    sound(scene)


def test_recoloured_frames_keep_size_and_range():
    rng = np.random.default_rng(3)
    frame = torch.rand(3, SIDE, SIDE) * 255
    for _ in range(40):  # every kind of blur is drawn
        changed = recoloured(frame, rng, 2.0)
        assert changed.shape == frame.shape
        assert 0 <= float(changed.min()) <= float(changed.max()) <= 255


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
    net = PropagationNet(backbone.channels, dim=8, widths=(8, 8, 8))
    for out in (net.out8, net.out4, net.out2):  # they start at zero, which stops gradients below
        torch.nn.init.normal_(out.weight, std=0.1)
    recipe = PropagationRecipe(scenes=2, frames=3, adrift=0)
    losses = Objective(backbone, recipe, 0)(net, next(scenes(PHOTOS, [clip()], recipe, 3)))
    assert set(losses) == {"mask", "early", "votes"}
    torch.stack(list(losses.values())).sum().backward()
    without = [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    assert float(net.key.weight.grad.abs().max()) > 0  # type: ignore[union-attr]
    assert all(p.grad is None for p in backbone.parameters())


def test_keys_begin_by_comparing_as_the_backbone_does(backbone: EfficientNetLite):
    frames = torch.stack([s.frames[0] for s in next(scenes(PHOTOS, [], PropagationRecipe(frames=1), 4))])
    wide = PropagationNet(backbone.channels, dim=472, widths=(8, 8, 8))
    start_keys(wide, backbone, frames)
    with torch.no_grad():
        maps = backbone(frames[:1])
        plain = torch.nn.functional.normalize(joined_levels(maps)[0].flatten(1), dim=0)[:, ::37]
        keys = wide.keys(maps)[0][:, ::37]
    torch.testing.assert_close(keys.T @ keys, plain.T @ plain, atol=1e-3, rtol=1e-3)


def test_what_starts_well_learns_slowly(backbone: EfficientNetLite):
    net = PropagationNet(backbone.channels, dim=8, widths=(8, 8, 8))
    fast, slow = groups(list(net.named_parameters()), 0.01)
    assert slow["scale"] < 1
    assert len(slow["params"]) == 3
    assert len(fast["params"]) + 3 == len(list(net.parameters()))


def scene_of(masks: Tensor) -> Scene:
    """Grey frames with bright objects where `masks` [T, K, SIDE, SIDE] are."""
    frames = 100 + 120 * masks.sum(1, keepdim=True).expand(-1, 3, -1, -1)
    return Scene(frames, masks)


def test_later_frames_are_compared_with_the_answers_before_them(
    backbone: EfficientNetLite, monkeypatch: pytest.MonkeyPatch
):
    import segcli.train.propagation_unroll as unroll

    remembered: list[tuple[int, int]] = []
    plain = unroll.evidence

    def watched(query, look, given, recent, tau, *, lost=False):  # type: ignore[no-untyped-def]
        remembered.append((len(given), len(recent)))
        return plain(query, look, given, recent, tau, lost=lost)

    monkeypatch.setattr(unroll, "evidence", watched)
    masks = torch.zeros(4, 1, SIDE, SIDE)
    masks[:, :, 60:200, 60:200] = 1
    torch.manual_seed(2)
    net = PropagationNet(backbone.channels, dim=8, widths=(8, 8, 8))
    torch.nn.init.constant_(net.out2.bias, 5.0)  # everything is the object: every answer is remembered
    Objective(backbone, PropagationRecipe(adrift=0), 0)(net, [scene_of(masks)])
    assert remembered == [(1, 0), (1, 1), (1, 2)]
    remembered.clear()
    torch.nn.init.constant_(net.out2.bias, -20.0)  # nothing is: no answer is
    Objective(backbone, PropagationRecipe(adrift=0), 0)(net, [scene_of(masks)])
    assert remembered == [(1, 0)] * 3


def test_objects_of_a_scene_share_what_is_remembered():
    from segcli.models.layers.propagation.evidence import Kept
    from segcli.models.layers.propagation.looks import Look
    from segcli.train.propagation_unroll import _shares, _Track

    kept = [Kept(Look(0, 0, 8, 8, (8, 8)), torch.zeros(1, 1), torch.zeros(1))]
    tracks = [_Track(scene, torch.zeros(1), kept, torch.zeros(1)) for scene in (0, 0, 1)]
    shares = _shares(torch.full((3, 1, 2, 2), 3.0), tracks)
    assert float((shares[0] + shares[1]).max()) < 1
    assert float(shares[2].min()) > 0.9


def test_a_clip_is_followed_and_scored(backbone: EfficientNetLite):
    torch.manual_seed(3)
    net = PropagationNet(backbone.channels, dim=8, widths=(8, 8, 8))
    score = followed(net, backbone, clip())
    assert 0 <= score <= 1
    still = clip()
    assert followed(net, backbone, Clip([still.frames[0]] * 2, [np.ones((90, 160), bool)] * 2)) > 0.9


def test_the_plan_of_the_bundled_weights_is_read():
    plan = read_plan(Path(__file__).parents[2] / "configs" / "vos-nano.toml")
    assert len(plan.left_out) == 4
    assert plan.recipe.frames > 3


def test_a_plan_with_a_word_that_nothing_reads_is_refused(tmp_path: Path):
    path = tmp_path / "plan.toml"
    path.write_text("[recipe]\nscene = 3\n")
    with pytest.raises(UsageError, match="unknown scene"):
        read_plan(path)

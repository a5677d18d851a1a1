"""seem-nano's tracker with the bundled weights, on drawn videos."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcli.core.ask import PromptKind
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.api import Tracking
from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.models.seem.nano_predictor import NanoPredictor
from segcli.models.seem.nano_tracker import _both, prompted
from segcli.registry.load import open_model

SIZE = (128, 192)
Shapes = dict[int, np.ndarray]


@pytest.fixture(scope="module")
def member() -> NanoPredictor:
    opened = open_model("seem-nano", device="cpu", say=lambda _: None)
    assert isinstance(opened, NanoPredictor)
    return opened


def drawn(t: int, *, away: bool = False) -> tuple[Image, Shapes]:
    """A disc that moves right and a box that moves left over stripes, with a little noise; `away`: no disc."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    rng = np.random.default_rng(t)
    pixels = np.stack([110 + 25 * np.sin(x / 9), 130 + 20 * np.sin(y / 7), 100 + 0 * x], -1)
    box = (abs(x - (150 - 7 * t)) < 18) & (abs(y - 92) < 14)
    disc = (x - (40 + 9 * t)) ** 2 + (y - (44 + 3 * t)) ** 2 < 22**2
    pixels[box] = (60, 80, 190)
    shapes = {2: box}
    if not away:
        pixels[disc] = (215, 70, 50)
        shapes = {1: disc, 2: box & ~disc}
    noisy = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    return Image(noisy, SIZE, f"{t}.png"), shapes


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_a_member_with_the_weights_for_it_follows_objects(member: NanoPredictor) -> None:
    assert isinstance(member, Tracking)
    assert PromptKind.VIDEO in member.accepts


def test_a_click_path_with_a_backbone_of_its_own_leaves_propagation_the_shared_one() -> None:
    torch.manual_seed(0)
    sizes = NanoConfig(
        dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16), queries=4, words=("cat",), tuned=True
    )
    network = SeemNano(sizes).requires_grad_(False)
    pixels = torch.rand(1, 3, 64, 64) * 255
    maps = _both(network, pixels)
    shared, own = network.encode_shared(pixels), network.encode_backbone(pixels)
    assert all(torch.equal(maps[name], shared[name]) for name in shared)
    assert not torch.equal(shared["res4"], own["res4"])
    rough = torch.rand(1, 1, 16, 16)
    told = prompted(network, own, rough)
    assert torch.equal(prompted(network, maps, rough), told)
    assert not torch.equal(prompted(network, shared | {"pixels": pixels}, rough), told)


def test_a_member_without_them_says_so() -> None:
    torch.manual_seed(0)
    network = SeemNano(NanoConfig(dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16), queries=4))
    plain = NanoPredictor(network, "tiny", "0", torch.device("cpu"))
    assert PromptKind.VIDEO not in plain.accepts
    with pytest.raises(UsageError, match="tiny has no weights to follow objects with"):
        plain.tracker()


def test_moving_shapes_are_followed_better_than_by_copying_and_never_overlap(member: NanoPredictor) -> None:
    tracker = member.tracker()
    image, first = drawn(0)
    tracker.step(image, first)
    ours, copied = [], []
    for t in range(1, 7):
        image, truth = drawn(t)
        masks = tracker.step(image)
        assert not (masks[1] & masks[2]).any()
        ours += [overlap(masks[k], truth[k]) for k in truth]
        copied += [overlap(first[k], truth[k]) for k in truth]
    assert np.mean(ours) > 0.8
    assert np.mean(ours) > np.mean(copied) + 0.3


def test_an_object_that_leaves_and_returns_is_found_again(member: NanoPredictor) -> None:
    tracker = member.tracker(memory=3)
    image, first = drawn(0)
    tracker.step(image, first)
    for t in (1, 2, 3):
        masks = tracker.step(drawn(t, away=True)[0])
    assert masks[1].sum() < 0.05 * first[1].sum()
    for t in (5, 6):
        image, truth = drawn(t)
        masks = tracker.step(image)
    assert overlap(masks[1], truth[1]) > 0.7
    assert overlap(masks[2], truth[2]) > 0.6


def test_a_restored_tracker_goes_on_as_if_never_stopped(member: NanoPredictor) -> None:
    image, first = drawn(0)
    going = member.tracker(memory=2)
    going.step(image, first)
    for t in (1, 2):
        going.step(drawn(t)[0])
    restored = member.tracker(memory=2)
    restored.restore({name: array.copy() for name, array in going.state().items()})
    for t in (3, 4):
        a, b = going.step(drawn(t)[0]), restored.step(drawn(t)[0])
        for number in a:
            np.testing.assert_array_equal(a[number], b[number])

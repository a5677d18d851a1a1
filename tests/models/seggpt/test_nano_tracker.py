"""seggpt-nano's tracker with the bundled weights, on a drawn video."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcli.core.ask import PromptKind
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.api import Tracking
from segcli.models.seggpt.nano import NanoConfig, SegGPTNano
from segcli.models.seggpt.nano_predictor import NanoInContext
from segcli.registry.load import open_model

SIZE = (120, 160)


@pytest.fixture(scope="module")
def member() -> NanoInContext:
    opened = open_model("seggpt-nano", device="cpu", say=lambda _: None)
    assert isinstance(opened, NanoInContext)
    return opened


def drawn(t: int) -> tuple[Image, np.ndarray]:
    """A disc that moves right over stripes."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = np.stack([90 + 25 * np.sin(x / 9), 130 + 20 * np.sin(y / 7), 100 + 0 * x], -1)
    disc = (x - (35 + 10 * t)) ** 2 + (y - 60) ** 2 < 20**2
    pixels[disc] = (210, 190, 60)
    return Image(pixels.astype(np.uint8), SIZE, f"{t}.png"), disc


def test_a_member_with_the_weights_for_it_follows_objects_and_so_do_its_forks(member: NanoInContext) -> None:
    assert isinstance(member, Tracking)
    assert PromptKind.VIDEO in member.accepts
    assert PromptKind.VIDEO in member.fork().accepts


def test_a_moving_shape_is_followed_from_a_restored_memory_too(member: NanoInContext) -> None:
    tracker = member.tracker(memory=2)
    image, first = drawn(0)
    tracker.step(image, {4: first})
    tracker.step(drawn(1)[0])
    restored = member.tracker(memory=2)
    restored.restore(tracker.state())
    for t in (2, 3):
        image, truth = drawn(t)
        found = tracker.step(image)[4]
        np.testing.assert_array_equal(found, restored.step(image)[4])
        assert (found & truth).sum() / (found | truth).sum() > 0.75


def test_a_member_without_them_says_so() -> None:
    torch.manual_seed(0)
    plain = NanoInContext(SegGPTNano(NanoConfig()), "tiny", "0", "cpu")
    assert PromptKind.VIDEO not in plain.accepts
    with pytest.raises(UsageError, match="tiny has no weights to follow objects with"):
        plain.tracker()

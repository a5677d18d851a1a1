"""Regions of other photos: known by name, read once, refused when they mark nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcli.core.ask import Ask, Box, Point, Reference
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.rle import empty, encode
from segcli.models.seem.prompts import SpatialTokens, Tokens
from segcli.models.seem.references import References, as_ask


class Reading:
    """Remembers what was read where."""

    def __init__(self) -> None:
        self.read: list[tuple[str, Ask]] = []

    def __call__(self, image: Image, marks: Ask) -> SpatialTokens:
        self.read.append((image.name, marks))
        return tokens(len(self.read))


def tokens(value: float, count: int = 2) -> SpatialTokens:
    level = Tokens.of_words(torch.full((1, count, 4), float(value)))
    return SpatialTokens((level, level), torch.full((1, 1, 4), float(value)), torch.full((1, 1, 4), -float(value)))


def photo(name: str) -> Image:
    return Image(np.zeros((20, 30, 3), np.uint8), (20, 30), name)


def test_a_region_is_read_once_however_often_it_is_asked_for():
    reading = Reading()
    references = References(reading)
    references.know("a", photo("a.jpg"))
    references.know("b", photo("b.jpg"))
    assert not reading.read
    point, box = Reference("a", Point(3, 4)), Reference("b", Box(1, 1, 5, 5))
    first = references.tokens(point)
    assert references.tokens(point) is first
    references.tokens(box)
    assert reading.read == [("a.jpg", Ask(points=(point.region,))), ("b.jpg", Ask(boxes=(box.region,)))]
    references.know("a", photo("other.jpg"))
    references.tokens(point)
    references.tokens(box)
    assert [name for name, _ in reading.read] == ["a.jpg", "b.jpg", "other.jpg"]


def test_a_photo_that_nobody_gave_is_named():
    with pytest.raises(UsageError, match=r"ref\.jpg: no such reference photo"):
        References(Reading()).tokens(Reference("ref.jpg", Point(0, 0)))


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (Point(30, 5), "marks nothing of a photo of 30x20"),
        (Point(-3, 5), "marks nothing"),
        (Point(3, 5, positive=False), "marks nothing"),
        (Box(31, 0, 40, 5), "marks nothing"),
        (Box(0, 0, 4, 5, positive=False), "marks nothing"),
        (empty((20, 30)), "its mask marks nothing"),
        (encode(np.ones((5, 6))), "its mask is 6x5, the photo 30x20"),
    ],
)
def test_a_region_that_marks_nothing_is_named(region, words: str):
    with pytest.raises(UsageError, match=f"^r.jpg: .*{words}"):
        as_ask(region, (20, 30), "r.jpg")


def test_several_references_stand_beside_each_other_and_speak_with_one_mean_voice():
    both = SpatialTokens.joined([tokens(1, 2), tokens(4, 3)])
    assert [level.content.shape for level in both.levels] == [(1, 5, 4)] * 2
    assert both.levels[0].content[0, :, 0].tolist() == [1, 1, 4, 4, 4]
    assert both.levels[0].padding.shape == both.levels[0].objects.shape == (1, 5)
    assert both.positive.unique().tolist() == [2.5]
    assert both.negative.unique().tolist() == [-2.5]
    assert both.objects == 1

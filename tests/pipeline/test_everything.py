"""Everything in a photo, from a model that answers clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.ask import Ask, PromptKind
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.api import Promptable
from segcli.pipeline.everything import Everything, Search, crops, grid, propose, stability, suppress


@dataclass
class Flat:
    """A Promptable: a click takes all pixels of exactly its colour; scores and softness are given by the colour."""

    name: str = "flat"
    revision: str = "1"
    accepts: frozenset[PromptKind] = frozenset({PromptKind.POINT})
    reads: int | None = None
    scores: dict[int, float] = field(default_factory=dict)
    doubts: frozenset[int] = frozenset()
    asked: int = 0
    encoded: list[tuple[int, int]] = field(default_factory=list)

    def encode(self, images: Sequence[Image]) -> list[Kept]:
        self.encoded += [image.size for image in images]
        return [Kept(image) for image in images]

    def decode(self, encoded: Kept, asks: Sequence[Ask]) -> list[Prediction]:
        self.asked += len(asks)
        return [self._answer(encoded.image, ask) for ask in asks]

    def _answer(self, image: Image, ask: Ask) -> Prediction:
        point = ask.points[0]
        colour = int(image.pixels[round(point.y), round(point.x), 0])
        mask = image.pixels[..., 0] == colour
        soft = np.where(mask, 0.6 if colour in self.doubts else 0.95, 0.05).astype(np.float16)[None]
        return Prediction(image.size, (encode(mask),), (self.scores.get(colour, 0.9),), soft=soft)


@dataclass
class Kept:
    image: Image
    nbytes: int = 1


def photo() -> Image:
    """Three blocks on a ground: colours 50, 100, 150 on 0."""
    plane = np.zeros((60, 80), np.uint8)
    plane[5:25, 5:25], plane[30:55, 10:30], plane[10:50, 50:75] = 50, 100, 150
    return Image(np.repeat(plane[..., None], 3, 2), (60, 80), "p.png")


def found(model: Flat, **search: float) -> list[int]:
    image = photo()
    answer = propose(model, model.encode([image])[0], image, Search(grid=8, **search))
    return [int(image.pixels[..., 0][answer.dense(n)][0]) for n in range(len(answer))]


def test_every_block_is_found_once_and_the_best_comes_first() -> None:
    assert found(Flat(scores={100: 0.99})) == [100, 0, 150, 50]


def test_what_the_model_doubts_itself_is_left_out() -> None:
    assert set(found(Flat(scores={100: 0.3}))) == {0, 50, 150}


def test_what_a_higher_threshold_would_change_is_left_out() -> None:
    assert set(found(Flat(doubts=frozenset({50})))) == {0, 100, 150}


def test_specks_are_left_out() -> None:
    assert set(found(Flat(), area=0.11)) == {0, 150}


def test_points_in_what_was_found_are_not_asked_again_unless_all_are_wanted() -> None:
    sparing, thorough = Flat(), Flat()
    assert set(found(sparing)) == set(found(thorough, found=0))
    assert sparing.asked < thorough.asked == 8 * 6


def test_crops_find_the_same_blocks_in_the_photos_own_pixels() -> None:
    model = Flat()
    image = photo()
    answer = propose(model, model.encode([image])[0], image, Search(grid=8, crops=1, found=0))
    assert model.encoded[0] == (60, 80)
    assert len(model.encoded) == 5
    blocks = {image.pixels[..., 0][answer.dense(n)].tobytes()[:1] for n in range(len(answer))}
    assert blocks == {bytes([c]) for c in (0, 50, 100, 150)}
    assert all(len(set(image.pixels[..., 0][answer.dense(n)].tolist())) == 1 for n in range(len(answer)))


def test_it_is_a_model_like_any_other_and_asks_only_name_its_answer() -> None:
    model = Everything(Flat(), Search(grid=8))
    assert isinstance(model, Promptable)
    (encoded,) = model.encode([photo()])
    one, other = model.decode(encoded, [Ask(id="a"), Ask(id="b")])
    assert one.masks == other.masks
    assert len(one) == 4


def test_of_masks_that_nearly_coincide_the_better_one_stays() -> None:
    first, second, third = (np.zeros((10, 10), bool) for _ in range(3))
    first[:5], second[:6], third[7:] = True, True, True
    assert suppress([encode(m) for m in (first, second, third)], 0.7) == [0, 2]
    assert suppress([encode(m) for m in (first, second, third)], 0.9) == [0, 1, 2]


def test_stability_compares_a_strict_with_a_loose_mask() -> None:
    soft = np.array([[0.9, 0.5, 0.1, 0.8]], np.float16)
    assert stability(soft) == 2 / 3
    assert stability(np.zeros((2, 2), np.float16)) == 1.0


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 20))
def test_grid_points_lie_in_the_photo_each_in_a_cell_of_its_own(height: int, width: int, count: int) -> None:
    points = grid((height, width), count)
    assert len(set(points)) == len(points)
    assert all(-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5 for x, y in points)


@given(st.integers(20, 400), st.integers(20, 400), st.integers(1, 2))
def test_crops_cover_the_photo(height: int, width: int, layer: int) -> None:
    covered = np.zeros((height, width), bool)
    for window in crops((height, width), layer):
        assert 0 <= window.y0 < window.y1 <= height
        assert 0 <= window.x0 < window.x1 <= width
        covered[window.y0 : window.y1, window.x0 : window.x1] = True
    assert covered.all()

"""A model that chooses and one that proposes, together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tests.pipeline.test_everything import Flat, photo

from segcli.core.ask import Ask, Point, PromptKind, Reference
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.pipeline.everything import Search
from segcli.pipeline.grouping import Grouping


@dataclass
class Largest:
    """Chooses the largest candidate, and keeps what it was asked."""

    name: str = "largest"
    revision: str = "1"
    accepts: frozenset[PromptKind] = frozenset({PromptKind.TEXT, PromptKind.REFERENCE})
    reads: int | None = 32
    asks: list[Ask] = field(default_factory=list)

    def encode(self, images: Sequence[Image]) -> list[Kept]:
        return [Kept(image) for image in images]

    def decode(self, encoded: Kept, asks: Sequence[Ask]) -> list[Prediction]:
        self.asks += asks
        return [self._answer(encoded.image.size, ask) for ask in asks]

    def _answer(self, size: tuple[int, int], ask: Ask) -> Prediction:
        masks = sorted(ask.candidates, key=lambda mask: -mask.area)
        scores = tuple(round(mask.area / 4800, 3) for mask in masks)
        return Prediction(size, tuple(masks[:1]), scores[:1], considered=Prediction(size, tuple(masks), scores))


@dataclass
class Kept:
    image: Image
    nbytes: int = 1


def answer(ask: Ask, **options: bool) -> tuple[Prediction, Ask, list[Flat]]:
    opened: list[Flat] = []

    def proposer() -> Flat:
        opened.append(Flat())
        return opened[-1]

    chooser = Largest()
    model = Grouping(chooser, proposer, Search(grid=8), **options)  # type: ignore[arg-type]
    (encoded,) = model.encode([photo()])
    (found,) = model.decode(encoded, [ask])
    model.decode(encoded, [ask])
    return found, chooser.asks[0], opened


def test_candidates_are_what_is_found_and_the_finder_is_opened_once() -> None:
    found, asked, opened = answer(Ask(text="all"))
    assert len(asked.candidates) == 4
    assert len(opened) == 1
    assert found.masks[0].area == max(mask.area for mask in asked.candidates)


def test_given_candidates_need_no_finder_even_when_there_are_none() -> None:
    mask = encode(np.pad(np.ones((5, 5), bool), ((0, 55), (0, 75))))
    found, _, opened = answer(Ask(text="all", candidates=(mask,)), brings=True)
    assert found.masks == (mask,)
    assert not opened
    found, asked, opened = answer(Ask(text="all"), brings=True)
    assert (len(found), asked.candidates, opened) == (0, (), [])


def test_a_click_becomes_the_mask_that_is_found_there() -> None:
    found, asked, _ = answer(Ask(text="{1}", references=(Reference(None, Point(10, 10)),)))
    (mask,) = found.references
    assert mask.bbox == (5, 5, 20, 20)
    assert asked.references[0].region == mask


def test_regions_of_other_photos_are_refused() -> None:
    with pytest.raises(UsageError, match="another photo"):
        answer(Ask(text="{1}", references=(Reference("other.jpg", Point(1, 1)),)))


def test_scores_of_all_candidates_are_told_when_asked_for() -> None:
    quiet, _, _ = answer(Ask(text="all"))
    told, _, _ = answer(Ask(text="all"), scores=True)
    assert quiet.considered is None
    assert told.considered is not None
    assert len(told.considered) == 4
    assert replace(told, considered=None).masks == quiet.masks

"""What is noted in answers, and what models are told beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline import fake

from segcli.core.ask import Ask, Box, Point, Reference
from segcli.core.classes import known
from segcli.core.errors import UsageError
from segcli.core.geometry import Percent
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.api import Promptable
from segcli.pipeline.briefing import Narrowed, contents, named, resolved, spoken, teach, unknown
from segcli.pipeline.work import noted

SIZE = (3, 4)
MASKS = tuple(encode(np.arange(12).reshape(SIZE) < n) for n in (9, 6, 3))


@dataclass
class Knowing(fake.Bright):
    """A model that takes other photos and knows two words."""

    known: dict[str, tuple[int, int]] = field(default_factory=dict)

    def know(self, name, image):
        self.known[name] = image.size

    def check_words(self, words):
        for word in words:
            if word not in ("cat", "dog"):
                raise UsageError(f"{word!r}: unknown; near: cat")


def answer(**more) -> Prediction:
    return Prediction(SIZE, MASKS, (0.9, 0.5, 0.1), labels=("cat", "sky", None), **more)


def test_the_threshold_leaves_masks_out_with_all_that_is_said_of_them():
    soft = np.arange(12, dtype=np.float16).reshape(3, 2, 2)
    left = noted(Ask(threshold=0.5), answer(ids=(7, 8, 9), soft=soft))
    assert (left.masks, left.ids, left.labels, left.scores) == (MASKS[:2], (7, 8), ("cat", "sky"), (0.9, 0.5))
    assert (left.soft == soft[:2]).all()
    assert len(noted(Ask(threshold=1), answer(soft=soft))) == 0
    same = answer()
    assert noted(Ask(threshold=0.1), same) is same


def test_the_phrase_and_things_are_noted_where_the_model_said_nothing():
    ask = Ask(text="a cat", classes=("cat", "sky"), things=(True, False))
    one = noted(ask, answer())
    assert one.phrases == ("a cat",) * 3
    assert one.things == (True, False, None)
    own = noted(ask, answer(phrases=("mine", None, None), things=(False, None, None)))
    assert (own.phrases, own.things) == (("mine", None, None), (False, False, None))
    assert len(noted(ask, Prediction(SIZE))) == 0


def test_a_mask_is_called_by_its_label_else_by_the_phrase():
    assert answer(phrases=("a", "b", "c")).names == ("cat", "sky", "c")


def test_words_and_photos_of_asks_come_each_once_in_order():
    like = Reference("b.png", Point(1, 1))
    asks = [Ask(text="dog", references=(like, Reference(None, Point(0, 0)))), Ask(classes=("cat", "dog")), Ask(text="")]
    assert spoken(asks) == ("dog", "", "cat")
    assert named([*asks, Ask(references=(Reference("a.png", Point(0, 0)), like))]) == ("b.png", "a.png")


def test_regions_are_in_pixels_of_their_own_photo(tmp_path: Path):
    name = str(fake.photo(tmp_path / "ref.png", 0))  # 24 x 32
    ask = Ask(references=(Reference(name, Point(Percent(50), Percent(50))), Reference(name, Box(1, 1, 99, 99))))
    points, boxes = (one.region for one in resolved(ask).references)
    assert points == Point(15.5, 11.5)
    assert boxes == Box(1, 1, 31, 23)
    for region, said in (
        (Point(32, 1), "the click 32,1 lies outside"),
        (MASKS[0], "the mask of the reference has 4 x 3"),
    ):
        with pytest.raises(UsageError, match=said):
            resolved(Ask(references=(Reference(name, region),)))
    with pytest.raises(UsageError, match=r"none\.png: no such file"):
        resolved(Ask(references=(Reference("none.png", Point(0, 0)),)))
    here = Ask(references=(Reference(None, Point(99, 99)),))
    assert resolved(here) == here  # checked against the asked photo, when that is read


def test_a_model_is_told_of_photos(tmp_path: Path):
    name = str(fake.photo(tmp_path / "ref.png", 0))
    model = Knowing()
    teach(model, (name,))
    assert model.known == {name: (24, 32)}
    with pytest.raises(UsageError, match="bright takes no regions of other photos"):
        teach(fake.Bright(), (name,))
    teach(fake.Bright(), ())
    first = contents((name,))
    fake.photo(tmp_path / "ref.png", 1)
    assert contents((name,)) != first


def test_a_word_that_somebody_typed_and_the_model_does_not_know_is_refused():
    for ask in (Ask(text="zebra"), Ask(classes=("cat", "zebra"))):
        with pytest.raises(UsageError, match="'zebra': unknown"):
            unknown(Knowing(), [Ask(text="cat"), ask])
    assert unknown(Knowing(), [Ask(text="cat", classes=("dog",))]) == ()
    assert unknown(fake.Bright(), [Ask(text="anything")]) == ()


def test_classes_of_a_well_known_list_that_the_model_does_not_know_are_left_out_of_what_it_is_asked():
    voc, asked = known("voc"), []

    class Listening(Knowing):
        def decode(self, encoded, asks):
            asked.extend(asks)
            return [Prediction(SIZE) for _ in asks]

    ask = Ask(classes=voc.names, things=voc.things, kind="panoptic")
    model = Listening()
    left_out = unknown(model, [ask, Ask(text="cat")])
    assert set(left_out) == set(voc.names) - {"cat", "dog"}
    own = Ask(classes=("cat",), kind="panoptic")
    narrowed = Narrowed(model, left_out)
    assert isinstance(narrowed, Promptable)
    narrowed.decode(None, [ask, own])
    assert asked == [Ask(classes=("cat", "dog"), things=(True, True), kind="panoptic"), own]
    with pytest.raises(UsageError, match="'wall': unknown"):  # nothing of the list is left
        unknown(model, [Ask(classes=known("ade20k").names)])

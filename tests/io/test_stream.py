from __future__ import annotations

import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.core import rle
from segcli.core.ask import Ask, Box, Point, Polygon, Reference, Scribble
from segcli.core.errors import ItemError
from segcli.core.geometry import Percent
from segcli.core.prediction import Prediction
from segcli.io import stream

SIZE = (6, 9)

number = st.floats(-1e6, 1e6, allow_nan=False) | st.integers(0, 5000)
coordinate = number | st.floats(0, 100).map(Percent)
masks = st.integers(0, 2 ** (SIZE[0] * SIZE[1]) - 1).map(
    lambda bits: rle.encode(np.array([bits >> n & 1 for n in range(SIZE[0] * SIZE[1])]).reshape(SIZE))
)
pairs = st.tuples(coordinate, coordinate)
sign = st.booleans()
boxes = st.builds(Box, *[coordinate] * 4, positive=sign)
points = st.builds(Point, coordinate, coordinate, positive=sign)
strokes = st.builds(Scribble, st.lists(pairs, min_size=1, max_size=3).map(tuple), positive=sign)
drawn = st.builds(Scribble, drawn=masks, positive=sign)
polygons = st.builds(Polygon, st.lists(pairs, min_size=1, max_size=4).map(tuple), positive=sign)
regions = masks | st.builds(Point, coordinate, coordinate) | st.builds(Box, *[coordinate] * 4)


def some(strategy):
    return st.lists(strategy, max_size=3).map(tuple)


def of_the_whole(ask: Ask, things, kind) -> Ask:
    """Only an ask with classes can say which are things, and ask for the whole photo."""
    if not ask.classes:
        return ask
    return replace(ask, things=tuple(things[: len(ask.classes)]), kind=kind)


plain_asks = st.builds(
    Ask,
    points=some(points),
    boxes=some(boxes),
    scribbles=some(strokes | drawn),
    polygons=some(polygons),
    mask=st.none() | masks,
    previous=st.none() | masks,
    text=st.none() | st.text(),
    references=some(st.builds(Reference, st.none() | st.text(), regions)),
    classes=some(st.text()),
    multimask=st.booleans(),
    every=st.booleans(),
    threshold=st.none() | st.floats(0, 1),
    answer=st.sampled_from(stream.ANSWERS),
    id=st.none() | st.text(),
)
asks = st.builds(
    of_the_whole,
    plain_asks,
    st.just(()) | st.lists(st.none() | st.booleans(), min_size=3, max_size=3),
    st.none() | st.sampled_from(stream.KINDS),
)


def positives_first(ask: Ask) -> Ask:
    def ordered(prompts):
        return tuple(sorted(prompts, key=lambda p: not p.positive))

    return Ask(
        **{
            **ask.__dict__,
            "points": ordered(ask.points),
            "boxes": ordered(ask.boxes),
            "scribbles": ordered(ask.scribbles),
            "polygons": ordered(ask.polygons),
        }
    )


@given(asks)
def test_an_ask_comes_back_from_json_as_it_went(ask):
    text = stream.dumps(stream.ask_to_json(ask))
    back = stream.ask_from_json(json.loads(text), "line 1")
    assert back == positives_first(ask)
    assert back.id == ask.id


score = st.floats(0, 1)
predictions = st.lists(
    st.tuples(
        *(masks, score, st.none() | st.text(), st.none() | score, st.integers(1, 2**31), st.none() | st.text()),
        st.none() | st.booleans(),
    ),
    max_size=4,
).map(lambda rows: Prediction(SIZE, **dict(zip(FIELDS, map(tuple, zip(*rows, strict=True)), strict=False))))
FIELDS = ("masks", "scores", "labels", "label_scores", "ids", "phrases", "things")


@given(predictions, asks, st.text(), st.lists(st.text(), max_size=2))
def test_an_answer_comes_back_from_its_line_as_it_went(prediction, ask, image, files):
    text = stream.dumps(stream.record(image, ask, prediction, "m", files=files, seconds=0.25))
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    line = stream.parse(text)
    assert (line.image, line.model, line.files, line.seconds, line.error) == (image, "m", tuple(files), 0.25, None)
    assert line.ask == positives_first(ask)
    assert line.prediction.size == SIZE
    for field in FIELDS:
        assert getattr(line.prediction, field) == getattr(prediction, field)


def test_the_keys_are_the_documented_ones_in_their_order():
    mask = rle.encode(np.eye(6, 9))
    prediction = Prediction(SIZE, (mask,), (0.5,), ("cat",))
    line = stream.record("a.jpg", Ask(points=(Point(1, 2),)), prediction, "m", files=["a.png"], seconds=1.23456789)
    assert line == {
        "seg": 1,
        "image": "a.jpg",
        "size": [6, 9],
        "ask": {"at": [[1, 2]]},
        "masks": [{"id": 1, "rle": mask.coco(), "bbox": [0, 0, 6, 6], "area": 6, "score": 0.5, "label": "cat"}],
        "model": "m",
        "files": ["a.png"],
        "seconds": 1.234568,
    }
    assert list(line) == ["seg", "image", "size", "ask", "masks", "model", "files", "seconds"]


def test_a_failed_item_is_a_line_too():
    line = stream.parse(stream.dumps(stream.failure("b.jpg", "b.jpg: the file is truncated", 3)))
    assert (line.image, line.error, line.code, line.prediction) == ("b.jpg", "b.jpg: the file is truncated", 3, None)


def test_names_that_are_no_utf8_survive():
    name = os.fsdecode(b"bad-\xff.jpg")
    assert stream.parse(stream.dumps(stream.failure(name, "x", 3))).image == name


def test_a_score_that_json_can_not_hold_is_null():
    prediction = Prediction(SIZE, (rle.empty(SIZE),), (math.nan,))
    assert stream.record("a", Ask(), prediction, "m")["masks"][0]["score"] is None


def test_unknown_keys_of_a_line_are_passed_over():
    line = stream.record("a", Ask(), Prediction(SIZE), "m")
    assert stream.parse(json.dumps({**line, "new": 1})).prediction.size == SIZE


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"at": [3, 4]}, Ask(points=(Point(3, 4),))),
        ({"at": ["50%", "25 %"]}, Ask(points=(Point(Percent(50), Percent(25)),))),
        ({"at": [["50%", 4]], "not_at": [[1, 2], [3, 4]]}, None),
        ({"box": [1, 2, 3, 4]}, Ask(boxes=(Box(1, 2, 3, 4),))),
        ({"scribble": [[1, 2], [3, 4]]}, Ask(scribbles=(Scribble(((1, 2), (3, 4))),))),
        ({"polygon": [[[1, 2], [3, 4], [5, 6]]]}, Ask(polygons=(Polygon(((1, 2), (3, 4), (5, 6))),))),
        ({"id": 7}, Ask()),
        ({"at": None}, Ask()),
    ],
)
def test_a_single_prompt_needs_no_outer_list(given, expected):
    ask = stream.ask_from_json(given, "line 1")
    if expected is None:
        expected = Ask(points=(Point(Percent(50), 4), Point(1, 2, False), Point(3, 4, False)))
    assert ask == expected


def test_a_class_list_may_be_named_as_on_the_command_line():
    ask = stream.ask_from_json({"classes": "coco", "kind": "panoptic"}, "line 1")
    assert (len(ask.classes), sum(ask.things), ask.classes[-1], ask.kind) == (133, 80, "rug-merged", "panoptic")
    ask = stream.ask_from_json({"at": [3, 4], "classes": "cat, dog"}, "line 1")
    assert (ask.classes, ask.things) == (("cat", "dog"), ())


def test_masks_named_by_file_are_read_by_the_callers_reader():
    mask = rle.encode(np.eye(6, 9))
    read = {"m.png": mask}.__getitem__
    value = {"mask": "m.png", "scribble": "m.png", "references": [{"mask": "m.png"}]}
    ask = stream.ask_from_json(value, "line 1", read)
    assert (ask.mask, ask.scribbles[0].drawn, ask.references[0].region) == (mask, mask, mask)
    with pytest.raises(ItemError, match=r"line 1: 'mask' can't be used: is an RLE object here, not a file name"):
        stream.ask_from_json({"mask": "m.png"}, "line 1")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ([], "a JSON object"),
        ({"att": [1, 2]}, "'att' is no part of an ask"),
        ({"at": [1, 2, 3]}, "'at' can't be used"),
        ({"at": 5}, "'at' can't be used"),
        ({"at": [[1, "many"]]}, "'at' can't be used"),
        ({"at": [True, False]}, "'at' can't be used"),
        ({"at": ["nan%", 1]}, "'at' can't be used"),
        ({"not_box": [[1, 2]]}, "'not_box' can't be used"),
        ({"polygon": [[1, 2], [3]]}, "'polygon' can't be used"),
        ({"mask": {"size": [2, 2], "counts": [9]}}, "'mask' can't be used: the runs of an RLE cover 9 pixels"),
        ({"text": 5}, "'text' can't be used"),
        ({"multimask": 1}, "'multimask' can't be used"),
        ({"references": [{"image": "a.jpg"}]}, "'references' can't be used"),
        ({"references": 3}, "'references' can't be used"),
        ({"classes": [1]}, "'classes' can't be used"),
        ({"classes": " , "}, "'classes' can't be used: classes: no words"),
        ({"classes": ["cat"], "things": [True, False]}, "'things' can't be used: says of 2 classes"),
        ({"classes": ["cat"], "things": [1]}, "'things' can't be used"),
        ({"classes": ["cat"], "kind": "panoptical"}, "'kind' can't be used: is one of panoptic, semantic, instance"),
        ({"kind": "panoptic"}, "'kind' can't be used: goes with \"classes\""),
        ({"text": "cat", "threshold": 2}, "'threshold' can't be used: is a number from 0 to 1"),
        ({"text": "cat", "answer": "words"}, "'answer' can't be used: is one of all, text, visual"),
        ({"text": "cat", "all": 1}, "'all' can't be used"),
    ],
)
def test_what_is_wrong_in_an_ask_is_named(value, what):
    with pytest.raises(ItemError, match="^line 1: .*" + what) as caught:
        stream.ask_from_json(value, "line 1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON"),
        ("[1]", "a JSON object is expected"),
        ("{}", '"seg": 1 is missing'),
        ('{"seg": 2, "image": "a"}', '"seg": 1 is missing'),
        ('{"seg": 1}', "has no 'image'"),
        ('{"seg": 1, "image": "a"}', "has no 'size'"),
        ('{"seg": 1, "image": "a", "size": [2, 2], "masks": [{}]}', "has no 'rle'"),
        ('{"seg": 1, "image": "a", "size": [2, 2], "masks": [{"rle": {"size": [1, 1], "counts": [1]}}]}', "can't be"),
        ("[" * 100000, "not JSON"),
    ],
)
def test_a_line_that_is_none_is_one_line_of_refusal(text, what):
    with pytest.raises(ItemError, match="^-: .*" + what) as caught:
        stream.parse(text)
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*stream.ASK_KEYS, "x"]), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(stream.ASK_KEYS)), json_values, max_size=4))
def test_whatever_json_comes_as_an_ask_it_is_read_or_refused(value):
    try:
        assert isinstance(stream.ask_from_json(value, "line 1"), Ask)
    except ItemError as error:
        assert str(error).startswith("line 1: ")  # noqa: PT017 - both outcomes are right

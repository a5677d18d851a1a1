"""Prompts as typed become the asks that were meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.cli.options import Writing
from segcli.cli.prompts import Prompts, box, outline, pair, stroke
from segcli.core.ask import Box, Point, Scribble
from segcli.core.errors import UsageError
from segcli.core.geometry import Percent

pixels = st.floats(-1e6, 1e6).map(lambda v: round(v, 3))
percents = st.floats(0, 100).map(lambda v: round(v, 3))
coordinates = st.one_of(pixels.map(lambda v: (v, False)), percents.map(lambda v: (v, True)))


def typed(coordinate: tuple[float, bool]) -> str:
    value, percent = coordinate
    return f"{value!r}{'%' if percent else ''}"


@given(coordinates, coordinates)
def test_a_click_means_the_numbers_that_were_typed(x, y):
    assert pair("--at", f"{typed(x)},{typed(y)}") == (x, y)
    assert pair("--at", f" {typed(x)} , {typed(y)} ") == (x, y)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=9))
def test_a_stroke_means_its_points_in_order(points):
    assert stroke("--scribble", ";".join(f"{typed(x)},{typed(y)}" for x, y in points)) == tuple(points)


def refusal(parse, text: str) -> str:
    try:
        parse("--at", text)
    except UsageError as error:
        return str(error)
    return "--at is understood"


@given(st.text(max_size=20))
def test_no_text_at_all_does_more_than_be_refused(text):
    for parse in (pair, box, stroke, outline):
        assert refusal(parse, text).startswith("--at")


def test_percent_signs_reach_the_ask_and_wait_for_the_photo():
    (ask,) = Prompts(at=["50%,40%"], not_box=["0%,0%,10,20%"]).parse().asks()
    assert ask.points == (Point(Percent(50), Percent(40)),)
    assert ask.boxes == (Box(Percent(0), Percent(0), 10.0, Percent(20), positive=False),)


def test_together_they_are_one_ask_and_with_each_one_an_object():
    prompts = {"at": ["1,2", "3,4"], "box": ["1,1,5,5"], "not_at": ["9,9"]}
    (ask,) = Prompts(**prompts).parse().asks()
    assert len(ask.points) == 3
    first, second, third = Prompts(**prompts, each=True).parse().asks()
    assert first.points == (Point(1, 2), Point(9, 9, positive=False))
    assert second.points == (Point(3, 4), Point(9, 9, positive=False))
    assert (third.points, third.boxes) == ((Point(9, 9, positive=False),), (Box(1, 1, 5, 5),))
    assert not first.boxes
    assert not second.boxes


def test_strokes_and_multimask_reach_the_ask():
    (ask,) = Prompts(scribble=["1,2;3,4"], not_scribble=["5,5"], multimask=True).parse().asks()
    assert ask.scribbles == (Scribble(((1, 2), (3, 4))), Scribble(((5, 5),), positive=False))
    assert ask.multimask


@pytest.mark.parametrize(
    ("output", "directory", "template"),
    [
        ("out", "out", None),
        ("out/{stem}.png", "out", "{stem}.png"),
        ("a/b/{parent}/{stem}-{n}.png", "a/b", "{parent}/{stem}-{n}.png"),
        ("{stem}.png", ".", "{stem}.png"),
        ("cat.png", ".", "cat.png"),
        ("masks/cat.webp", "masks", "cat.webp"),
        ("dots.in.name", "dots.in.name", None),
    ],
)
def test_an_output_is_a_directory_or_a_template_below_one(output, directory, template, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place, below = Writing(output=output).place
    assert (str(place), below) == (directory, template)


def test_a_directory_that_exists_is_a_directory_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.png").mkdir()
    assert Writing(output="old.png").place[1] is None
    assert Writing(output="new.png/").place[1] is None


def test_formats_are_repeatable_and_separated_by_commas_each_once():
    assert Writing(formats=["mask,svg", "coco", "mask"]).names == ("mask", "svg", "coco")
    assert Writing().names == ("mask",)

"""What the fingerprint of a result holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from segcli.core.ask import Ask, Box, Point, Polygon, Scribble
from segcli.core.geometry import Percent
from segcli.core.rle import empty
from segcli.io.formats.contract import Options
from segcli.pipeline.plan import Item, Output, Plan, fingerprint

ITEM = Item(PurePosixPath("a.jpg"), Path("a.jpg"), (Ask(points=(Point(1, 2),)),))
PLAN = Plan([ITEM], Output(Path("out")), fingerprint(verb="point", seed=0), "m")


def prints(plan: Plan) -> str:
    return plan.item_fingerprint(plan.items[0])


@pytest.mark.parametrize(
    "output",
    [
        {"template": "{stem}"},
        {"formats": ("cutout",)},
        {"formats": ("mask", "cutout")},
        {"options": Options(crop=True)},
        {"options": Options(background=(1, 2, 3))},
        {"options": Options(coco_images={"a.jpg": 7})},
    ],
)
def test_whatever_changes_the_files_changes_the_fingerprint(output):
    assert prints(replace(PLAN, output=replace(PLAN.output, **output))) != prints(PLAN)


@pytest.mark.parametrize(
    "ask",
    [
        Ask(points=(Point(1, 3),)),
        Ask(points=(Point(1, 2, positive=False),)),
        Ask(points=(Point(Percent(1), 2),)),
        Ask(points=(Point(1, 2), Point(3, 4))),
        Ask(points=(Point(1, 2),), boxes=(Box(0, 0, 5, 5),)),
        Ask(points=(Point(1, 2),), scribbles=(Scribble(((1, 2), (3, 4))),)),
        Ask(points=(Point(1, 2),), polygons=(Polygon(((1, 2), (3, 4), (5, 6))),)),
        Ask(points=(Point(1, 2),), mask=empty((4, 4))),
        Ask(points=(Point(1, 2),), previous=empty((4, 4))),
        Ask(points=(Point(1, 2),), multimask=True),
        Ask(points=(Point(1, 2),), classes=("cat",)),
        Ask(points=(Point(1, 2),), id="7"),
    ],
)
def test_whatever_is_asked_differently_changes_the_fingerprint(ask):
    assert prints(replace(PLAN, items=[replace(ITEM, asks=(ask,))])) != prints(PLAN)
    assert prints(replace(PLAN, items=[replace(ITEM, asks=((ITEM.asks[0], ask),))])) != prints(PLAN)


def test_where_a_photo_lies_and_where_results_go_do_not_matter():
    moved = replace(PLAN, items=[replace(ITEM, source=Path("/x/a.jpg"))], output=replace(PLAN.output, directory=None))
    assert prints(moved) == prints(PLAN)


def test_fingerprints_are_the_same_on_every_machine():
    assert fingerprint(b=[1, None], a={"x": True}) == fingerprint(a={"x": True}, b=[1, None])
    assert fingerprint(verb="point", seed=0) == "96165c413279d55ffdceb2d9ea771fc7"


def test_an_item_is_a_file_or_bytes_and_a_function_says_what_it_asks():
    with pytest.raises(ValueError, match="file or bytes"):
        Item(PurePosixPath("a"), None, ())
    with pytest.raises(ValueError, match="asked"):
        Item(PurePosixPath("a"), Path("a"), lambda size: [])

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest

from segcli.core.colors import NAMES, davis_palette, overlay_color, parse_color
from segcli.core.errors import UsageError


def test_the_palette_is_the_one_of_pascal_voc_and_davis():
    palette = davis_palette()
    assert palette.shape == (256, 3)
    assert palette[:9].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert palette[255].tolist() == [224, 224, 192]


def test_every_index_has_a_colour_of_its_own():
    assert len({tuple(row) for row in davis_palette().tolist()}) == 256


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("#ff8000", (255, 128, 0)),
        ("ff8000", (255, 128, 0)),
        ("#f80", (255, 136, 0)),
        ("White", (255, 255, 255)),
        ("1, 2,3", (1, 2, 3)),
    ],
)
def test_colours_are_read_as_people_type_them(text, color):
    assert parse_color(text) == color


@pytest.mark.parametrize("text", ["", "#ff80", "256,0,0", "sky", "#gggggg"])
def test_what_is_no_colour_is_refused_with_the_ways_to_name_one(text):
    with pytest.raises(UsageError, match="#rrggbb"):
        parse_color(text)


def test_every_named_colour_is_known():
    assert all(parse_color(name) == color for name, color in NAMES.items())


def test_neighbouring_masks_have_colours_that_can_be_told_apart():
    colors = [overlay_color(n) for n in range(24)]
    assert len(set(colors)) == 24
    for one, other in pairwise(colors):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 150


def test_a_colour_is_parsed_without_waiting_for_numpy():
    code = "import sys; from segcli.core.colors import parse_color; parse_color('red'); print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

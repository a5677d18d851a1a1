"""The shell is told what may follow."""

from __future__ import annotations

import pytest

from .support import Seg


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("seg po", ["point"]),
        ("seg point --not-b", ["--not-box"]),
        ("seg models ver", ["verify"]),
        ("seg point a.jpg -m seem-n", ["seem-nano"]),
        ("seg point a.jpg -f mask,pal", ["mask,palette"]),
    ],
)
def test_what_is_typed_so_far_is_completed(seg: Seg, typed: str, offered: list[str]):
    words = {"_SEG_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    assert seg(**words).stdout.decode().split() == offered

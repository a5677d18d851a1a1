"""`seg point` from the outside: what is typed, what is written, what is said."""

from __future__ import annotations

from .support import Seg, read_mask


def test_one_click_gives_one_mask_of_the_photos_size_and_name(seg: Seg, photo):
    ran = seg("point", photo, "--at", "60,45")
    assert (ran.code, ran.stdout) == (0, b"")
    mask = read_mask(seg.cwd / "seg-out" / "photo.png")
    assert mask.shape == (90, 120)
    assert mask[45, 60]
    assert not mask[0, 0]

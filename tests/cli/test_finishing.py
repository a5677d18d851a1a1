"""`--matte`, `--grow`, `--feather`, `--background` as typed, with a model that answers with discs."""

from __future__ import annotations

import numpy as np
import PIL.Image

from .support import PHOTOS, Here

CHELSEA, CHINA = PHOTOS / "chelsea.jpg", PHOTOS / "china.jpg"


def opened(here: Here, name: str) -> np.ndarray:
    return np.asarray(PIL.Image.open(here.cwd / name)).astype(int)


def test_a_cut_out_with_a_matte_on_a_picture_and_a_change_of_the_picture_is_noticed(here: Here):
    ground = here.cwd / "ground.png"
    PIL.Image.open(CHINA).save(ground)
    words = (
        "point",
        CHELSEA,
        "--at",
        "200,150",
        "-f",
        "cutout",
        "--matte",
        "--background",
        "ground.png",
        "-o",
        "out.png",
    )
    assert here(*words).code == 0
    before = opened(here, "out.png")
    assert before.shape == (300, 451, 3)
    assert here(*words).code == 0
    PIL.Image.new("RGB", (9, 9), (9, 200, 9)).save(ground)
    assert here(*words).code != 0  # another picture, so another result: refused without --force
    assert here(*words, "--force").code == 0
    after = opened(here, "out.png")
    assert (after[0, 0] == (9, 200, 9)).all()
    assert (after[150, 200] == before[150, 200]).all()


def test_a_background_that_can_not_be_read_is_refused_before_any_photo(here: Here):
    whole = CHINA.read_bytes()
    (here.cwd / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    ran = here("point", CHELSEA, CHINA, "--at", "200,150", "-f", "cutout", "--background", "cut.jpg")
    assert ran.code == 2
    assert ran.stderr.splitlines() == [
        "seg point: --background cut.jpg: the file is truncated; name another picture, or a colour"
    ]
    assert not (here.cwd / "seg-out").exists()


def test_masks_that_somebody_has_are_matted_at_full_size(here: Here):
    assert here("point", CHELSEA, "--at", "200,150", "-f", "jsonl", "-o", "masks.jsonl").code == 0
    words = ("masks", "convert", "masks.jsonl", "-f", "mask", "--grow", "9", "--matte", "--matte-width", "6")
    ran = here(*words, "-o", "out.png", model=None)
    assert (ran.code, "mask needs the photo; give the folder of photos with --images" in ran.stderr) == (3, True)
    ran = here(*words, "--images", CHELSEA.parent, "-o", "out.png", model=None)
    assert ran.code == 0, ran.stderr
    alpha = opened(here, "out.png")
    assert alpha.shape == (300, 451)
    assert alpha[150, 200] == 255
    assert ((alpha > 0) & (alpha < 255)).any()

"""`seg` with the bundled psalm-nano, offline: every verb answers, and better than the whole photo as an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

from segcli.registry.weights import find

from .support import Here, read_mask

ROOT = Path(__file__).parents[2]
CAT = ROOT / "examples" / "photos" / "chelsea.jpg"
NANO = ("--offline", "--device", "cpu", "--threads", "1")


def scene(path: Path, left: int = 60) -> np.ndarray:
    """A dark ball on a pale table of 240 x 160 pixels; returns the ball's mask."""
    rows, columns = np.mgrid[:160, :240]
    ball = (rows - 80) ** 2 + (columns - left) ** 2 < 38**2
    light = 1.2 - np.hypot(rows - 60, columns - left + 15) / 90
    photo = np.where(ball[..., None], np.array((190, 60, 30)) * light[..., None].clip(0.2, 1.3), (205, 200, 190))
    PIL.Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(path)
    return ball


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_click_on_a_ball_masks_it_better_than_the_whole_photo_would(here: Here):
    ball = scene(here.cwd / "ball.png")
    ran = here("point", "ball.png", "--at", "60,80", "-o", "out", *NANO, model="psalm-nano")
    assert ran.code == 0, ran.stderr
    assert iou(read_mask(here.cwd / "out" / "ball.png"), ball) > 2 * ball.mean()


def test_a_class_name_and_a_region_of_another_photo_are_answered(here: Here):
    for typed in (("refer", "cat", CAT), ("refer", CAT, "--like", f"{CAT}@225,150")):
        ran = here(*typed, "-f", "jsonl", "-o", "-", *NANO, model="psalm-nano")
        assert ran.code == 0, ran.stderr
        assert len(ran.lines[0]["masks"]) == 1


def test_a_whole_photo_is_answered_over_the_known_classes_of_a_well_known_list(here: Here):
    ran = here("panoptic", CAT, "--classes", "coco", "-f", "jsonl", "-o", "-", *NANO, model="psalm-nano")
    assert ran.code == 0, ran.stderr
    typed = ("panoptic", CAT, "--kind", "semantic", "--classes", "cat,grass,sky", "-f", "jsonl", "-o", "-")
    ran = here(*typed, *NANO, model="psalm-nano")
    assert sum(mask["area"] for mask in ran.lines[0]["masks"]) == 451 * 300  # a class for every pixel


def test_a_question_is_answered_in_words_that_it_knows(here: Here):
    ran = here("ask", CAT, "is there a cat?", "--json", *NANO, model="psalm-nano")
    assert ran.code == 0, ran.stderr
    assert ran.lines[0]["answer"]
    refused = here("ask", CAT, "is there a unicorn?", *NANO, model="psalm-nano")
    assert (refused.code, "'unicorn'" in refused.stderr) == (2, True)


def test_a_ball_that_rolls_is_followed_better_than_by_its_first_place(here: Here):
    (here.cwd / "clip").mkdir()
    balls = [scene(here.cwd / "clip" / f"{k:05d}.png", 60 + 25 * k) for k in range(4)]
    PIL.Image.fromarray(balls[0].astype(np.uint8)).save(here.cwd / "first.png")
    ran = here("vos", "clip", "--first", "first.png", "-o", "out", *NANO, model="psalm-nano")
    assert ran.code == 0, ran.stderr
    found = sorted((here.cwd / "out").rglob("00003.png"))
    last = np.asarray(PIL.Image.open(found[0])) == 1
    assert iou(last, balls[3]) > iou(balls[0], balls[3])


def test_a_word_outside_of_the_vocabulary_is_refused_before_the_photo(here: Here):
    ran = here("refer", "catt", CAT, *NANO, model="psalm-nano")
    assert ran.code == 2
    assert "'catt'; near ones: cat" in ran.stderr


def test_it_is_as_small_as_its_card_says():
    own = ROOT / "src" / "segcli" / "weights" / find("psalm-nano").bundled[-1]
    assert own.stat().st_size <= 3_000_000

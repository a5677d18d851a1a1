"""`seg incontext` from the outside, with a model that goes by the nearest colour of the examples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from .support import Here, Ran, read_mask

GREEN, RED, BLUE = (20, 200, 20), (220, 20, 20), (20, 20, 220)
SIZE = (60, 80)


def scene(path: Path, *squares: tuple[int, int, tuple[int, int, int]], size: tuple[int, int] = SIZE) -> Path:
    """A green photo with squares of 20 pixels at (top, left)."""
    pixels = np.full((*size, 3), GREEN, np.uint8)
    for top, left, colour in squares:
        pixels[top : top + 20, left : left + 20] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)
    return path


def indexed(path: Path, *squares: tuple[int, int, int], size: tuple[int, int] = SIZE) -> Path:
    """An indexed mask with squares of 20 pixels at (top, left) of an id."""
    ids = np.zeros(size, np.uint8)
    for top, left, number in squares:
        ids[top : top + 20, left : left + 20] = number
    picture = PIL.Image.fromarray(ids)
    picture.putpalette([channel for n in range(256) for channel in (n, 255 - n, 0)])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


@pytest.fixture
def query(tmp_path: Path) -> Path:
    """Red at (5, 50), blue at (35, 10)."""
    return scene(tmp_path / "query.png", (5, 50, RED), (35, 10, BLUE))


@pytest.fixture
def both(tmp_path: Path) -> str:
    """An example of red as 3 and blue as 7."""
    photo = scene(tmp_path / "shown" / "both.png", (10, 10, RED), (10, 40, BLUE))
    return f"{photo}:{indexed(tmp_path / 'shown' / 'both_mask.png', (10, 10, 3), (10, 40, 7))}"


def incontext(here: Here, *typed: str | Path, stdin: bytes = b"") -> Ran:
    return here("incontext", *typed, stdin=stdin, model="shades")


def ids(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as file:
        return np.asarray(file)


def test_ids_of_an_example_come_back_as_ids_of_the_answer(here: Here, query: Path, both: str):
    ran = incontext(here, query, "--example", both, "-f", "palette")
    assert (ran.code, ran.stdout) == (0, b"")
    found = ids(here.cwd / "seg-out" / "query.png")
    expected = np.zeros(SIZE, np.uint8)
    expected[5:25, 50:70], expected[35:55, 10:30] = 3, 7
    np.testing.assert_array_equal(found, expected)


def test_the_same_command_skips_what_is_done_and_other_examples_are_other_results(here: Here, query: Path, both: str):
    typed = (query, "--example", both, "--json")
    assert incontext(here, *typed).code == 0
    again = incontext(here, *typed)
    assert (again.code, again.lines[-1]["summary"]["skipped"]) == (0, 1)
    indexed(here.cwd / "shown" / "both_mask.png", (10, 10, 3))  # the example now means red alone
    other = incontext(here, *typed)
    assert other.code == 3 or other.lines[-1]["summary"]["failed"] == 1
    assert "other options" in other.stderr
    assert incontext(here, *typed, "--force").code == 0


def test_every_colour_of_a_colour_mask_is_a_target_that_keeps_its_colour_as_label(here: Here, query: Path):
    photo = scene(here.cwd / "e.png", (10, 10, RED), (10, 40, BLUE))
    painted = np.zeros((*SIZE, 3), np.uint8)
    painted[10:30, 10:30], painted[10:30, 40:60] = (255, 0, 0), (0, 128, 255)
    PIL.Image.fromarray(painted).save(here.cwd / "e_mask.png")
    ran = incontext(here, query, "--example", f"{photo}:{here.cwd / 'e_mask.png'}", "-f", "jsonl", "-o", "-")
    assert {mask["label"]: mask["bbox"] for mask in ran.lines[0]["masks"]} == {
        "#0080ff": [10, 35, 20, 20],
        "#ff0000": [50, 5, 20, 20],
    }


def test_answers_of_another_verb_are_examples(here: Here, query: Path):
    scene(here.cwd / "a.png", (10, 10, RED))
    line = incontext(
        here, "a.png", "--example", f"a.png:{indexed(here.cwd / 'm.png', (10, 10, 4))}", "-f", "jsonl", "-o", "-"
    )
    ran = incontext(here, query, "--examples", "-", "-o", "out", stdin=line.stdout)
    assert ran.code == 0
    assert read_mask(here.cwd / "out" / "query.png")[10, 55]
    assert read_mask(here.cwd / "out" / "query.png").sum() == 400


def test_a_bank_gives_each_photo_its_likest_pairs_and_says_which(here: Here, query: Path):
    for name, colour in (("red", RED), ("blue", BLUE), ("grey", (128, 128, 128))):
        size = (200, 200) if name == "grey" else SIZE
        pixels = np.full((*size, 3), colour, np.uint8)
        pixels[:20, :20] = GREEN
        (here.cwd / "bank").mkdir(exist_ok=True)
        PIL.Image.fromarray(pixels).save(here.cwd / "bank" / f"{name}.png")
        indexed(here.cwd / "bank" / f"{name}_mask.png", (0, 0, 1), size=size)
    PIL.Image.new("RGB", (50, 50), (200, 30, 30)).save(here.cwd / "reddish.png")
    ran = incontext(here, "reddish.png", "--bank", "bank", "--k", "2", "-v", "--json")
    assert ran.code == 0
    assert ran.lines[0]["examples"] == ["bank/red.png", "bank/grey.png"]
    assert "from bank/red.png, bank/grey.png" in ran.stderr
    again = incontext(here, "reddish.png", "--bank", "bank", "--k", "2", "-v", "--json")
    assert again.lines[0]["examples"] == ran.lines[0]["examples"]


def test_classes_are_merged_by_score_into_one_label_for_each_pixel(here: Here, query: Path):
    for name, colour in (("apple", RED), ("berry", BLUE)):
        for number in range(3):
            scene(here.cwd / "classes" / name / "images" / f"{number}.png", (10, 10 + number, colour))
            indexed(here.cwd / "classes" / name / "masks" / f"{number}.png", (10, 10 + number, 9))
    typed = (query, "--classes-dir", "classes", "--per-class", "2", "-f", "jsonl", "-o", "-")
    ran = incontext(here, *typed)
    assert ran.code == 0, ran.stderr
    masks = {mask["label"]: (mask["id"], mask["bbox"]) for mask in ran.lines[0]["masks"]}
    assert masks == {"apple": (1, [50, 5, 20, 20]), "berry": (2, [10, 35, 20, 20])}


def test_windows_of_a_large_photo_answer_as_one(here: Here, both: str):
    large = scene(here.cwd / "large.png", (100, 240, RED), (150, 95, BLUE), size=(180, 300))
    ran = incontext(here, large, "--example", both, "--tiles", "100", "-f", "palette")
    assert ran.code == 0
    expected = np.zeros((180, 300), np.uint8)
    expected[100:120, 240:260], expected[150:170, 95:115] = 3, 7
    np.testing.assert_array_equal(ids(here.cwd / "seg-out" / "large.png"), expected)


def bad_pairs(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Names of what can go wrong -> what is typed, and what the message names."""
    photo = scene(folder / "p.png", (10, 10, RED))
    small = indexed(folder / "small.png", (0, 0, 1), size=(30, 30))
    black = indexed(folder / "black.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (folder / "empty").mkdir()
    (folder / "alone").mkdir()
    scene(folder / "alone" / "a.jpg")
    return {
        "another size": (["--example", f"{photo}:{small}"], f"{photo}:{small}: its mask is 30x30, the photo 80x60"),
        "all black": (["--example", f"{photo}:{black}"], f"{photo}:{black}: its mask is all black"),
        "unreadable": (["--example", f"{photo}:{folder / 'broken.png'}"], f"{photo}:{folder / 'broken.png'}"),
        "missing": (["--example", f"{photo}:none.png"], "no such file: none.png"),
        "empty bank": (["--bank", str(folder / "empty")], f"{folder / 'empty'}: no pairs"),
        "no mask": (["--bank", str(folder / "alone")], "a.jpg: no mask of the same name"),
        "no classes": (["--classes-dir", str(folder / "empty")], "no folders in it"),
        "no bank": (["--bank", "nowhere"], "--bank nowhere: no such directory"),
    }


@pytest.mark.parametrize(
    "what", ["another size", "all black", "unreadable", "missing", "empty bank", "no mask", "no classes", "no bank"]
)
def test_examples_that_cant_be_used_are_refused_with_the_pair_named(tmp_path: Path, what: str):
    from segcli.cli.showing import shown_to
    from segcli.cli.shown import Shown
    from segcli.core.errors import UsageError

    typed, named = bad_pairs(tmp_path / "bad")[what]
    option = typed[0].removeprefix("--").replace("-", "_")
    with pytest.raises(UsageError) as refused:
        shown_to(Shown(**{option: typed[1:] if option == "example" else typed[1]}), seed=0, memory=0)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_bad_pair_is_exit_2_before_anything_is_written(here: Here, query: Path):
    typed, named = bad_pairs(here.cwd / "bad")["all black"]
    ran = incontext(here, query, *typed)
    assert (ran.code, ran.stdout) == (2, b"")
    assert named in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not (here.cwd / "seg-out").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "no examples; type --example"),
        (["--bank", "a", "--classes-dir", "b"], "--bank and --classes-dir both say what is meant"),
        (["--example", "a:b", "--k", "3"], "--k is for --bank"),
        (["--classes-dir", "a", "--per-class", "33"], "32 pairs are the most"),
        (["--example", "a:b", "--ensemble", "mean"], "--ensemble mean: unknown"),
        (["--example", "a:b", "--threshold", "1.5"], "--threshold 1.5: is not a number from 0 to 1"),
        (["--example", "a:b", "--tiles", "9"], "--tiles 9: is not a whole number from 64 on"),
        (["--prompt", "p", "--kind", "semantic"], "--prompt says itself what it is for"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_anything_is_read(typed: list[str], said: str):
    from segcli.cli.shown import Shown
    from segcli.core.errors import UsageError

    options = {typed[n].removeprefix("--").replace("-", "_"): typed[n + 1] for n in range(0, len(typed), 2)}
    with pytest.raises(UsageError) as refused:
        Shown(**{k: [v] if k == "example" else v for k, v in options.items()}).check()
    assert said in str(refused.value)


def test_a_checkpoint_that_takes_no_examples_is_refused_by_name(here: Here, query: Path, both: str):
    ran = here("incontext", query, "--example", both, "-m", "discs", model=None)
    assert ran.code == 2
    assert "discs does not take prompts of the kind examples" in ran.stderr


def test_a_tuned_prompt_answers_like_its_examples_and_for_its_own_model_only(here: Here, query: Path, site: Path):
    for number in range(4):
        scene(here.cwd / "data" / "images" / f"{number}.png", (10, 10 * number, RED), (35, 55, BLUE))
        indexed(here.cwd / "data" / "masks" / f"{number}.png", (10, 10 * number, 3), (35, 55, 7))
    tuned = here(
        *("train", "prompt", "--data", "data", "--out", "p.safetensors", "-m", "shades", "--steps", "6"),
        *("--hold-out", "4", "--photos", "1"),
        model=None,
    )
    assert tuned.code == 0, tuned.stderr
    assert "iou_tuned: 1.0000" in tuned.stderr
    from segcli.registry.tuned import read_card

    card = read_card(here.cwd / "p.safetensors")
    assert (card.model, card.steps, card.task.ids, card.figures["iou_start"]) == ("shades", 6, (3, 7), 1.0)
    ran = incontext(here, query, "--prompt", "p.safetensors", "-f", "palette")
    assert ran.code == 0, ran.stderr
    found = ids(here.cwd / "seg-out" / "query.png")
    assert set(np.unique(found)) == {0, 3, 7}
    assert (found[5:25, 50:70] == 3).all()
    toml = (site / "segdiscs" / "weights.toml").read_text()
    (site / "config" / "seg").mkdir(parents=True, exist_ok=True)
    own = site / "config" / "seg" / "weights.toml"
    own.write_text("[other-shades]" + toml.partition("[shades]")[2].partition("\n[")[0])
    try:
        refused = here("incontext", query, "--prompt", "p.safetensors", "-m", "other-shades", "-o", "o", model=None)
    finally:
        own.unlink()
    assert refused.code == 2
    assert "p.safetensors: is a prompt for shades" in refused.stderr
    assert "not for other-shades" in refused.stderr


def test_the_stream_says_which_examples_were_chosen(here: Here, query: Path, both: str):
    ran = incontext(here, query, "--bank", "shown", "--k", "1", "-f", "jsonl")
    assert ran.code == 0
    (line,) = (here.cwd / "seg-out" / "masks.jsonl").read_text().splitlines()
    assert json.loads(line)["examples"] == ["shown/both.png"]

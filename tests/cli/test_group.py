"""`seg group` with a tiny RAS of known mind: it chooses what is like the reference, by colour."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from .support import Here

WIDTH, HEIGHT = 120, 90
BLOCKS = {"red": (10, 10, (220, 30, 30)), "blue": (60, 10, (30, 60, 220)), "crimson": (10, 55, (220, 30, 30))}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random RAS without a backbone, written as `seg train` writes one."""
    import torch

    from segcli.models.ras.config import EncoderConfig, LanguageConfig, RasConfig
    from segcli.models.ras.model import Ras
    from segcli.train.ras import export, tokenizer

    torch.manual_seed(3)
    words = tokenizer(["cup", "dog"], 200)
    language = LanguageConfig(hidden=32, layers=1, heads=4, ffn=64, vocabulary=len(words), context=512)
    config = RasConfig(
        (EncoderConfig("colours", 24),), language, positions=8, position_side=8, geometry=True, visual_tokens=False,
        decoding_attention="set", template="plain", candidates=5,
    )  # fmt: skip
    return export(Ras(config), words, tmp_path_factory.mktemp("ras") / "tiny.safetensors", shared="")


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, Path]:
    """A photo with three blocks, a mask of each, and one indexed mask of all."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    found = {}
    (tmp_path / "masks").mkdir()
    for number, (name, (x, y, colour)) in enumerate(BLOCKS.items(), 1):
        pixels[y : y + 25, x : x + 30] = colour
        ids[y : y + 25, x : x + 30] = number
        found[name] = tmp_path / "masks" / f"photo-{name}.png"
        PIL.Image.fromarray((ids == number).astype(np.uint8) * 255).save(found[name])
    PIL.Image.fromarray(pixels).save(tmp_path / "photo.png")
    indexed = PIL.Image.fromarray(ids, "P")
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255, 255, 255, 0])
    indexed.save(tmp_path / "ids.png")
    return found


@pytest.fixture
def group(here: Here, checkpoint: Path, scene: dict[str, Path]):
    def run(*arguments: str, candidates: str = "masks", proposals: str = "discs", stdin: bytes = b""):
        given = ["--candidates", candidates] if candidates else []
        typed = ["group", "photo.png", *arguments, *given, "--proposals", proposals, "-m", str(checkpoint)]
        return here(*typed, stdin=stdin, model=None)

    return run


def considered(ran) -> dict[tuple[int, ...], float]:
    (line,) = ran.lines
    return {tuple(one["bbox"]): one["score"] for one in line["considered"]}


def test_every_candidate_is_scored_and_the_chosen_ones_are_above_the_threshold(group) -> None:
    ran = group("all cups", "--scores", "-f", "jsonl", "-o", "-")
    assert ran.code == 0, ran.stderr
    scores = considered(ran)
    assert set(scores) == {(10, 10, 30, 25), (60, 10, 30, 25), (10, 55, 30, 25)}
    (line,) = ran.lines
    chosen = {tuple(one["bbox"]) for one in line["masks"]}
    assert chosen == {place for place, score in scores.items() if score > 0.5}


def test_the_threshold_decides_how_many_are_chosen(group) -> None:
    def chosen(threshold: str) -> int:
        return len(group("all", "--threshold", threshold, "-f", "jsonl", "-o", "-").lines[0]["masks"])

    assert chosen("0") == 3
    assert chosen("1") == 0


def test_none_is_an_answer_and_at_least_one_takes_the_best(group) -> None:
    none = group("all", "--threshold", "1", "-f", "jsonl", "-o", "-")
    assert (none.code, none.lines[0]["masks"]) == (0, [])
    one = group("all", "--threshold", "1", "--at-least-one", "--scores", "-f", "jsonl", "-o", "-")
    (mask,) = one.lines[0]["masks"]
    assert mask["score"] == max(considered(one).values())


@pytest.mark.parametrize(
    ("reference", "bbox"),
    [("masks/photo-blue.png", [60, 10, 30, 25]), ("ids.png#3", [10, 55, 30, 25]), ("60,10,89,34", [60, 10, 30, 25])],
)
def test_a_reference_is_a_mask_an_indexed_object_or_a_box(group, reference: str, bbox: list[int]) -> None:
    ran = group("like {1}", "--ref", reference, "-f", "jsonl", "-o", "-")
    assert ran.code == 0, ran.stderr
    assert [one["bbox"] for one in ran.lines[0]["references"]] == [bbox]


def test_a_click_is_a_reference_too(group) -> None:
    ran = group("like {1}", "--ref", "50%,50%", "-f", "jsonl", "-o", "-")
    x, y, width, height = ran.lines[0]["references"][0]["bbox"]
    assert abs(x + width / 2 - 60) <= 1
    assert abs(y + height / 2 - 45) <= 1


def test_which_reference_stands_where_changes_the_scores(group) -> None:
    refs = ["--ref", "ids.png#1", "--ref", "ids.png#2"]
    one = considered(group("{1} but not {2}", *refs, "--scores", "-f", "jsonl", "-o", "-"))
    other = considered(group("{2} but not {1}", *refs, "--scores", "-f", "jsonl", "-o", "-"))
    assert one != other


def test_masks_of_another_verbs_stream_are_candidates(group, here: Here) -> None:
    made = here(
        "point", "photo.png", "--at", "20,20", "--at", "70,60", "--each", "-f", "jsonl", "-o", "-", model="discs"
    )
    merged = json.loads(made.stdout.splitlines()[0])
    merged["masks"] += json.loads(made.stdout.splitlines()[1])["masks"]
    ran = group("all", "--scores", "-f", "jsonl", "-o", "-", candidates="-", stdin=json.dumps(merged).encode() + b"\n")
    assert ran.code == 0, ran.stderr
    assert set(considered(ran)) == {tuple(one["bbox"]) for one in merged["masks"]}


def test_without_candidates_a_model_proposes_them(group) -> None:
    ran = group("all", "--grid", "3", "--scores", "-f", "jsonl", "-o", "-", candidates="")
    assert ran.code == 0, ran.stderr
    assert len(considered(ran)) > 1


def test_more_candidates_than_fit_are_cut_with_a_word_on_stderr(group, here: Here, tmp_path: Path) -> None:
    for n in range(7):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[10 * n : 10 * n + 9, :9] = 255
        PIL.Image.fromarray(mask).save(tmp_path / "masks" / f"photo-{n}.png")
    ran = group("all", "--scores", "-f", "jsonl", "-o", "-")
    assert ran.code == 0
    assert "10 candidates" in ran.stderr
    assert "the best 5 are kept" in ran.stderr
    assert len(considered(ran)) == 5


def test_the_overlay_shows_references_in_white(group, tmp_path: Path) -> None:
    plain = group("all", "--threshold", "1", "-f", "overlay", "-o", "plain")
    shown = group("like {1}", "--ref", "ids.png#2", "--threshold", "1", "-f", "overlay", "-o", "shown")
    assert (plain.code, shown.code) == (0, 0), shown.stderr
    before, after = (np.asarray(PIL.Image.open(tmp_path / d / "photo.jpg")).astype(int) for d in ("plain", "shown"))
    changed = np.abs(after - before).sum(2) > 60
    assert changed[12:33, 62:88].mean() > 0.5
    assert changed[50:, :].mean() < 0.02


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("larger than {2}", "--ref", "ids.png#1"), "has {2}, but there is 1 --ref"),
        (("larger than {1}",), "has {1}, but there are no --ref"),
        (("everything", "--ref", "ids.png#1"), "does not name the --ref number 1; write {1}"),
        (("like {1}", "--ref", "500,20"), "lies outside of the photo"),
        (("like {1}", "--ref", "ids.png"), "holds 3 objects; name one"),
        (("like {1}", "--ref", "ids.png#9"), "has no object 9"),
        (("like {1}", "--ref", "nowhere.png"), "no such file"),
        (("like {1}", "--ref", "empty.png"), "mask of reference 1 has nothing inside"),
        (("all", "--scores"), "add -f jsonl"),
        (("all", "--threshold", "2"), "--threshold 2: is not a number from 0 to 1"),
        (("photo.png",), "the sentence comes last"),
    ],
)
def test_what_can_not_be_meant_is_refused_in_one_line(
    group, here: Here, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    PIL.Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(tmp_path / "empty.png")
    ran = group(*arguments)
    assert ran.code == 2, ran.stderr
    said = [line for line in ran.stderr.splitlines() if line.startswith("seg group: ")]
    assert words in said[-1]


def test_without_a_sentence_or_photos_it_says_how_to_type_them(here: Here) -> None:
    missing = here("group", model=None)
    assert missing.code == 2
    assert "the sentence is missing" in missing.stderr
    alone = here("group", "everything red", model=None)
    assert alone.code == 2
    assert "no photos" in alone.stderr

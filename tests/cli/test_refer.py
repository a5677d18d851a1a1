"""`seg refer` from the outside, with a model that knows colours by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from .support import Here, make_photo, read_mask

STREET = {"red": [(10, 10, 30, 20), (60, 10, 8, 8)], "green": [(10, 60, 20, 20)]}


def draw(path: Path, things: dict[str, list[tuple[int, int, int, int]]] = STREET) -> Path:
    """A grey photo of 120 x 90 with coloured boxes (x, y, width, height)."""
    pixels = np.full((90, 120, 3), 128, np.uint8)
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    for name, boxes in things.items():
        for x, y, width, height in boxes:
            pixels[y : y + height, x : x + width] = colours[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def street(tmp_path: Path) -> Path:
    return draw(tmp_path / "street.png")


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_words_give_the_best_mask_and_all_gives_every_instance_above_the_threshold(here: Here, street: Path):
    assert here("refer", "red", street).code == 0
    mask = read_mask(here.cwd / "seg-out" / "street.png")
    assert mask[10:30, 10:40].all()
    assert mask.sum() == 600
    ran = here("refer", "red", street, "--all", "-f", "jsonl", "-o", "-")
    assert [(m["area"], m["score"], m["phrase"]) for m in ran.lines[0]["masks"]] == [
        (600, 0.9, "red"),
        (64, 0.7, "red"),
    ]
    assert ran.lines[0]["ask"] == {"text": "red", "all": True}
    ran = here("refer", "red", street, "--all", "--threshold", "0.8", "-f", "jsonl", "-o", "-")
    assert [m["area"] for m in ran.lines[0]["masks"]] == [600]


def test_nothing_found_is_exit_0_with_a_blank_mask_and_a_line_that_says_so(here: Here, street: Path):
    ran = here("refer", "blue", street, "-f", "mask,jsonl,coco", "--json")
    assert ran.code == 0
    mask = read_mask(here.cwd / "seg-out" / "mask" / "street.png")
    assert (mask.shape, mask.any()) == ((90, 120), False)
    (line,) = lines_of(here.cwd / "seg-out" / "masks.jsonl")
    assert (line["image"], line["masks"], line["size"]) == ("street.png", [], [90, 120])
    coco = json.loads((here.cwd / "seg-out" / "instances.json").read_text())
    assert ([p["file_name"] for p in coco["images"]], coco["annotations"]) == (["street.png"], [])
    item, summary = ran.lines
    assert (item["masks"], summary["summary"]["empty"], summary["summary"]["exit_code"]) == ([0], 1, 0)
    assert "nothing found in" in ran.stderr
    assert "street.png" in ran.stderr


def test_require_mask_makes_empty_answers_exit_7_and_loses_nothing_not_even_when_run_again(here: Here, street: Path):
    draw(here.cwd / "in" / "full.png")
    draw(here.cwd / "in" / "none.png", {})
    for again in (False, True):
        ran = here("refer", "red", "in", "--require-mask", "-q", "--json")
        assert ran.code == 7
        assert "--require-mask: nothing found in 1 of 2 photos: in/none.png" in ran.stderr
        summary = ran.lines[-1]["summary"]
        assert (summary["done"], summary["skipped"]) == ((0, 2) if again else (2, 0))
        assert (summary["empty"], summary["failed"], summary["exit_code"]) == (1, 0, 7)
    assert read_mask(here.cwd / "seg-out" / "full.png").sum() == 600
    assert not read_mask(here.cwd / "seg-out" / "none.png").any()
    assert here("refer", "red", street, "--require-mask", "-o", "other").code == 0
    (here.cwd / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    assert here("refer", "red", "in", "--require-mask").code == 3


def test_places_beside_the_words_say_which_one(here: Here, street: Path):
    ran = here("refer", "red", street, "--at", "62,12", "-f", "jsonl", "-o", "-")
    assert [m["area"] for m in ran.lines[0]["masks"]] == [64]
    assert ran.lines[0]["ask"] == {"at": [[62, 12]], "text": "red"}
    ran = here("refer", "red", street, "--not-at", "12,12", "-f", "jsonl", "-o", "-")
    assert [m["area"] for m in ran.lines[0]["masks"]] == [64]
    ran = here("refer", "red", street, "--box", "55,5,80,25", "-f", "jsonl", "-o", "-")
    assert [m["area"] for m in ran.lines[0]["masks"]] == [64]
    for answer, area in (("visual", 400), ("text", 600)):
        words = ("refer", "red", street, "--at", "12,62", "--answer", answer, "-f", "jsonl", "-o", "-")
        (line,) = here(*words).lines
        assert ([m["area"] for m in line["masks"]], line["ask"]["answer"]) == ([area], answer)


def test_a_region_of_another_photo_is_a_prompt_with_and_without_words(here: Here, street: Path):
    mug = draw(here.cwd / "my@home:1.png", {"green": [(0, 0, 50, 45)]})
    drawn = np.zeros((90, 120), np.uint8)
    drawn[5:20, 5:20] = 255
    PIL.Image.fromarray(drawn).save(here.cwd / "mask@2:1.png")
    for like in (
        "my@home:1.png@10,10",
        "my@home:1.png@10%,10%",
        "my@home:1.png@0,0,20,20",
        "my@home:1.png:mask@2:1.png",
    ):
        ran = here("refer", street, "--like", like, "-f", "jsonl", "-o", "-")
        assert (ran.code, [m["area"] for m in ran.lines[0]["masks"]]) == (0, [400]), ran.stderr
        assert ran.lines[0]["ask"]["references"][0]["image"] == mug.name
    both = here("refer", "red", street, "--like", "my@home:1.png@10,10", "-f", "jsonl", "-o", "-")
    assert (both.lines[0]["ask"]["text"], [m["area"] for m in both.lines[0]["masks"]]) == ("red", [600])
    pointed = here("point", street, "--like", "my@home:1.png@10,10", "-f", "jsonl", "-o", "-")
    assert (pointed.code, [m["area"] for m in pointed.lines[0]["masks"]]) == (0, [400]), pointed.stderr
    assert here("point", street, "--like", "my@home:1.png@10,10", "--everything").code == 2
    several = ("--like", f"{mug.name}@10,10", "--like", f"{street}@12,12", "--all", "-f", "jsonl", "-o", "-")
    assert [m["area"] for m in here("refer", "", street, *several).lines[0]["masks"]] == [600, 400, 64]


def test_a_reference_that_changed_is_another_question(here: Here, street: Path):
    draw(here.cwd / "ref.png", {"green": [(0, 0, 50, 45)]})
    assert here("refer", street, "--like", "ref.png@9,9").code == 0
    again = here("refer", street, "--like", "ref.png@9,9", "--json")
    assert (again.code, again.lines[-1]["summary"]["skipped"]) == (0, 1)
    draw(here.cwd / "ref.png", {"red": [(0, 0, 50, 45)]})
    changed = here("refer", street, "--like", "ref.png@9,9")
    assert changed.code == 3
    assert "made with other options" in changed.stderr
    assert here("refer", street, "--like", "ref.png@9,9", "--force").code == 0
    assert read_mask(here.cwd / "seg-out" / "street.png").sum() == 600


@pytest.mark.parametrize(
    ("like", "said"),
    [
        ("ref.png", "--like ref.png: says no place; type --like REF.jpg@120,80"),
        ("ref.png@5", "--like ref.png@5: says no place"),
        ("ref.png@500,5", "--like ref.png: the click 500,5 lies outside of the photo (120 x 90 pixels)"),
        ("ref.png@9,9,3,3", "--like ref.png@9,9,3,3: 9,9,3,3 is no place in a photo; type --like REF.jpg@120,80"),
        ("ref.png@101%,5", "--like ref.png@101%,5: 101%,5 is no place"),
        ("none.png@5,5", "--like none.png@5,5: no such photo: none.png"),
        ("none.png:m.png", "--like none.png:m.png: no such file: none.png"),
        ("ref.png:m.png", "--like ref.png:m.png: no such file: m.png"),
        ("ref.png:small.png", "the mask of the reference has 4 x 4 pixels, the photo has 120 x 90"),
        ("ref.png:blank.png", "the mask of the reference has nothing inside"),
        ("text.txt@5,5", "--like text.txt"),
        (":", "--like :: says no place"),
        ("a.png:b.png:c.png", "--like a.png:b.png:c.png: can be read in 2 ways"),
    ],
)
def test_a_like_that_can_not_be_meant_is_refused_in_one_line(here: Here, street: Path, like: str, said: str):
    draw(here.cwd / "ref.png")
    PIL.Image.new("L", (4, 4), 255).save(here.cwd / "small.png")
    for name in ("a.png", "b.png:c.png", "a.png:b.png", "c.png"):
        draw(here.cwd / name)
    PIL.Image.new("L", (120, 90)).save(here.cwd / "blank.png")
    (here.cwd / "text.txt").write_text("no photo")
    ran = here("refer", street, "--like", like)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert said in ran.stderr
    assert not (here.cwd / "seg-out").exists()


def test_many_phrases_cost_one_encoding_and_name_their_files(here: Here, street: Path, monkeypatch: pytest.MonkeyPatch):
    from segdiscs.colours import Colours

    encoded = []
    encode = Colours.encode
    monkeypatch.setattr(Colours, "encode", lambda self, images: encoded.append(len(images)) or encode(self, images))
    (here.cwd / "words.txt").write_text("# colours\nred\n\n  green \nblue\nred\n", encoding="utf-8-sig")
    ran = here("refer", street, "--phrases", "words.txt", "-f", "mask,coco,yolo,jsonl", "--json")
    assert (ran.code, encoded, ran.lines[0]["masks"]) == (0, [1], [1, 1, 0])
    assert "street.png (1 of 3 asks)" in ran.stderr
    out = here.cwd / "seg-out"
    assert {path.stem for path in (out / "mask").iterdir()} == {"street-red", "street-green", "street-blue"}
    coco = json.loads((out / "instances.json").read_text())
    names = {row["id"]: row["name"] for row in coco["categories"]}
    assert names == {1: "red", 2: "green", 3: "blue"}
    found = [(names[a["category_id"]], a["phrase"], a["score"]) for a in coco["annotations"]]
    assert found == [("red", "red", 0.9), ("green", "green", 0.9)]
    assert [row.split()[0] for row in (out / "yolo" / "street.txt").read_text().splitlines()] == ["0", "1"]
    assert [line["ask"]["id"] for line in lines_of(out / "masks.jsonl")] == ["red", "green", "blue"]
    assert here("refer", street, "--phrases", "-", "-o", "one/{stem}-{ask}.png", stdin=b"green\n").code == 0
    assert [path.name for path in (here.cwd / "one").glob("*.png")] == ["street-green.png"]
    assert here("refer", street, "--phrases", "-", "-o", "t/{stem}-{label}.png", stdin=b"green\nred\n").code == 0
    assert {path.name for path in (here.cwd / "t").glob("*.png")} == {"street-green.png", "street-red.png"}


def test_phrases_that_look_alike_in_file_names_are_told_apart():
    from segcli.cli.refer import one_each
    from segcli.core.ask import Ask

    texts = ("a/b", "a_b", "A_B", "x" * 90, "x" * 91, "a_b 2", "a\\b")
    ids = [ask.id for ask in one_each(Ask(), texts)]
    assert len({name.casefold() for name in ids}) == len(texts)
    assert ids[:2] == ["a_b", "a_b 2"]
    assert [ask.text for ask in one_each(Ask(), texts)] == list(texts)


def test_a_word_that_the_model_does_not_know_ends_the_run_before_the_first_photo(here: Here, street: Path):
    draw(here.cwd / "in" / "1.png")
    draw(here.cwd / "in" / "2.png")
    ran = here("refer", "zebra", "in")
    assert ran.code == 2
    assert ran.stderr.splitlines()[-1] == ("seg refer: 'zebra': colours knows red, green, blue, white, blue sky")


def test_prompt_lines_hold_words_classes_and_references_in_files_and_sessions(here: Here, street: Path):
    draw(here.cwd / "ref.png", {"green": [(0, 0, 50, 45)]})
    asked = [
        {"image": "street.png", "id": "words", "text": "red", "all": True, "threshold": 0.5},
        {"image": "street.png", "id": "like", "references": [{"image": "ref.png", "at": ["10%", 9]}]},
        {"image": "street.png", "id": "label", "at": [12, 12], "classes": "green,red"},
        {
            "image": "street.png",
            "id": "whole",
            "classes": ["red", "green"],
            "things": [False, True],
            "kind": "panoptic",
        },
    ]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in asked)
    (here.cwd / "asks.jsonl").write_bytes(text)
    areas = {"words": [600, 64], "like": [400], "label": [600], "whole": [664, 400]}
    for verb in ("refer", "point"):
        ran = here(verb, "--prompts", "asks.jsonl", "-f", "jsonl", "-o", "-")
        assert {line["ask"]["id"]: [m["area"] for m in line["masks"]] for line in ran.lines} == areas
    whole = ran.lines[-1]
    assert [(m["label"], m["thing"]) for m in whole["masks"]] == [("red", False), ("green", True)]
    live = here("refer", "--prompts", "-", stdin=text + b'{"image": "street.png", "text": "zebra"}\n')
    assert live.code == 3
    assert [[m["area"] for m in line["masks"]] for line in live.lines[:-1]] == list(areas.values())
    assert (live.lines[-1]["code"], "zebra" in live.lines[-1]["error"]) == (2, True)
    (here.cwd / "bad.jsonl").write_text('{"image": "street.png", "references": [{"image": "ref.png", "at": [999, 9]}]}')
    ran = here("point", "--prompts", "bad.jsonl")
    assert (ran.code, "ref.png: the click 999,9 lies outside" in ran.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing is asked for; type what is meant"),
        (("",), "nothing is asked for"),
        (("street.png",), "street.png: is a photo; what is meant comes first"),
        (("red",), "no photos given"),
        (("red", "street.png", "--threshold", "2"), "--threshold 2: is not a number from 0 to 1"),
        (("red", "street.png", "--threshold", "nan"), "--threshold nan: is not a number"),
        (("red", "street.png", "--answer", "words"), "--answer words: unknown; type all, text, visual"),
        (("red", "street.png", "--answer", "text"), "--answer text: is for words and places together; add --at"),
        (("red", "street.png", "--at", "5"), "--at 5: is not x,y"),
        (("street.png", "--phrases", "none.txt"), "--phrases none.txt: can't be read: no such file"),
        (("street.png", "--phrases", "empty.txt"), "--phrases empty.txt: holds no phrases"),
        (("-", "--phrases", "-"), "--phrases - and the photos both come from stdin"),
        (("red", "--prompts", "-"), "--prompts brings photos and prompts itself"),
        (("--prompts", "-", "--require-mask"), "--prompts - has no use for --require-mask"),
        (("red", "street.png", "--mask", "street.png"), "--mask: colours does not take prompts of the kind mask"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(here: Here, street: Path, words: tuple[str, ...], said: str):
    (here.cwd / "empty.txt").write_text("\n# nothing\n")
    ran = here("refer", *words)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert said in ran.stderr
    assert not (here.cwd / "seg-out").exists()


def test_a_checkpoint_that_takes_no_words_is_refused_with_those_that_do(here: Here, street: Path):
    ran = here("refer", "red", street, model="clicks-only")
    assert ran.code == 2
    assert "TEXT: clicks-only does not take prompts of the kind text, only point" in ran.stderr
    assert "-m " in ran.stderr
    assert "colours" in ran.stderr or "…" in ran.stderr


def test_labels_and_their_scores_are_in_every_output_that_can_hold_them(here: Here, street: Path):
    make_photo(here.cwd / "x.png")
    words = ("point", street, "--at", "12,12", "--at", "12,62", "--each", "--classes", "green,red,blue")
    ran = here(*words, "-f", "jsonl,coco,labelme,svg,npz,yolo,panoptic,semantic,overlay,mask", "-o", "out")
    assert ran.code == 0, ran.stderr
    out = here.cwd / "out"
    found = [line["masks"][0] for line in lines_of(out / "masks.jsonl")]
    assert [(m["label"], m["label_score"]) for m in found] == [("red", 0.75), ("green", 0.75)]
    coco = json.loads((out / "instances.json").read_text())
    assert [(a["category_id"], a["label_score"]) for a in coco["annotations"]] == [(2, 0.75), (1, 0.75)]
    assert json.loads((out / "labelme" / "street.json").read_text())["shapes"][0]["label_score"] == 0.75
    assert 'data-label="red"' in (out / "svg" / "street.svg").read_text()
    assert 'data-label-score="0.75"' in (out / "svg" / "street.svg").read_text()
    assert np.load(out / "npz" / "street.npz")["label_scores"].tolist() == [0.75, 0.75]
    assert np.unique(PIL.Image.open(out / "semantic" / "street.png")).tolist() == [0, 1, 2]
    assert here(*words, "-o", "named/{label}.png").code == 0
    assert {path.name for path in (here.cwd / "named").glob("*.png")} == {"red.png", "green.png"}

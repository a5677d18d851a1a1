"""`seg panoptic` from the outside, with a model that knows colours by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from .support import Here
from .test_refer import draw


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """Two red things, one green one, a blue sky in two parts."""
    return draw(
        tmp_path / "street.png",
        {
            "red": [(10, 40, 30, 20), (60, 40, 8, 8)],
            "green": [(10, 65, 20, 20)],
            "blue": [(0, 0, 50, 20), (60, 0, 60, 20)],
        },
    )


LIST = "red\tthing\t5\ngreen\tthing\t7\nblue\tstuff\t200\n"


def test_segments_are_a_png_and_a_json_that_knows_things_from_stuff(here: Here, street: Path):
    (here.cwd / "mine.txt").write_text(LIST)
    ran = here("panoptic", street, "--classes", "mine.txt", "-o", "out")
    assert ran.code == 0, ran.stderr
    value = json.loads((here.cwd / "out" / "panoptic.json").read_text())
    assert [(c["id"], c["name"], c["isthing"]) for c in value["categories"]] == [
        *((5, "red", 1), (7, "green", 1), (200, "blue", 0))
    ]
    (annotation,) = value["annotations"]
    segments = {s["id"]: (s["category_id"], s["area"]) for s in annotation["segments_info"]}
    assert sorted(segments.values()) == [(5, 64), (5, 600), (7, 400), (200, 2200)]
    colours = np.asarray(PIL.Image.open(here.cwd / "out" / annotation["file_name"])).astype(int)
    ids = colours @ (1, 256, 65536)
    assert {n: int((ids == n).sum()) for n in segments} == {n: area for n, (_, area) in segments.items()}


@pytest.mark.parametrize(
    "more",
    [
        ("-o", "out"),
        ("-f", "overlay", "-o", "out"),
        ("-o", "out/{parent}/{stem}-{format}.png"),
        ("-o", "out/x-{stem}.png"),
    ],
    ids=["alone", "beside", "format", "template"],
)
def test_panoptic_json_names_the_png_as_it_is_called(here: Here, street: Path, more: tuple[str, ...]):
    (here.cwd / "mine.txt").write_text(LIST)
    draw(here.cwd / "in" / "a.png", {"red": [(10, 40, 30, 20)]})
    draw(here.cwd / "in" / "a.bmp", {"red": [(10, 40, 30, 20)]})
    words = ("--classes", "mine.txt", "-f", "panoptic", *more)
    photos = ("in",) if "{stem}" not in more[-1] else ("in/a.png",)  # a template would call both the same
    ran = here("panoptic", *photos, *words)
    assert ran.code == 0, ran.stderr
    out = here.cwd / "out"
    named = [one["file_name"] for one in json.loads((out / "panoptic.json").read_text())["annotations"]]
    below = out / "panoptic" if "overlay" in more else out
    assert named
    assert sorted(named) == sorted(str(path.relative_to(below)) for path in below.rglob("*.png"))


def test_the_model_may_know_what_is_stuff_where_the_list_does_not_say(here: Here, street: Path):
    words = ("panoptic", street, "--classes", "red,blue sky", "-f", "jsonl", "-o", "-")
    (line,) = here(*words).lines
    assert [m["label"] for m in line["masks"]] == ["red", "red", "blue sky"]
    assert (line["ask"]["kind"], "things" in line["ask"]) == ("panoptic", False)


def test_a_class_a_pixel_with_a_legend(here: Here, street: Path):
    (here.cwd / "mine.txt").write_text(LIST)
    assert here("panoptic", street, "--classes", "mine.txt", "--kind", "semantic").code == 0
    values = np.asarray(PIL.Image.open(here.cwd / "seg-out" / "street.png"))
    assert {n: int((values == n).sum()) for n in np.unique(values)} == {0: 10800 - 3264, 5: 664, 7: 400, 200: 2200}
    legend = json.loads((here.cwd / "seg-out" / "legend.json").read_text())
    assert [(row["id"], row["name"], row["isthing"]) for row in legend["classes"]] == [
        *((5, "red", 1), (7, "green", 1), (200, "blue", 0))
    ]


def test_instances_are_things_by_themselves_in_cocos_json(here: Here, street: Path):
    (here.cwd / "mine.txt").write_text(LIST)
    ran = here(
        "panoptic", street, "--classes", "mine.txt", "--kind", "instance", "--threshold", "0.75", "-f", "coco,palette"
    )
    assert ran.code == 0, ran.stderr
    value = json.loads((here.cwd / "seg-out" / "instances.json").read_text())
    assert [(a["category_id"], a["area"], a["score"]) for a in value["annotations"]] == [(5, 600, 0.9), (5, 64, 0.8)]
    assert np.unique(PIL.Image.open(here.cwd / "seg-out" / "palette" / "street.png")).tolist() == [0, 1, 2]


def test_classes_of_a_data_set_that_the_checkpoint_does_not_know_are_left_out_with_a_line(
    here: Here, street: Path, monkeypatch: pytest.MonkeyPatch
):
    from segdiscs import colours

    monkeypatch.setitem(colours.NAMES, "person", (255, 0, 0))
    words = ("panoptic", street, "--classes", "voc", "-f", "panoptic", "-o", "out")
    ran = here(*words)
    assert ran.code == 0
    assert "colours does not know 19 of the classes and leaves them out: aeroplane, bicycle" in ran.stderr
    value = json.loads((here.cwd / "out" / "panoptic.json").read_text())
    assert [s["category_id"] for s in value["annotations"][0]["segments_info"]] == [15, 15]
    assert here("panoptic", street, "--classes", "coco", "-o", "quiet", "-q").stderr == ""
    line = json.dumps({"image": "street.png", "classes": "voc", "kind": "instance"}).encode()
    assert [m["label"] for m in here("refer", "--prompts", "-", stdin=line).lines[0]["masks"]] == ["person"] * 2


def test_overlays_have_a_legend(here: Here, street: Path):
    assert here("panoptic", street, "--classes", "red,green,blue", "-f", "overlay").code == 0
    with PIL.Image.open(here.cwd / "seg-out" / "street.jpg") as picture:
        assert picture.width >= 120
        assert picture.height > 90


def test_a_photo_without_any_of_the_classes_is_blank_and_no_error(here: Here, street: Path):
    words = ("panoptic", street, "--classes", "white", "-f", "panoptic,semantic,mask")
    assert here(*words).code == 0
    for name in ("panoptic", "semantic", "mask"):
        assert not np.asarray(PIL.Image.open(here.cwd / "seg-out" / name / "street.png").convert("L")).any()
    value = json.loads((here.cwd / "seg-out" / "panoptic.json").read_text())
    assert value["annotations"][0]["segments_info"] == []
    assert here(*words, "--require-mask").code == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--kind", "everything"), "--kind everything: unknown; type panoptic, semantic, instance"),
        (("--classes", ","), "--classes: no words"),
        (("--classes", "none.txt"), "--classes none.txt: no such file"),
        (("--classes", "sky.txt", "--kind", "instance"), "--classes sky.txt: holds no things"),
        (("--threshold", "x"), "--threshold x: is not a number from 0 to 1"),
        (("--crop",), "--crop and --margin are for cut-outs"),
        (("--classes", "red,zebra"), "'zebra': colours knows red, green"),
    ],
)
def test_a_wrong_command_line_is_exit_2(here: Here, street: Path, words: tuple[str, ...], said: str):
    (here.cwd / "sky.txt").write_text("blue\tstuff\n")
    ran = here("panoptic", street, *words)
    assert ran.code == 2
    assert said in ran.stderr.splitlines()[-1]


def test_a_checkpoint_without_classes_is_refused_with_those_that_take_them(here: Here, street: Path):
    ran = here("panoptic", street, model="clicks-only")
    assert (ran.code, "--classes: clicks-only does not take" in ran.stderr) == (2, True)

"""`seg bench` with the models that come with seg, on drawn photos and videos: better than copying what was shown."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as Pillow

from segcli.cli.app import main
from segcli.core.example import Task
from tests.bench.conftest import save
from tests.models.seggpt.nano_scenes import BALL, BOX, iou, only, scene

SIZE = (120, 160)


@pytest.fixture
def bench(capsys):
    """The document of `seg bench` as typed, with one thread."""

    def typed(*arguments):
        main(["bench", *map(str, arguments), "--json", "--threads", "1", "--device", "cpu"])
        return json.loads(capsys.readouterr().out)

    return typed


@pytest.fixture
def fss(tmp_path):
    """FSS-1000's layout: striped balls and checked boxes, ten photos each, the other object beside them."""
    for number, name in ((BALL, "ball"), (BOX, "box")):
        for k in range(1, 11):
            drawn = only(scene(100 * number + k, SIZE), number)
            save(tmp_path / name / f"{k}.jpg", drawn.photo.pixels)
            save(tmp_path / name / f"{k}.png", 255 * drawn.ids)
    return tmp_path


def test_seggpt_nano_learns_each_episode_and_does_better_than_copying(bench, fss, capsys):
    typed = ["fewshot", "--data", fss, "--layout", "fss-1000", "-m", "seggpt-nano"]
    main(["bench", *map(str, typed), "--list"])
    episodes = {e["id"]: e for e in map(json.loads, capsys.readouterr().out.splitlines())}
    found = bench(*typed, "--subset", 6)
    copied = []
    for row in found["items"]:
        episode = episodes[row["episode"]]
        files = (episode["query"].replace(".jpg", ".png"), episode["supports"][0]["mask"])
        copied.append(iou(*(np.array(Pillow.open(file)) > 127 for file in files)))
    assert len(copied) == 6
    assert np.mean([row["IoU"] for row in found["items"]]) > max(0.6, np.mean(copied) + 0.3)


@pytest.fixture
def maps(tmp_path):
    """Class maps of three photos, 0 the ground, and a folder of two pairs for each class."""
    for k in range(3):
        drawn = scene(300 + k, SIZE)
        save(tmp_path / "data" / "images" / f"{k}.jpg", drawn.photo.pixels)
        save(tmp_path / "data" / "masks" / f"{k}.png", drawn.ids)
    for number, name in ((BALL, "ball"), (BOX, "box")):
        for k in range(2):
            drawn = only(scene(400 + 10 * number + k, SIZE), number)
            save(tmp_path / "shown" / name / "images" / f"{k}.jpg", drawn.photo.pixels)
            save(tmp_path / "shown" / name / "masks" / f"{k}.png", 255 * drawn.ids)
    return tmp_path


def test_classes_that_examples_show_are_scored_by_name(bench, maps):
    typed = ["semantic", "--data", maps / "data", "-m", "seggpt-nano", "--classes-dir", maps / "shown"]
    found = bench(*typed, "--per-class", 1, "--names", "box,ground,ball", "--subset", 1)
    assert found["settings"]["learned"]["per_class"] == "1"
    assert found["metrics"]["mIoU"] < 50  # names decide, not the order of folders


def test_classes_in_folders_that_are_called_by_their_numbers_need_no_names(bench, maps):
    for number, name in ((BALL, "ball"), (BOX, "box")):
        (maps / "shown" / name).rename(maps / "shown" / str(number))
    typed = ["semantic", "--data", maps / "data", "-m", "seggpt-nano", "--classes-dir", maps / "shown"]
    found = bench(*typed)
    assert found["metrics"]["mIoU"] > 60
    assert found["settings"]["classes"] == 3


@pytest.mark.parametrize("names", [None, {1: "ball", 2: "box"}])
def test_a_tuned_prompt_is_scored_by_its_ids_or_names(bench, maps, names):
    from segcli.registry.load import open_model
    from segcli.registry.tuned import PromptCard, write_prompt

    model = open_model("seggpt-nano", device="cpu", say=lambda _: None)
    task = Task("semantic", names or {BALL: None, BOX: None})
    tensors = model.tunable([scene(500, SIZE)], task)
    card = PromptCard(
        model=model.name, revision=model.revision, task=task, steps=0, seed=0, data="", start=(), figures={}
    )
    write_prompt(maps / "p.safetensors", tensors, card)
    typed = ["semantic", "--data", maps / "data", "-m", "seggpt-nano", "--prompt", maps / "p.safetensors"]
    found = bench(*typed, *(["--names", "ground,ball,box"] if names else []))
    assert found["metrics"]["mIoU"] > 50
    assert found["settings"]["learned"]["from"] == "--prompt"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            ["-m", "seggpt-nano", "--classes-dir", "shown", "--names", "ground,ball"],
            "shows 'box', which is none of the 2",
        ),
        (["-m", "seggpt-nano", "--classes-dir", "shown"], "--names"),
        (["--results", "out", "--classes-dir", "shown"], "take --results away"),
        (["-m", "seggpt-nano", "--per-class", "2"], "--per-class is for --classes-dir"),
        (["-m", "seggpt-nano", "--classes-dir", "data"], "no mask"),
    ],
)
def test_classes_that_can_not_be_shown_so_are_one_line(maps, monkeypatch, capsys, typed, words):
    monkeypatch.chdir(maps)
    (maps / "out").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["bench", "semantic", "--data", "data", *typed])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert words in line


@pytest.fixture
def davis(tmp_path):
    """DAVIS's layout: a ball and a box that move apart over a lawn."""
    (tmp_path / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2017" / "val.txt").write_text("toys\n")
    drawn = scene(7, (200, 320))
    ground = scene(8, (200, 320), objects=()).photo.pixels
    for t in range(6):
        pixels, labels = ground.copy(), np.zeros((200, 320), np.uint8)
        for number, step in ((BALL, (4, 0)), (BOX, (-4, 6))):
            mask = np.roll(drawn.ids == number, (step[0] * t, step[1] * t), (0, 1))
            pixels[mask] = np.roll(drawn.photo.pixels, (step[0] * t, step[1] * t), (0, 1))[mask]
            labels[mask] = number
        save(tmp_path / "JPEGImages" / "480p" / "toys" / f"{t:05d}.jpg", pixels)
        save(tmp_path / "Annotations" / "480p" / "toys" / f"{t:05d}.png", labels)
    return tmp_path


def test_seem_nano_follows_by_its_tracker_and_does_better_than_standing_still(bench, davis):
    folder = davis / "Annotations" / "480p" / "toys"
    still = davis / "still" / "toys"
    still.mkdir(parents=True)
    for path in folder.iterdir():
        (still / path.name).write_bytes((folder / "00000.png").read_bytes())
    found = bench("vos", "--data", davis, "-m", "seem-nano", "--memory", 2)
    assert found["settings"]["follows"] == "tracker"
    assert found["settings"]["memory"] == 2
    copied = bench("vos", "--data", davis, "--results", davis / "still")["metrics"]["J&F-Mean"]
    assert found["metrics"]["J&F-Mean"] > max(0.7, copied + 0.2)

"""`--on ray` as it is typed: what is refused, what travels to workers, and two real ones of which one is killed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from segcli.cli import spreading
from segcli.pipeline import on_ray
from tests.pipeline.fake import tree
from tests.pipeline.fake_cluster import FakeCluster

from .support import PHOTOS, Here, Seg, make_photo


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--on", "dask"], "--on dask: unknown; type ray, ray:auto, or for example ray:head.example.org:6379"),
        (["--on", "ray:"], "--on ray:: unknown"),
        (["--on", "ray:head"], "--on ray:head: unknown"),
        (["--on", "ray:ray://head:10001"], "Ray's client can't carry a run; type the cluster's own HOST:PORT, or auto"),
        (["--actors", "2"], "--actors is for --on ray; add that, or take --actors away"),
        (["--cpus-per-actor", "2"], "--cpus-per-actor is for --on ray"),
        (["--on", "ray", "--actors", "0"], "--actors 0: is not a whole number from 1 on"),
        (["--on", "ray", "--device", "cuda:1"], "--device cuda:1: Ray gives each worker a GPU of its own"),
    ],
)
def test_words_that_mean_nothing_are_refused(here: Here, photo: Path, words: list[str], said: str):
    ran = here("point", photo, "--at", "3,4", *words, model="discs")
    assert ran.code == 2
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_live_session_answers_here(here: Here):
    assert "answers here" in here("point", "--prompts", "-", "--on", "ray", model="discs").stderr


def test_without_ray_the_line_says_what_to_install(here: Here, photo: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spreading, "find_spec", lambda name: None)
    ran = here("point", photo, "--at", "3,4", "--on", "ray", model="discs")
    assert (ran.code, ran.stderr) == (
        2,
        "seg point: --on ray: Ray is not installed; type pip install 'segcli[ray]'\n",
    )


def test_an_address_that_can_not_be_reached_is_one_line_and_exit_6(here: Here, photo: Path):
    ran = here("point", photo, "--at", "3,4", "--on", "ray:127.0.0.1:1", model="discs")
    assert ran.code == 6
    assert ran.stderr == (
        "seg point: --on ray:127.0.0.1:1: can't be reached: connection refused; start it with ray start --head\n"
    )


def test_a_dry_run_and_a_finished_one_start_nothing(here: Here, photo: Path):
    typed = ("point", photo, "--at", "3,4", "-o", "out")
    nowhere = ("--on", "ray:127.0.0.1:1")
    assert here(*typed, *nowhere, "--dry-run", model="discs").stdout == f"{photo}\n".encode()
    assert here(*typed, model="discs").code == 0
    assert "1 done before" in here(*typed, *nowhere, model="discs").stderr


@pytest.fixture
def travelling(monkeypatch: pytest.MonkeyPatch) -> list[FakeCluster]:
    """Workers in this process, whose models are packed and unpacked as for Ray's processes."""
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    started = []

    def engage(wish: Any, opener: Any, batch: int, notice: Any) -> FakeCluster:
        started.append(FakeCluster(cloudpickle.loads(cloudpickle.dumps(opener)), batch, wish.actors))
        return started[-1]

    monkeypatch.setattr(on_ray, "engage", engage)
    return started


def test_every_verb_for_photos_has_the_same_answers_from_workers(here: Here, travelling: list[FakeCluster]):
    pixels = np.zeros((60, 80, 3), np.uint8)
    for name, left in (("a", 10), ("b", 20), ("c", 30)):
        drawn = pixels.copy()
        drawn[10:40, left : left + 20] = (255, 0, 0)
        drawn[45:55, 5:60] = (0, 255, 0)
        (here.cwd / "in").mkdir(exist_ok=True)
        PIL.Image.fromarray(drawn).save(here.cwd / "in" / f"{name}.png")
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 10:30] = 255
    PIL.Image.fromarray(mask).save(here.cwd / "shown.png")
    (here.cwd / "asks.jsonl").write_text(
        "".join(json.dumps({"image": f"in/{name}.png", "at": [["50%", "50%"]]}) + "\n" for name in "abc")
    )
    verbs = [
        (["point", "in", "--at", "25,20", "-f", "mask,cutout,coco"], "discs"),
        (["point", "--prompts", "asks.jsonl"], "discs"),
        (["point", "in", "--everything", "--grid", "4", "-f", "palette"], "colours"),
        (["refer", "red", "in", "-f", "mask,jsonl"], "colours"),
        (["refer", "in", "--like", "in/a.png@15,20"], "colours"),
        (["panoptic", "in", "--classes", "red,green", "-f", "panoptic,overlay"], "colours"),
        (["incontext", "in", "--example", "in/a.png:shown.png", "-f", "palette"], "shades"),
    ]
    for number, (words, model) in enumerate(verbs):
        for where, more in (("here", []), ("there", ["--on", "ray", "--actors", "2"])):
            ran = here(*words, "-o", f"{where}-{number}", *more, model=model)
            assert ran.code == 0, (words, ran.stderr)
        assert tree(here.cwd / f"here-{number}") == tree(here.cwd / f"there-{number}"), words
        assert len(tree(here.cwd / f"here-{number}")) >= 3
    assert len(travelling) == len(verbs)


def test_a_group_is_chosen_by_workers_too(here: Here, travelling: list[FakeCluster]):
    with PIL.Image.open(PHOTOS / "coffee.jpg") as whole:
        whole.resize((150, 100)).save(here.cwd / "coffee.png")
    typed = ("group", "coffee.png", "everything left of {1}", "--ref", "75,50", "--grid", "2", "--threads", "1")
    for where, more in (("here", []), ("there", ["--on", "ray", "--actors", "1"])):
        ran = here(*typed, "-o", where, *more, model=None)
        assert ran.code == 0, ran.stderr
    assert tree(here.cwd / "here") == tree(here.cwd / "there") != {}


@pytest.mark.usefixtures("ray_works")
def test_two_workers_of_which_one_is_killed_leave_what_a_plain_run_leaves(seg: Seg):
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    for number, name in enumerate(names):
        make_photo(seg.cwd / "in" / f"{name}.png", (120 + number, 90))
    (seg.cwd / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    typed = ("point", "in", "--at", "60,45", "-f", "mask,cutout,coco", "--threads", "1", "--batch", "2")
    plain = seg(*typed, "-o", "plain", model="mortal")
    marker = seg.cwd / "killed"
    spread = seg(*typed, "-o", "spread", "--on", "ray", "--actors", "2", model="mortal", MORTAL_MARKER=str(marker))

    assert marker.exists()
    assert (plain.code, spread.code) == (3, 3), spread.stderr
    assert tree(seg.cwd / "spread") == tree(seg.cwd / "plain")
    journals = [
        [{**json.loads(line), "seconds": 0} for line in (seg.cwd / out / ".seg-journal.jsonl").read_text().splitlines()]
        for out in ("plain", "spread")
    ]
    assert journals[0] == journals[1]

    assert spread.stdout == b""
    assert "2 workers on Ray, 1 CPU each" in spread.stderr
    assert re.search(r"a worker was lost: [24] photos are asked again", spread.stderr)
    told = [line for line in plain.stderr.splitlines() if "broken.png" in line]
    assert [line for line in spread.stderr.splitlines() if "broken.png" in line] == told
    assert all(line.startswith("seg point: ") for line in spread.stderr.splitlines())
    left = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert str(seg.cwd) not in left

"""The examples run as they stand, with the checkpoint that comes with seg."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from segcli.core.rle import decode, from_coco
from segcli.registry.weights import catalogue, find

from .support import PHOTOS, read_mask

EXAMPLES = PHOTOS.parent
NAMES = sorted(path.stem for path in PHOTOS.glob("*.jpg"))


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples, so that their results do not land in the checkout."""
    return Path(shutil.copytree(EXAMPLES, tmp_path_factory.mktemp("copy") / "examples"))


def run(*words: str | Path, cwd: Path) -> str:
    """Run a script with this installation's `seg` first on the path; returns its stdout."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def masks(examples: Path) -> dict[str, np.ndarray]:
    """Masks of all example photos by name, made by masks.sh."""
    run("sh", examples / "masks.sh", cwd=examples)
    found = {path.stem: read_mask(path) for path in (examples.parent / "seg-out" / "mask").rglob("*.png")}
    assert sorted(found) == NAMES
    return found


def test_every_example_photo_gets_a_mask_that_holds_its_clicks(masks: dict[str, np.ndarray]):
    for line in map(json.loads, (EXAMPLES / "prompts.jsonl").read_text().splitlines()):
        mask = masks[Path(line["image"]).stem]
        height, width = mask.shape
        assert PIL.Image.open(EXAMPLES.parent / line["image"]).size == (width, height)
        assert 0.01 < mask.mean() < 0.9
        for key, inside in (("at", True), ("not_at", False)):
            for x, y in line.get(key, []):
                column, row = (int(float(v[:-1]) / 100 * n) for v, n in ((x, width), (y, height)))
                assert mask[row, column] == inside, f"{line['image']}: {key} {x},{y}"


def test_borders_are_drawn_at_full_resolution_and_not_in_blocks(masks: dict[str, np.ndarray]):
    """A mask that was enlarged from stride 4 changes at every fourth column or row only."""
    at_fourth = everywhere = 0
    for mask in masks.values():
        for axis in (0, 1):
            places = np.nonzero(np.diff(mask.astype(np.int8), axis=axis))[axis] + 1
            at_fourth += max((places % 4 == offset).sum() for offset in range(4))
            everywhere += len(places)
    assert at_fourth / everywhere < 0.4


def test_each_photo_has_an_overlay_to_look_at(examples: Path, masks: dict[str, np.ndarray]):
    overlays = {path.stem: path for path in (examples.parent / "seg-out" / "overlay").rglob("*.*")}
    assert sorted(overlays) == NAMES
    for name, path in overlays.items():
        assert PIL.Image.open(path).size == masks[name].shape[::-1]


def test_cutouts_are_tight_with_soft_borders(examples: Path):
    run("sh", examples / "cutouts.sh", cwd=examples)
    cutouts = sorted((examples.parent / "seg-out" / "cutouts").glob("*.webp"))
    assert [path.stem for path in cutouts] == [f"{name}-cut" for name in NAMES if name != "china"]
    for path in cutouts:
        alpha = np.asarray(PIL.Image.open(path).convert("RGBA"))[..., 3]
        assert alpha.max() == 255
        assert ((alpha > 0) & (alpha < 255)).any()
        assert ((alpha > 0) & (alpha < 255)).mean() < 0.5


@pytest.mark.skipif(
    "text" not in find("seem-nano").accepts, reason="the bundled checkpoint of this installation takes no words"
)
def test_words_are_looked_for_in_photos_and_whole_photos_are_named(examples: Path):
    run("sh", examples / "words.sh", cwd=examples)
    out = examples.parent / "seg-out"
    assert {path.name for path in (out / "words").glob("*.*g")} == {
        *("chelsea.jpg", "astronaut.jpg", "coffee-cup.png", "coffee-spoon.png", "coffee-a table.png")
    }
    assert sorted(path.stem for path in (out / "whole" / "overlay").glob("*.jpg")) == NAMES
    value = json.loads((out / "whole" / "panoptic.json").read_text())
    names = {row["id"]: row["name"] for row in value["categories"]}
    found = {row["file_name"]: {names[s["category_id"]] for s in row["segments_info"]} for row in value["annotations"]}
    assert len(found) == len(NAMES)
    assert "cat" in found["chelsea.png"]


def test_the_stream_of_masks_is_counted_by_another_program(examples: Path):
    rows = run("sh", examples / "count.sh", cwd=examples).splitlines()
    assert [Path(row.split()[-1]).stem for row in rows] == NAMES
    assert all(0 < float(row.split()[0]) < 100 for row in rows)


def test_an_editor_clicks_again_and_again_in_one_session(examples: Path):
    rows = run(sys.executable, examples / "session.py", cwd=examples).splitlines()
    assert [row.partition(":")[0] for row in rows] == ["1 clicks", "2 clicks", "3 clicks"]


@pytest.mark.skipif(
    not any(entry.bundled and "video" in entry.accepts for entry in catalogue().values()),
    reason="no bundled checkpoint of this installation follows objects",
)
def test_a_view_that_pans_over_a_photo_is_followed(examples: Path):
    run("sh", examples / "video.sh", cwd=examples)
    out = examples.parent / "seg-out" / "pan-masks"
    masks = [np.asarray(PIL.Image.open(path)) for path in sorted((out / "palette" / "pan").glob("*.png"))]
    assert len(masks) == 16
    assert all(0.03 < (mask == 1).mean() < 0.7 for mask in masks)
    assert all(mask[156 - index, 261 - 7 * index] == 1 for index, mask in enumerate(masks))
    assert (out / "overlay-video" / "pan.mp4").stat().st_size > 1000
    assert (out / "cutout-video" / "pan.mov").stat().st_size > 1000


def test_a_masked_photo_says_what_is_meant_in_others(examples: Path):
    """The others are parts of its mirror image, so the first mask, mirrored, says what the answers should be."""
    run("sh", examples / "incontext.sh", cwd=examples)
    out = examples.parent / "seg-out"
    (line,) = map(json.loads, (out / "cat.jsonl").read_text().splitlines())
    expected = decode(from_coco(line["masks"][0]["rle"]))[:, ::-1]
    for name in ("whole", "part"):
        answer = read_mask(out / "incontext" / "mask" / f"{name}.png")
        truth = expected[: answer.shape[0], : answer.shape[1]]
        assert (answer & truth).sum() / (answer | truth).sum() > 0.85
        assert (out / "incontext" / "overlay" / f"{name}.jpg").is_file()


def test_a_shops_folder_loses_its_backgrounds(examples: Path):
    run("sh", examples / "shop.sh", cwd=examples)
    for path in (examples.parent / "seg-out" / "shop").glob("*.png"):
        with PIL.Image.open(path) as cutout, PIL.Image.open(PHOTOS / f"{path.stem}.jpg") as photo:
            assert cutout.width < photo.width or cutout.height < photo.height
            pixels = np.asarray(cutout.convert("RGB"))
        assert (pixels[0] == 255).mean() > 0.9
        assert (pixels == 255).all(axis=2).mean() < 0.9
    assert len(list((examples.parent / "seg-out" / "shop").glob("*.png"))) == 2


def test_labelling_goes_on_where_the_first_evening_ended(examples: Path):
    run("sh", examples / "label.sh", cwd=examples)
    value = json.loads((examples.parent / "seg-out" / "labelled" / "instances.json").read_text())
    assert sorted(Path(photo["file_name"]).stem for photo in value["images"]) == NAMES
    done = (examples.parent / "seg-out" / "labelled" / ".seg-journal.jsonl").read_text().count('{"done":')
    assert done == len(NAMES)


def test_a_gate_counts_clicks_and_writes_what_a_job_shows(examples: Path):
    run("sh", examples / "gate.sh", cwd=examples)
    assert (examples.parent / "seg-out" / "gate" / "clicks.csv").read_text().count("\n") == 3
    assert 'failures="0"' in (examples.parent / "seg-out" / "gate" / "clicks.xml").read_text()


def test_two_annotators_are_compared_and_merged(examples: Path):
    said = run("sh", examples / "annotators.sh", cwd=examples)
    assert 0.3 < float(said.split()[0]) < 1
    merged = json.loads((examples.parent / "seg-out" / "annotators" / "agreed" / "instances.json").read_text())
    both = json.loads((examples.parent / "seg-out" / "annotators" / "bert" / "instances.json").read_text())
    assert 0 < merged["annotations"][0]["area"] <= both["annotations"][0]["area"]


def test_labelme_files_become_a_yolo_data_set(examples: Path):
    run("sh", examples / "yolo.sh", cwd=examples)
    out = examples.parent / "seg-out" / "yolo"
    assert {path.name: path.read_text().split()[0] for path in out.rglob("[cf]*.txt") if path.stem != "classes"} == {
        "chelsea.txt": "0",
        "flower.txt": "1",
    }


def test_an_array_of_jobs_writes_one_file_of_all_photos(examples: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    for number in ("1", "2"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", number)
        run("sh", examples / "slurm.sh", cwd=examples)
    value = json.loads((examples.parent / "seg-out" / "array" / "instances.json").read_text())
    assert sorted(Path(photo["file_name"]).stem for photo in value["images"]) == NAMES


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed: the example would start a cluster")
def test_without_ray_the_example_says_what_to_install(examples: Path):
    assert run("sh", examples / "ray.sh", cwd=examples) == ""
    assert not (examples.parent / "seg-out" / "ray").exists()


@pytest.mark.usefixtures("ray_works")
def test_workers_on_ray_answer_all_photos(examples: Path):
    run("sh", examples / "ray.sh", cwd=examples)
    value = json.loads((examples.parent / "seg-out" / "ray" / "instances.json").read_text())
    assert sorted(Path(photo["file_name"]).stem for photo in value["images"]) == NAMES


@pytest.mark.skipif(shutil.which("bash") is None, reason="coprocesses are bash's")
def test_a_shell_talks_with_one_session(examples: Path):
    rows = run("bash", examples / "coprocess.sh", cwd=examples).splitlines()
    assert len(rows) == 2
    assert all(int(row.split()[0]) > 100 for row in rows)

"""`seg point` from the outside: what is typed, what is written, what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from .support import Seg, make_photo, read_mask


def test_one_click_gives_one_mask_of_the_photos_size_and_name(seg: Seg, photo: Path):
    ran = seg("point", photo, "--at", "60,45")
    assert (ran.code, ran.stdout) == (0, b"")
    mask = read_mask(seg.cwd / "seg-out" / "photo.png")
    assert mask.shape == (90, 120)
    assert mask[45, 60]
    assert not mask[0, 0]


def test_auto_names_its_device_once_and_an_absent_device_is_refused_with_exit_6(seg: Seg, photo: Path):
    ran = seg("point", photo, "--at", "60,45")
    assert ran.stderr.count("discs on") == 1
    refused = seg("point", photo, "--at", "60,45", "--device", "cuda:99", "-o", "other")
    assert refused.code == 6
    assert "--device cuda:99" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_percentages_mean_the_same_place_in_photos_of_any_size(seg: Seg):
    make_photo(seg.cwd / "in" / "small.png", (100, 60))
    make_photo(seg.cwd / "in" / "large.png", (200, 300))
    assert seg("point", "in", "--at", "50%,50%").code == 0
    assert read_mask(seg.cwd / "seg-out" / "small.png")[30, 50]
    assert read_mask(seg.cwd / "seg-out" / "large.png")[150, 100]


def test_a_click_outside_a_single_photo_is_exit_2_and_names_the_click(seg: Seg, photo: Path):
    ran = seg("point", photo, "--at", "500,45")
    assert ran.code == 2
    assert "500,45" in ran.stderr
    assert "photo.png" in ran.stderr
    assert ran.stderr.strip().count("\n") == ran.stderr.count("discs on")
    assert not list((seg.cwd / "seg-out").glob("*.png"))


def test_in_a_list_only_the_photo_that_the_click_misses_fails(seg: Seg):
    make_photo(seg.cwd / "in" / "large.png", (300, 300))
    make_photo(seg.cwd / "in" / "small.png", (50, 50))
    (seg.cwd / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    ran = seg("point", "in", "--at", "200,200", "--json")
    assert ran.code == 3
    summary = ran.lines[-1]["summary"]
    assert (summary["done"], summary["failed"], summary["exit_code"]) == (1, 2, 3)
    failed = {Path(line["image"]).name: line["code"] for line in ran.lines if "error" in line}
    assert failed == {"small.png": 2, "broken.jpg": 3}
    said = [line for line in ran.stderr.splitlines() if "small.png" in line or "broken.jpg" in line]
    assert len(said) == 2
    assert [p.name for p in (seg.cwd / "seg-out").glob("*.png")] == ["large.png"]


@pytest.mark.parametrize("output", ["in", "in/{stem}-mask.png"])
def test_the_same_command_goes_on_where_results_lie_among_the_photos(seg: Seg, output: str):
    for name in ("a.jpg", "b.jpg"):
        make_photo(seg.cwd / "in" / name)
    words = ("point", "in", "--at", "60,45", "-o", output)
    assert seg(*words).code == 0
    first = {path.name for path in (seg.cwd / "in").iterdir()}
    make_photo(seg.cwd / "in" / "c.jpg")
    ran = seg(*words, "--json")
    summary = ran.lines[-1]["summary"]
    assert (ran.code, summary["total"], summary["done"], summary["skipped"]) == (0, 3, 1, 2), ran.stderr
    mask = "c.png" if output == "in" else "c-mask.png"
    assert {path.name for path in (seg.cwd / "in").iterdir()} == {*first, "c.jpg", mask}


def test_a_result_among_the_photos_is_masked_when_it_is_named_and_a_photo_in_its_place_always(seg: Seg):
    make_photo(seg.cwd / "in" / "a.jpg")
    words = ("--at", "60,45", "-o", "in/{stem}-mask.png")
    assert seg("point", "in", *words).code == 0
    assert seg("point", "in/a-mask.png", *words).code == 0
    (seg.cwd / "in" / "a.jpg").unlink()
    refused = seg("point", "in", *words)
    assert (refused.code, "in: no photos in it, only results of earlier runs" in refused.stderr) == (4, True)
    make_photo(seg.cwd / "in" / "a-mask.png", (200, 150))
    assert seg("point", "in", *words, "--force").code == 0
    assert read_mask(seg.cwd / "in" / "a-mask-mask.png").shape == (150, 200)


def test_each_makes_every_click_and_box_an_object_of_its_own(seg: Seg, photo: Path):
    ran = seg("point", photo, "--at", "30,45", "--at", "90,45", "--not-at", "60,45", "--each", "-f", "jsonl", "-o", "-")
    assert ran.code == 0
    assert [line["ask"]["at"] for line in ran.lines] == [[[30, 45]], [[90, 45]]]
    assert all(line["ask"]["not_at"] == [[60, 45]] for line in ran.lines)


def test_each_in_a_format_that_holds_several_objects_is_one_file_a_photo(seg: Seg, photo: Path):
    words = ("point", photo, "--at", "20,45", "--at", "100,45", "--each")
    assert seg(*words, "-f", "palette,mask,overlay,labelme,yolo,jsonl,coco,panoptic", "-o", "out").code == 0
    out = seg.cwd / "out"
    assert [p.name for p in sorted((out / "mask").iterdir())] == ["photo-1.png", "photo-2.png"]
    for kind, suffix in (("palette", "png"), ("overlay", "jpg"), ("labelme", "json"), ("yolo", "txt")):
        assert [p.name for p in (out / kind).iterdir()] == [f"photo.{suffix}"]
    ids = np.asarray(PIL.Image.open(out / "palette" / "photo.png"))
    assert (ids[45, 20], ids[45, 100]) == (1, 2)
    first, second = (read_mask(out / "mask" / f"photo-{n}.png") for n in (1, 2))
    assert np.array_equal(ids == 1, first)
    assert np.array_equal(ids == 2, second & ~first)
    assert len(json.loads((out / "labelme" / "photo.json").read_text())["shapes"]) == 2
    assert len((out / "yolo" / "photo.txt").read_text().splitlines()) == 2
    lines = [json.loads(line) for line in (out / "masks.jsonl").read_text().splitlines()]
    assert [[mask["id"] for mask in line["masks"]] for line in lines] == [[1], [2]]
    (annotation,) = json.loads((out / "panoptic.json").read_text())["annotations"]
    assert (annotation["file_name"], [s["id"] for s in annotation["segments_info"]]) == ("photo.png", [1, 2])
    assert len(json.loads((out / "instances.json").read_text())["annotations"]) == 2


def test_a_template_that_names_the_ask_keeps_objects_apart(seg: Seg, photo: Path):
    words = ("point", photo, "--at", "20,45", "--at", "100,45", "--each", "-f", "palette")
    assert seg(*words, "-o", "out/{stem}-{ask}.png").code == 0
    values = [np.unique(PIL.Image.open(seg.cwd / "out" / f"photo-{n}.png")).tolist() for n in (1, 2)]
    assert values == [[0, 1], [0, 1]]


def test_all_prompts_together_are_one_object(seg: Seg, photo: Path):
    stroke = seg.cwd / "stroke.png"
    drawn = np.zeros((90, 120), np.uint8)
    drawn[80:85, 5:10] = 255
    PIL.Image.fromarray(drawn).save(stroke)
    rough = seg.cwd / "rough.png"
    PIL.Image.fromarray(drawn[::-1, ::-1].copy()).save(rough)
    ran = seg(
        *("point", photo, "--at", "60,45", "--not-at", "70,45", "--box", "0,0,10,10", "--not-box", "5,5,10,10"),
        *("--scribble", "100,10;110,10", "--scribble", stroke, "--not-scribble", "0,89;119,89"),
        *("--polygon", "20,60;40,60;40,80", "--mask", rough, "--refine", stroke, "-f", "jsonl,mask", "-o", "out"),
    )
    assert ran.code == 0
    (line,) = [json.loads(text) for text in (seg.cwd / "out" / "masks.jsonl").read_text().splitlines()]
    assert set(line["ask"]) == {
        *("at", "not_at", "box", "not_box", "scribble", "not_scribble", "polygon", "mask", "previous")
    }
    assert len(line["ask"]["scribble"]) == 2
    assert read_mask(next((seg.cwd / "out" / "mask").glob("*.png")))[82, 7]


def test_multimask_gives_all_answers_with_their_scores(seg: Seg, photo: Path):
    ran = seg("point", photo, "--at", "60,45", "--multimask", "-f", "jsonl", "-o", "-")
    assert [mask["score"] for mask in ran.lines[0]["masks"]] == [0.9, 0.5, 0.1]


def test_the_bytes_of_a_photo_come_on_stdin_and_the_mask_goes_to_stdout(seg: Seg, photo: Path):
    ran = seg("point", "-", "--at", "60,45", "-o", "-", stdin=photo.read_bytes())
    assert ran.code == 0
    assert ran.stdout.startswith(b"\x89PNG")
    assert not (seg.cwd / "seg-out").exists()


def test_a_second_run_does_nothing_and_a_different_one_is_refused_until_forced(seg: Seg, photo: Path):
    assert seg("point", photo, "--at", "60,45").code == 0
    first = (seg.cwd / "seg-out" / "photo.png").read_bytes()
    again = seg("point", photo, "--at", "60,45", "--json")
    assert again.code == 0
    assert again.lines[-1]["summary"]["skipped"] == 1
    other = seg("point", photo, "--at", "20,20")
    assert other.code != 0
    assert "--force" in other.stderr
    assert (seg.cwd / "seg-out" / "photo.png").read_bytes() == first
    assert seg("point", photo, "--at", "20,20", "--force").code == 0
    assert (seg.cwd / "seg-out" / "photo.png").read_bytes() != first


def test_a_dry_run_names_what_it_would_do_and_writes_nothing(seg: Seg, photo: Path):
    ran = seg("point", photo, "--at", "60,45", "--dry-run")
    assert (ran.code, ran.stdout.decode().strip()) == (0, str(photo))
    assert not (seg.cwd / "seg-out").exists()


def test_a_template_names_the_files_and_the_tree_is_mirrored_without_one(seg: Seg):
    make_photo(seg.cwd / "in" / "a" / "one.png")
    make_photo(seg.cwd / "in" / "b" / "one.png")
    assert seg("point", "in", "-r", "--at", "60,45").code == 0
    assert {str(p.relative_to(seg.cwd / "seg-out")) for p in (seg.cwd / "seg-out").rglob("*.png")} == {
        "a/one.png",
        "b/one.png",
    }
    assert seg("point", "in", "-r", "--at", "60,45", "-o", "flat/{parent}-{stem}.png").code == 0
    assert {p.name for p in (seg.cwd / "flat").glob("*.png")} == {"a-one.png", "b-one.png"}


def test_results_may_go_beside_the_photos(seg: Seg):
    make_photo(seg.cwd / "in" / "one.jpg")
    (seg.cwd / "in" / "notes.txt").touch()
    assert seg("point", "in/*.jpg", "--at", "60,45", "-o", "in/{stem}-mask.png").code == 0
    ran = seg("point", "in/*.jpg", "--at", "60,45", "-o", "{stem}-mask.png")
    assert ran.code == 0, ran.stderr
    assert (seg.cwd / "one-mask.png").read_bytes() == (seg.cwd / "in" / "one-mask.png").read_bytes()


def test_a_prompts_file_asks_many_photos_many_things(seg: Seg):
    make_photo(seg.cwd / "a.png")
    make_photo(seg.cwd / "b.png")
    lines = [
        {"image": "a.png", "id": "left", "at": [[20, 45]]},
        {"image": "b.png", "rounds": [{"at": [[60, 45]]}, {"at": [[60, 45]], "not_at": [["90%", "50%"]]}]},
        {"image": "./a.png", "id": "right", "box": [80, 10, 110, 80]},
    ]
    (seg.cwd / "asks.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert seg("point", "--prompts", "asks.jsonl").code == 0
    out = seg.cwd / "seg-out"
    assert {p.name for p in out.glob("*.png")} == {"a-left.png", "a-right.png", "b.png"}
    assert read_mask(out / "a-right.png")[10:81, 80:111].all()


def test_prompts_and_masks_may_come_through_pipes_of_the_shell(seg: Seg, photo: Path):
    rough = seg.cwd / "rough.png"
    PIL.Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), ((30, 40), (50, 50)))).save(rough)
    line = json.dumps({"image": "photo.png", "at": [[9, 9]]})
    seg_here = f"{sys.executable} -m segcli"
    for words in (f"--prompts <(echo '{line}') -o a", "photo.png --mask <(cat rough.png) -o b"):
        shell = ["bash", "-c", f"{seg_here} point {words} -m discs"]
        done = subprocess.run(shell, cwd=seg.cwd, env=seg.environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert read_mask(seg.cwd / "b" / "photo.png").sum() == 400


def test_a_live_session_answers_each_line_before_the_next_is_sent(seg: Seg, photo: Path):
    process = seg.start("point", "--prompts", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    answers = []
    for line in (
        '{"image": "photo.png", "id": "1", "at": [[60, 45]]}',
        "nonsense",
        '{"image": "photo.png", "at": [9, 9]}',
    ):
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
        answers.append(json.loads(process.stdout.readline()))
    process.stdin.close()
    assert process.wait() == 3
    assert ["masks" in answer for answer in answers] == [True, False, True]
    assert "error" in answers[1]


def test_a_reader_that_leaves_early_is_no_error_to_talk_about(seg: Seg):
    for number in range(3):
        make_photo(seg.cwd / "in" / f"{number}.png")
    read, write = os.pipe()
    os.close(read)
    process = seg.start("point", "in", "--at", "60,45", "-f", "jsonl", "-o", "-", "-q", stdout=write, stderr=-1)
    os.close(write)
    _, said = process.communicate()
    assert process.returncode == 141
    assert said == b""


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(seg: Seg):
    for number in range(40):
        make_photo(seg.cwd / "in" / f"{number}.png", (600, 600))
    process = seg.start("point", "in", "--at", "60,45", "--json", "--batch", "1", stdout=-1, stderr=-1)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in said
    again = seg("point", "in", "--at", "60,45", "--json")
    summary = again.lines[-1]["summary"]
    assert summary["skipped"] >= 1
    assert summary["skipped"] + summary["done"] == 40


def test_a_full_disk_behind_stdout_is_exit_4_in_one_line(seg: Seg, photo: Path):
    with Path("/dev/full").open("wb") as full:
        process = seg.start("point", photo, "--at", "60,45", "-o", "-", "-q", stdout=full, stderr=-1)
        _, said = process.communicate()
    assert process.returncode == 4
    assert said.decode().count("\n") == 1
    assert "stdout: no space left" in said.decode()

"""`seg vos` from the outside: what is typed, what is written, what is said."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from segcli.io.images import read_indexed
from tests.io.video import clips

from .support import Here, Ran

ROOT = Path(__file__).parents[2]
ENTRY = """[{name}]
system = "followers"
config = "plain"
licence = "Apache-2.0"
folder = "{folder}"
files = [{{ name = "followers.safetensors" }}]
accepts = {accepts}
"""
BUILD = """from tests.pipeline.track.stub import Model


def build(config, tensors, **_):
    tensors["nothing"]
    return Model()
"""


@pytest.fixture(scope="module")
def followers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PYTHONPATH where a model that follows colours is installed."""
    from safetensors.numpy import save_file

    site = tmp_path_factory.mktemp("followers")
    package = site / "segfollowers"
    package.mkdir()
    (package / "__init__.py").write_text(BUILD)
    save_file({"nothing": np.zeros(1, np.float32)}, package / "followers.safetensors")
    entries = {
        "follows": '["point", "box", "text", "previous", "video"]',
        "no-words": '["point", "box", "previous"]',
        "no-video": '["text"]',
    }
    toml = "\n".join(ENTRY.format(name=name, folder=package, accepts=accepts) for name, accepts in entries.items())
    (package / "weights.toml").write_text(toml)
    info = site / "segfollowers-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: segfollowers\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[seg.models]\nfollowers = segfollowers:build\n")
    return site


@pytest.fixture
def vos(tmp_path, followers, monkeypatch, capfdbinary):
    """`seg vos … -m follows --first-model follows` in an empty directory, in this process."""
    for key in [key for key in os.environ if key.startswith(("SEG_", "_SEG", "COLUMNS"))]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(followers / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(followers / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(followers))
    seg = Here(tmp_path, monkeypatch, capfdbinary)

    def run(*words: str | Path, first: str = "follows", model: str | None = "follows", stdin: bytes = b"") -> Ran:
        return seg("vos", *words, "--first-model", first, model=model, stdin=stdin)

    return run


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return clips.clip(tmp_path / "clip.mp4", 6)


def ids(path: Path) -> np.ndarray:
    return read_indexed(path, str(path))


def test_a_click_gives_one_indexed_png_a_frame(vos, video, tmp_path):
    ran = vos(video, "--at", "12,14")
    assert ran.code == 0, ran.stderr
    assert ran.stdout == b""
    for index in range(6):
        mask = ids(tmp_path / "seg-out" / "clip" / f"{index:05d}.png")
        assert clips.iou(mask == 1, clips.disc(index, row=0.3)) > 0.9


def test_a_mask_of_the_first_frame_is_what_is_followed(vos, video, tmp_path):
    mask = clips.write_mask(tmp_path / "m.png", clips.both_discs())
    assert vos(video, "--first", mask).code == 0
    assert set(np.unique(ids(tmp_path / "seg-out/clip/00005.png"))) == {0, 1, 2}


def test_black_and_white_masks_are_one_object(vos, video, tmp_path):
    grey = np.where(clips.disc(0, row=0.3), 255, 0).astype(np.uint8)
    PIL.Image.fromarray(grey).save(tmp_path / "grey.png")
    PIL.Image.fromarray(np.repeat(grey[..., None], 3, 2)).save(tmp_path / "rgb.png")
    for name in ("grey", "rgb"):
        assert vos(video, "--first", f"{name}.png", "-o", name).code == 0
        assert set(np.unique(ids(tmp_path / name / "clip/00003.png"))) == {0, 1}


def test_prompts_name_objects_and_frames(vos, video, tmp_path):
    ran = vos(
        *(video, "--at", "1=12,14", "--refer", "2=blue@2", "--box", "3=0,0,10%,10%@4", "--drop", "1@4"),
        *("--not-at", "2=1,1@2"),
    )
    assert ran.code == 0, ran.stderr
    present = [set(np.unique(ids(path))) - {0} for path in sorted((tmp_path / "seg-out/clip").iterdir())]
    assert present[:4] == [{1}, {1}, {1, 2}, {1, 2}]
    assert 1 not in present[4]
    assert 3 in present[4]


def test_words_need_a_model_that_takes_them_and_the_line_names_some(vos, video):
    ran = vos(video, "--refer", "the red disc", first="no-words")
    assert ran.code == 2
    assert "--refer" in ran.stderr
    assert "--first-model" in ran.stderr
    assert "follows" in ran.stderr


def test_a_checkpoint_that_takes_no_videos_is_refused_with_those_that_do(vos, video):
    ran = vos(video, "--at", "3,3", model="no-video")
    assert ran.code == 2
    assert "follows" in ran.stderr


REFUSED = [
    (["clip.mp4"], "nothing to follow"),
    (["clip.mp4", "--at", "x,y"], "--at x,y"),
    (["clip.mp4", "--at", "300=1,1"], "1 to 255"),
    (["clip.mp4", "--at", "0=1,1"], "1 to 255"),
    (["clip.mp4", "--at", "1,1", "--drop", "1"], "--drop 1@120|--drop 2@120"),
    (["clip.mp4", "--at", "1,1", "--drop", "2@3"], "object 2 is not there"),
    (["clip.mp4", "--at", "500,1"], "500,1"),
    (["clip.mp4", "--at", "1,1", "--from", "4", "--until", "4"], "--until 4"),
    (["clip.mp4", "--at", "1,1", "--stride", "0"], "--stride 0"),
    (["clip.mp4", "--at", "1,1", "--memory-kind", "hard"], "--memory-kind hard"),
    (["clip.mp4", "--at", "1,1", "-f", "mask"], "-f mask"),
    (["clip.mp4", "--at", "1,1", "-o", "-"], "-f jsonl"),
    (["clip.mp4", "--at", "1,1", "--audio"], "--audio"),
    (["clip.mp4", "--at", "1,1", "--cutout-codec", "vp9"], "--cutout-codec"),
    (["clip.mp4", "--first", "gone.png"], "gone.png"),
    (["clip.mp4", "--first", "{where}.png"], "{stem}"),
    (["clip.mp4", "--masks", "gone"], "--masks gone"),
    (["-", "--at", "1,1"], "--raw"),
    (["-", "--raw", "64", "--at", "1,1"], "--raw 64"),
    (["-", "--raw", "64x48", "--fps", "0", "--at", "1,1"], "--fps 0"),
    (["-", "--raw", "64x48", "--both-ways", "--at", "1,1"], "--both-ways"),
    (["--at", "1,1"], "no video given"),
    (["clip.mp4", "--refer", "red", "--refer", "blue"], "--refer blue"),
    (["clip.mp4", "--at", "1=1,1", "--at", "1=2,2@0"], "@0"),
    (["clip.mp4", "--at", "1,1", "--max-size", "2"], "--max-size 2"),
    (["clip.mp4", "--refer", "nothing of the kind"], "nothing of the kind"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_can_not_be_meant_is_exit_2_in_one_line_that_names_it(vos, video, tmp_path, words, said):
    ran = vos(*words)
    assert ran.code == 2, ran.stderr
    assert any(part in ran.stderr for part in said.split("|")), ran.stderr
    lines = [line for line in ran.stderr.strip().splitlines() if " on cpu" not in line]
    assert len(lines) == 1
    assert not list(tmp_path.rglob("*.png"))


def test_a_video_that_is_not_there_is_exit_4_and_a_broken_one_exit_3(vos, tmp_path):
    assert vos("gone.mp4", "--at", "1,1").code == 4
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    ran = vos("bad.mp4", "--at", "1,1")
    assert ran.code == 3
    assert "bad.mp4: is not a video" in ran.stderr


def test_a_second_run_does_nothing_another_one_is_refused_and_json_counts(vos, video, tmp_path):
    assert vos(video, "--at", "12,14").code == 0
    again = vos(video, "--at", "12,14", "--json")
    assert again.lines[-1]["summary"]["skipped"] == 1
    other = vos(video, "--at", "12,36")
    assert other.code == 3
    assert "--force" in other.stderr
    assert vos(video, "--at", "12,36", "--force").code == 0
    assert ids(tmp_path / "seg-out/clip/00000.png")[36, 12] == 1


def test_json_says_in_how_many_frames_each_object_has_a_mask(vos, video):
    words = (video, "--at", "12,14", "--at", "3=12,36@2", "--drop", "1@5", "--json")
    done, before = vos(*words), vos(*words)
    for ran in (done, before):
        item, last = ran.lines
        assert item["masks"] == [5, 4]
        assert last["summary"]["empty"] == 0
    assert before.lines[0]["skipped"]


def test_an_object_that_no_frame_shows_is_counted_as_empty_and_named(vos):
    data = b"".join(clips.picture(index).tobytes() for index in range(3))
    raw = ("-", "--raw", f"{clips.SIZE[1]}x{clips.SIZE[0]}", "--json")
    ran = vos(*raw, "--at", "12,14", "--at", "2=12,36@7", stdin=data)  # its frame never comes
    item, last = ran.lines
    assert (ran.code, item["masks"], last["summary"]["empty"]) == (0, [3, 0], 1)
    assert "nothing found in - (1 of 2 objects)" in ran.stderr


def test_a_dry_run_names_the_videos_and_writes_nothing(vos, video, tmp_path):
    ran = vos(video, "--at", "12,14", "-n")
    assert (ran.code, ran.stdout.decode().strip()) == (0, str(video))
    assert not (tmp_path / "seg-out").exists()


def test_a_list_gives_every_video_its_own_first_mask(vos, tmp_path):
    for name in ("a", "b"):
        clips.folder(tmp_path / "in" / name, 3)
    clips.write_mask(tmp_path / "masks" / "a.png", np.where(clips.both_discs() == 1, 1, 0))
    clips.write_mask(tmp_path / "masks" / "b.png", np.where(clips.both_discs() == 2, 5, 0))
    (tmp_path / "videos.txt").write_text("in/a\nin/b\n")
    assert vos("--list", "videos.txt", "--first", "masks/{stem}.png").code == 0
    assert set(np.unique(ids(tmp_path / "seg-out/in/a/00002.png"))) == {0, 1}
    assert set(np.unique(ids(tmp_path / "seg-out/in/b/00002.png"))) == {0, 5}


def test_files_of_one_stem_keep_their_whole_names(vos, tmp_path):
    clips.clip(tmp_path / "one.mp4", 2)
    clips.clip(tmp_path / "one.mkv", 2)
    assert vos("one.m*", "--at", "12,14").code == 0
    assert sorted(path.name for path in (tmp_path / "seg-out").iterdir() if path.name[0] != ".") == [
        "one.mkv",
        "one.mp4",
    ]


def test_raw_frames_come_on_stdin_and_lines_go_to_stdout(vos):
    data = b"".join(clips.picture(index).tobytes() for index in range(4))
    ran = vos("-", "--raw", "64x48", "--fps", "10", "--refer", "blue", "-f", "jsonl", "-o", "-", stdin=data)
    assert ran.code == 0, ran.stderr
    assert [(line["frame"], line["time"], len(line["masks"])) for line in ran.lines] == [
        (0, 0.0, 1),
        (1, 0.1, 1),
        (2, 0.2, 1),
        (3, 0.3, 1),
    ]


def test_all_formats_at_once_have_directories_of_their_own(vos, video, tmp_path):
    formats = "palette,jsonl,mask-video,overlay-video,cutout-video,cutout"
    assert vos(video, "--at", "12,14", "-f", formats).code == 0
    files = sorted(str(p.relative_to(tmp_path / "seg-out")) for p in (tmp_path / "seg-out").rglob("*") if p.is_file())
    shown = [name for name in files if not name.startswith(".") and not name.endswith("png")]
    assert shown == ["cutout-video/clip.mov", "jsonl/clip.jsonl", "mask-video/clip.mp4", "overlay-video/clip.mp4"]
    assert len([name for name in files if name.endswith("png")]) == 12
    assert json.loads((tmp_path / "seg-out/jsonl/clip.jsonl").read_text().splitlines()[3])["frame"] == 3


def test_the_tracker_that_is_left_out_is_a_bundled_one_if_there_is_any(vos):
    from segcli.cli.vos import tracker_entry
    from segcli.registry.weights import catalogue

    chosen = tracker_entry(None)
    assert "video" in chosen.accepts
    bundled = [entry for entry in catalogue().values() if entry.bundled and "video" in entry.accepts]
    assert (chosen in bundled) == bool(bundled)


def test_it_is_a_program_of_its_own_too(followers, video, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(followers), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
        "XDG_CONFIG_HOME": str(followers / "config"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "segcli", "vos", video, "--at", "12,14", "-m", "follows", "--first-model", "follows"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "seg-out" / "clip").iterdir())) == 6
    assert io.BytesIO(done.stdout).read() == b""

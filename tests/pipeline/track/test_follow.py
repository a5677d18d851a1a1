"""What is followed: prompts at any frame, objects that come and go, both directions, strides, and what is refused."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path, PurePosixPath

import av
import numpy as np
import PIL.Image
import pytest
from tests.io.video import clips
from tests.pipeline.track import stub
from tests.pipeline.track.stub import Heard, Model, do

from segcli.cli.videooptions import VIDEO_FORMATS as TYPED
from segcli.core.ask import Ask, Box, Point
from segcli.core.geometry import Percent
from segcli.io.images import read_indexed
from segcli.io.video.opening import open_source
from segcli.io.video.raw import RawFrames
from segcli.pipeline.track.first import FirstMasks
from segcli.pipeline.track.plan import (
    VIDEO_FORMATS,
    Following,
    Prompts,
    Said,
    VideoItem,
    VideoOutput,
    VideoPlan,
)
from segcli.pipeline.track.run import VideoHow, run_videos

RED, BLUE = Ask(points=(Point(12, 14),)), Ask(points=(Point(12, 36),))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return clips.folder(tmp_path / "clip", 12)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def given(path: Path, ids: np.ndarray) -> Prompts:
    return Prompts({0: Said(masks=clips.write_mask(path / "given.png", ids))})


def ids(out: Path, index: int) -> np.ndarray:
    return read_indexed(out / "clip" / f"{index:05d}.png", "")


def test_the_verb_offers_the_formats_that_there_are():
    assert TYPED == VIDEO_FORMATS


def test_each_frame_gets_an_indexed_png_of_its_name_with_the_objects_that_were_given(video, out, tmp_path):
    assert do(video, out, given(tmp_path, clips.both_discs())).exit_code == 0
    assert [path.name for path in sorted((out / "clip").iterdir())] == [f"{n:05d}.png" for n in range(12)]
    for index in range(12):
        assert np.array_equal(ids(out, index), clips.both_discs(index=index))
    assert np.array_equal(ids(out, 0), clips.both_discs())


def test_clicks_boxes_and_words_are_answered_by_the_first_model_in_the_frame_they_are_for(video, out):
    model = Model()
    box = Ask(boxes=(Box(Percent(0), Percent(0), Percent(20), Percent(10)),))
    prompts = Prompts({0: Said({1: RED}), 4: Said({2: Ask(text="blue")}), 6: Said({3: box})})
    assert do(video, out, prompts, model=model).exit_code == 0
    assert [name.rsplit("/", 1)[1] for name, _ in model.asked] == ["00000.png", "00004.png", "00006.png"]
    assert set(np.unique(ids(out, 3))) == {0, 1}
    assert set(np.unique(ids(out, 4))) == {0, 1, 2}
    assert (ids(out, 6)[:4, :12] == 3).all()
    assert clips.iou(ids(out, 9) == 2, clips.both_discs(index=9) == 2) > 0.95


def test_masks_at_any_frame_bring_objects_later(video, out, tmp_path):
    masks = tmp_path / "masks"
    first = clips.both_discs()
    clips.write_mask(masks / "00000.png", np.where(first == 1, 1, 0))
    late = clips.both_discs(index=5)
    clips.write_mask(masks / "00005.png", np.where(late == 2, 2, 0))
    model = Model()
    assert do(video, out, Prompts({}, masks), model=model).exit_code == 0
    assert [objects for _, _, objects in model.trackers[0].seen] == [(1,), *[()] * 4, (2,), *[()] * 6]
    assert set(np.unique(ids(out, 4))) == {0, 1}
    assert np.array_equal(ids(out, 8), clips.both_discs(index=8))


def test_a_mask_that_fits_no_frame_is_refused_before_anything_is_followed(video, out, tmp_path):
    clips.write_mask(tmp_path / "masks" / "00007x.png", clips.both_discs())
    heard, model = Heard(), Model()
    assert do(video, out, Prompts({}, tmp_path / "masks"), events=heard, model=model).exit_code == 2
    assert "00007x.png: there is no frame of that name" in str(heard.errors[0])
    assert not model.trackers


def test_a_correction_asks_with_what_the_tracker_says_and_the_answer_is_true(video, out, tmp_path):
    model = Model()
    first = given(tmp_path, np.where(clips.both_discs() == 1, 1, 0)).said[0]
    prompts = Prompts({0: first, 3: Said({1: Ask(points=(Point(13, 36),))})})
    assert do(video, out, prompts, model=model).exit_code == 0
    ((name, ask),) = model.asked
    assert name.endswith("00003.png")
    assert ask.previous is not None
    both = clips.both_discs(index=3) > 0
    assert np.array_equal(ids(out, 3) == 1, both)
    tracker = model.trackers[0]
    assert [objects for _, _, objects in tracker.seen].count((1,)) == 2
    assert len(tracker.seen) == 13, "asked once more, and the memory put back"


def test_a_dropped_object_is_gone_from_that_frame_on_and_may_come_back(video, out, tmp_path):
    start = given(tmp_path, clips.both_discs()).said[0]
    prompts = Prompts({0: start, 4: Said(drops=frozenset({1})), 8: Said({1: RED})})
    assert do(video, out, prompts).exit_code == 0
    present = [1 in ids(out, index) for index in range(12)]
    assert present == [True] * 4 + [False] * 4 + [True] * 4
    assert all(2 in ids(out, index) for index in range(12))


def test_dropping_what_is_not_there_is_refused(video, out):
    heard = Heard()
    prompts = Prompts({0: Said({1: RED}), 4: Said(drops=frozenset({7}))})
    assert do(video, out, prompts, events=heard).exit_code == 2
    assert "--drop 7@4" in str(heard.errors[0])


def test_from_and_until_bound_the_frames(video, out):
    assert do(video, out, Prompts({3: Said({1: RED})}), start=3, stop=9).exit_code == 0
    assert [path.stem for path in sorted((out / "clip").iterdir())] == [f"{n:05d}" for n in range(3, 9)]
    heard = Heard()
    assert do(video, out / "b", Prompts({2: Said({1: RED})}), start=3, events=heard).exit_code == 2
    assert "a prompt is for frame 2" in str(heard.errors[0])
    assert do(video, out / "c", Prompts({40: Said({1: RED})}), start=40, events=heard).exit_code == 3
    assert "has no frame 40" in str(heard.errors[-1])


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_prompt_beyond_the_end_is_refused_before_anything_is_followed(tmp_path, out, kind):
    path = clips.folder(tmp_path / "clip", 4) if kind == "folder" else clips.clip(tmp_path / "clip.mp4", 4)
    heard, model = Heard(), Model()
    prompts = Prompts({0: Said({1: RED}), 4: Said({2: BLUE})})
    assert do(path, out, prompts, events=heard, model=model).exit_code == 2
    assert "frame 4, the video has frames 0 to 3" in str(heard.errors[0])
    assert not model.trackers


def test_frames_before_the_first_mask_stay_empty_and_that_is_said(video, out):
    heard = Heard()
    assert do(video, out, Prompts({5: Said({1: Ask(text="red")})}), events=heard).exit_code == 0
    assert [bool(ids(out, index).any()) for index in range(12)] == [False] * 5 + [True] * 7
    assert any("frames 0 to 4" in line and "--both-ways" in line for line in heard.lines)


def test_both_ways_carries_every_object_back_from_its_own_first_mask(video, out, tmp_path):
    masks = tmp_path / "masks"
    clips.write_mask(masks / "00004.png", np.where(clips.both_discs(index=4) == 1, 1, 0))
    clips.write_mask(masks / "00008.png", np.where(clips.both_discs(index=8) == 2, 2, 0))
    model, heard = Model(), Heard()
    assert do(video, out, Prompts({}, masks), both_ways=True, model=model, events=heard).exit_code == 0
    for index in range(12):
        assert np.array_equal(ids(out, index), clips.both_discs(index=index)), index
    backward = [name.rsplit("/", 1)[1][:5] for name, _, _ in model.trackers[0].seen]
    assert backward == [f"{n:05d}" for n in range(8, -1, -1)]
    assert not heard.lines


@pytest.mark.parametrize("stride", [2, 3, 5, 20])
def test_with_a_stride_the_model_sees_each_nth_frame_prompts_and_the_last_and_every_frame_has_masks(
    video, out, tmp_path, stride
):
    model = Model()
    start = given(tmp_path, clips.both_discs()).said[0]
    prompts = Prompts({0: start, 7: Said({2: Ask(text="blue")})})
    assert do(video, out, prompts, stride=stride, model=model).exit_code == 0
    seen = [int(name.rsplit("/", 1)[1][:5]) for name, _, _ in model.trackers[0].seen]
    assert sorted(set(seen)) == sorted({*range(0, 12, stride), 7, 11})
    for index in range(12):
        for number in (1, 2):
            assert clips.iou(ids(out, index) == number, clips.both_discs(index=index) == number) > 0.85, index


def test_a_stride_and_both_ways_go_together(video, out):
    prompts = Prompts({9: Said({1: Ask(text="red"), 2: Ask(text="blue")})})
    assert do(video, out, prompts, stride=4, both_ways=True).exit_code == 0
    for index in range(12):
        for number in (1, 2):
            assert clips.iou(ids(out, index) == number, clips.both_discs(index=index) == number) > 0.8, index


def test_max_size_shows_the_tracker_smaller_frames_and_masks_stay_full(video, out, tmp_path):
    model = Model()
    assert do(video, out, given(tmp_path, clips.both_discs()), max_side=32, model=model).exit_code == 0
    assert {shape for _, shape, _ in model.trackers[0].seen} == {(24, 32)}
    assert ids(out, 6).shape == clips.SIZE


def test_memory_options_reach_the_tracker(video, out, tmp_path):
    model = Model()
    do(video, out, given(tmp_path, clips.both_discs()), memory=3, every=2, soft=False, model=model)
    tracker = model.trackers[0]
    assert (tracker.memory, tracker.every, tracker.soft) == (3, 2, False)


def test_a_prompt_that_finds_nothing_is_exit_2_and_names_frame_and_words(video, out):
    heard = Heard()
    assert do(video, out, Prompts({0: Said({1: Ask(text="green")})}), events=heard).exit_code == 2
    assert '00000.png: "green" is not found' in str(heard.errors[0])


def test_a_first_mask_of_another_size_is_exit_2_before_any_frame(video, out, tmp_path):
    heard, model = Heard(), Model()
    prompts = given(tmp_path, np.ones((10, 12), np.uint8))
    assert do(video, out, prompts, events=heard, model=model).exit_code == 2
    assert "12 x 10 pixels" in str(heard.errors[0])
    assert "64 x 48" in str(heard.errors[0])
    assert not model.trackers


def test_soft_edges_of_a_mask_are_reported_and_become_no_objects(tmp_path, out):
    size = (96, 128)
    video = clips.folder(tmp_path / "clip", 3, size)
    mask = clips.both_discs(size)
    mask[np.nonzero(mask == 1)[0][0], np.nonzero(mask == 1)[1][0]] = 77
    heard = Heard()
    assert do(video, out, given(tmp_path, mask), events=heard).exit_code == 0
    assert any("77" in line and "soft edges" in line for line in heard.lines)
    assert set(np.unique(ids(out, 0))) == {0, 1, 2}


@pytest.mark.parametrize("what", ["size", "missing", "broken"])
def test_finished_frames_are_kept_when_a_later_one_is_bad_and_until_makes_do_with_them(tmp_path, out, what):
    video = clips.folder(tmp_path / "clip", 9)
    bad = video / "00006.png"
    if what == "size":
        PIL.Image.new("RGB", (20, 20)).save(bad)
    elif what == "missing":
        bad.unlink()
    else:
        bad.write_bytes(bad.read_bytes()[:60])
    heard, prompts = Heard(), given(tmp_path, clips.both_discs())
    assert do(video, out, prompts, "palette", "jsonl", events=heard).exit_code == 3
    assert "00006" in str(heard.errors[0])
    assert "\n" not in str(heard.errors[0])
    assert [path.stem for path in sorted((out / "palette" / "clip").iterdir())] == [f"{n:05d}" for n in range(6)]
    assert not (out / "jsonl").exists()
    model = Model()
    assert do(video, out, prompts, "palette", "jsonl", model=model, stop=6).exit_code == 0
    assert not model.trackers[0].seen, "all six frames were there"
    assert len((out / "jsonl" / "clip.jsonl").read_bytes().splitlines()) == 6


def test_a_corrupt_packet_keeps_the_frames_before_it(tmp_path, out):
    whole = clips.clip(tmp_path / "whole.mp4", 12, options={"bf": "0", "preset": "ultrafast"})
    video = clips.damaged(whole, tmp_path / "clip.mp4", 7)
    heard = Heard()
    assert do(video, out, given(tmp_path, clips.both_discs()), events=heard).exit_code == 3
    assert "frame 7 can't be decoded" in str(heard.errors[0])
    assert len(list((out / "clip").iterdir())) == 7


def test_with_a_stride_frames_before_a_bad_one_have_masks_too(tmp_path, out):
    video = clips.folder(tmp_path / "clip", 9)
    (video / "00006.png").write_bytes(b"bad")
    assert do(video, out, given(tmp_path, clips.both_discs()), stride=4).exit_code == 3
    assert len(list((out / "clip").iterdir())) == 6


def test_json_lines_say_frame_time_and_masks(tmp_path, out):
    video = clips.clip(tmp_path / "clip.mp4", 4, base=Fraction(1, 30000), times=[0, 1001, 2002, 6006])
    assert do(video, out, given(tmp_path, clips.both_discs()), "jsonl").exit_code == 0
    lines = [json.loads(line) for line in (out / "clip.jsonl").read_bytes().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert [line["time"] for line in lines] == pytest.approx([0, 1001 / 30000, 2002 / 30000, 6006 / 30000])
    assert [[mask["id"] for mask in line["masks"]] for line in lines] == [[1, 2]] * 4
    assert lines[0]["image"] == "clip/00000"


def test_done_is_skipped_other_options_are_refused_and_force_replaces(video, out, tmp_path):
    prompts = given(tmp_path, clips.both_discs())
    assert do(video, out, prompts).done == 1
    model = Model()
    again = do(video, out, prompts, model=model)
    assert (again.skipped, again.exit_code, model.trackers) == (1, 0, [])
    heard = Heard()
    assert do(video, out, prompts, stop=5, events=heard).exit_code == 3
    assert "--force" in str(heard.errors[0])
    assert len(list((out / "clip").iterdir())) == 12
    assert do(video, out, prompts, stop=5, how=VideoHow(force=True)).exit_code == 0
    assert len(list((out / "clip").iterdir())) == 5
    (out / "clip" / "00002.png").unlink()
    assert do(video, out, prompts, stop=5, events=heard).exit_code == 3, "somebody changed the output"


def test_a_video_whose_pixels_changed_is_not_taken_for_done(video, out, tmp_path):
    prompts = given(tmp_path, clips.both_discs())
    assert do(video, out, prompts).done == 1
    (video / "00003.png").touch()
    assert do(video, out, prompts).skipped == 1
    PIL.Image.fromarray(clips.picture(9)).save(video / "00003.png")
    assert do(video, out, prompts).exit_code == 3


def test_the_output_may_not_be_the_video_itself(tmp_path):
    video = clips.clip(tmp_path / "clip.mp4", 3)
    before = video.read_bytes()
    heard = Heard()
    how = VideoHow(force=True)
    assert (
        do(video, tmp_path, given(tmp_path, clips.both_discs()), "overlay-video", events=heard, how=how).exit_code == 3
    )
    assert "is the video itself" in str(heard.errors[0])
    assert video.read_bytes() == before


def raw_plan(data: bytes, out: Path | None, formats: tuple[str, ...]) -> VideoPlan:
    source = RawFrames(io.BytesIO(data), clips.SIZE, Fraction(25))
    item = VideoItem(PurePosixPath("stdin"), None, lambda: source, Prompts({0: Said({1: RED})}))
    return VideoPlan((item,), VideoOutput(out, formats), Following(), "test", "colours")


def test_raw_frames_go_in_and_json_lines_come_out_without_a_file(tmp_path):
    data = b"".join(clips.picture(index).tobytes() for index in range(5))
    stdout, model = io.BytesIO(), Model()
    plan = raw_plan(data, None, ("jsonl",))
    assert run_videos(plan, lambda: model, FirstMasks(lambda: model), stdout=stdout).exit_code == 0
    assert [json.loads(line)["frame"] for line in stdout.getvalue().splitlines()] == [0, 1, 2, 3, 4]


def test_raw_frames_that_end_within_a_frame_keep_the_whole_ones(tmp_path, out):
    data = b"".join(clips.picture(index).tobytes() for index in range(5))[:-7]
    heard, model = Heard(), Model()
    plan = raw_plan(data, out, ("palette",))
    assert run_videos(plan, lambda: model, FirstMasks(lambda: model), events=heard).exit_code == 3
    assert "frame 4 ends after" in str(heard.errors[0])
    assert len(list((out / "stdin").iterdir())) == 4


def test_in_a_list_a_bad_video_fails_alone_and_shards_divide_the_rest(tmp_path, out):
    videos = [clips.folder(tmp_path / f"v{n}", 3) for n in range(6)]
    (tmp_path / "v2" / "00000.png").write_bytes(b"bad")
    prompts = Prompts({0: Said({1: RED})})
    items = tuple(stub.item(path, prompts) for path in videos)
    plan = VideoPlan(items, VideoOutput(out), Following(), "test", "colours")
    model, heard = Model(), Heard()
    from segcli.pipeline.shard import Shard

    parts = [
        run_videos(plan, lambda: model, FirstMasks(lambda: model), VideoHow(shard=Shard(n, 3)), heard)
        for n in (1, 2, 3)
    ]
    assert (sum(part.done for part in parts), sum(part.failed for part in parts)) == (5, 1)
    assert "v2" in str(heard.errors[0])
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == ["v0", "v1", "v3", "v4", "v5"]


def test_the_same_names_twice_are_refused(tmp_path, out):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    items = tuple(stub.item(clips.folder(tmp_path / part / "clip", 2), Prompts({0: Said({1: RED})})) for part in "ab")
    plan = VideoPlan(items, VideoOutput(out), Following(), "test", "colours")
    with pytest.raises(Exception, match="same output"):
        run_videos(plan, Model, FirstMasks(Model))


def test_a_dry_run_follows_nothing(video, out, tmp_path):
    model = Model()
    summary = do(video, out, given(tmp_path, clips.both_discs()), model=model, how=VideoHow(dry_run=True))
    assert (summary.planned, model.trackers, out.exists()) == (1, [], False)


def test_videos_keep_the_sources_exact_times_and_sound(tmp_path, out):
    times = [0, 1001, 2002, 39009, 39510, 42012]
    video = clips.clip(tmp_path / "clip.mp4", 6, base=Fraction(1, 30000), times=times, sound=1.4)
    formats = ("mask-video", "overlay-video", "cutout-video")
    assert do(video, out, given(tmp_path, clips.both_discs()), *formats, audio=True).exit_code == 0
    for path in (out / "mask-video/clip.mp4", out / "overlay-video/clip.mp4", out / "cutout-video/clip.mov"):
        source = open_source(path, path.name)
        base = source.info().time_base
        assert [frame.pts * base for frame in source.frames()] == [Fraction(time, 30000) for time in times]
        with av.open(str(path)) as file, av.open(str(video)) as original:
            heard = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
            played = [bytes(packet) for packet in original.demux(audio=0) if packet.size]
            assert heard
            assert heard == played[: len(heard)]


def test_pixels_that_are_not_square_stay_so(tmp_path, out):
    video = clips.clip(tmp_path / "clip.mp4", 3, aspect=Fraction(4, 3))
    assert do(video, out, given(tmp_path, clips.both_discs()), "overlay-video").exit_code == 0
    assert open_source(out / "clip.mp4", "").info().aspect == Fraction(4, 3)


def test_a_video_from_the_middle_begins_at_zero_and_so_does_its_sound(tmp_path, out):
    video = clips.clip(tmp_path / "clip.mp4", 60, sound=2.4)
    prompts = Prompts({50: Said({1: Ask(text="blue")})})
    assert do(video, out, prompts, "overlay-video", start=50, audio=True).exit_code == 0
    source = open_source(out / "clip.mp4", "")
    base = source.info().time_base
    assert [frame.pts * base for frame in source.frames()] == [Fraction(index, 25) for index in range(10)]
    with av.open(str(out / "clip.mp4")) as file, av.open(str(video)) as original:
        heard = [(float(packet.pts * packet.time_base), bytes(packet)) for packet in file.demux(audio=0) if packet.size]
        played = {
            bytes(packet): float(packet.pts * packet.time_base) for packet in original.demux(audio=0) if packet.size
        }
    assert len(heard) >= 3
    assert [played[data] - at for at, data in heard] == pytest.approx([2.0] * len(heard), abs=0.001)


@pytest.mark.parametrize("codec", ["prores", "vp9"])
@pytest.mark.parametrize("size", [(48, 64), (47, 61)])
def test_what_videos_show_is_the_mask_the_overlay_and_the_object_alone(tmp_path, out, codec, size):
    video = clips.folder(tmp_path / "clip", 4, size)
    prompts = given(tmp_path, np.where(clips.both_discs(size) == 1, 1, 0))
    formats = ("palette", "mask-video", "overlay-video", "cutout-video", "cutout")
    assert do(video, out, prompts, *formats, cutout=codec).exit_code == 0
    suffix = {"prores": "mov", "vp9": "webm"}[codec]
    masks = list(open_source(out / "mask-video/clip.mp4", "").frames())
    overlays = list(open_source(out / "overlay-video/clip.mp4", "").frames())
    cutouts = list(open_source(out / f"cutout-video/clip.{suffix}", "").frames())
    assert len(masks) == len(overlays) == len(cutouts) == 4
    for index in range(4):
        mask = read_indexed(out / "palette" / "clip" / f"{index:05d}.png", "") == 1
        assert clips.iou(masks[index].image.pixels[..., 0] > 127, mask) > 0.98
        assert cutouts[index].image.alpha is not None
        assert clips.iou(cutouts[index].image.alpha > 127, mask) > 0.9
        far = ~clips.disc(index, size, row=0.3) & ~clips.disc(index, size, row=0.75, speed=0.4)
        far[: size[0] // 2] = False
        off = np.abs(overlays[index].image.pixels.astype(int) - clips.picture(index, size))[far]
        assert off.mean() < 6
        with PIL.Image.open(out / "cutout" / "clip" / f"{index:05d}.png") as file:
            assert np.array_equal(np.asarray(file)[..., 3] > 0, mask)

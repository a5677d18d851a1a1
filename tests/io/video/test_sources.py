"""Frames of files, directories and pipes: all of them, upright, with their times; and a clear line where one is bad."""

from __future__ import annotations

import contextlib
import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.io.video import clips

from segcli.core.errors import ItemError, UsageError
from segcli.io.video.frames import CHUNK_BYTES, chunks_backwards
from segcli.io.video.opening import open_source
from segcli.io.video.pictures import PictureFolder, missing_number
from segcli.io.video.raw import RawFrames


def opened(path: Path, **more):
    return open_source(path, path.name, **more)


def until_it_fails(source):
    """The frames that come before the source's error."""
    frames = []
    with contextlib.suppress(ItemError):
        frames.extend(source.frames())
    return frames


CODECS = [
    ("a.mp4", "libx264", "yuv420p", 8),
    ("a.mp4", "libx265", "yuv420p", 8),
    ("a.webm", "libvpx-vp9", "yuv420p", 12),
    ("a.mkv", "libsvtav1", "yuv420p", 10),
    ("a.mov", "prores_ks", "yuv444p10le", 3),
    ("a.gif", "gif", "rgb8", 24),
]


@pytest.mark.parametrize(("name", "codec", "layout", "off"), CODECS, ids=[codec for _, codec, _, _ in CODECS])
def test_every_codec_gives_all_frames_in_order_with_their_colours(tmp_path, capfd, name, codec, layout, off):
    options = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"preset": "12", "crf": "10"}}.get(codec, {})
    path = clips.clip(tmp_path / name, 10, codec=codec, pixels=layout, options=options)
    source = opened(path)
    info, frames = source.info(), list(source.frames())
    assert info.size == clips.SIZE
    assert [frame.index for frame in frames] == list(range(10))
    assert [frame.name for frame in frames][:2] == ["00000", "00001"]
    for frame in frames:
        assert np.abs(frame.image.pixels.astype(int) - clips.picture(frame.index)).mean() < off
        assert clips.iou(frame.image.pixels[..., 2] > 140, clips.picture(frame.index)[..., 2] > 140) > 0.7
    seconds = [float(frame.pts * info.time_base) for frame in frames]
    assert np.allclose(np.diff(seconds), 0.04, atol=0.0011)


def test_variable_times_are_the_sources_own_to_the_tick(tmp_path):
    times = [0, 1001, 2002, 5000, 5001, 9009]
    path = clips.clip(tmp_path / "v.mp4", 6, times=times, base=Fraction(1, 30000))
    source = opened(path)
    base = source.info().time_base
    assert [frame.pts * base for frame in source.frames()] == [Fraction(time, 30000) for time in times]


def test_the_rotation_flag_turns_frames_upright(tmp_path):
    path = clips.turned(clips.clip(tmp_path / "a.mp4", 3), tmp_path / "b.mp4")
    source = opened(path)
    assert source.info().size == clips.SIZE[::-1]
    first = next(iter(source.frames())).image
    assert first.size == clips.SIZE[::-1]
    plain = next(iter(opened(tmp_path / "a.mp4").frames())).image.pixels
    assert np.array_equal(first.pixels, np.rot90(plain, -1))


@pytest.mark.parametrize("size", [(47, 63), (33, 48), (48, 35)])
def test_odd_sizes_keep_their_last_row_and_column(tmp_path, size):
    path = clips.clip(tmp_path / "a.mp4", 2, size)
    frame = next(iter(opened(path).frames()))
    assert frame.image.pixels.shape == (*size, 3)
    assert np.abs(frame.image.pixels[-1, -1].astype(int) - clips.BACKGROUND).max() < 8


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.webp", "libwebp_anim", "yuva420p"),
    ],
)
def test_alpha_comes_with_the_frame(tmp_path, name, codec, layout):
    pictures = []
    for index in range(4):
        alpha = np.where(clips.disc(index, row=0.3), 255, 0).astype(np.uint8)
        pictures.append(np.dstack([clips.picture(index), alpha]))
    options = {"auto-alt-ref": "0"} if codec == "libvpx-vp9" else {"profile": "4444"} if "prores" in codec else {}
    path = clips.write_video(tmp_path / name, pictures, codec, layout, options=options)
    frames = list(opened(path).frames())
    assert len(frames) == 4
    for frame in frames:
        assert frame.image.alpha is not None
        assert clips.iou(frame.image.alpha > 127, clips.disc(frame.index, row=0.3)) > 0.85


def test_animated_webp_has_its_own_times(tmp_path):
    pictures = [PIL.Image.fromarray(clips.picture(index)) for index in range(4)]
    pictures[0].save(
        tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=[40, 80, 20, 50], lossless=True
    )
    source = opened(tmp_path / "a.webp")
    frames = list(source.frames())
    assert [frame.pts * source.info().time_base for frame in frames] == [
        0,
        Fraction(1, 25),
        Fraction(3, 25),
        Fraction(7, 50),
    ]
    assert np.array_equal(frames[3].image.pixels, clips.picture(3))
    assert [frame.index for frame in source.backwards(1, 4)] == [3, 2, 1]


def test_pictures_of_any_names_come_in_natural_order(tmp_path):
    folder = clips.folder(tmp_path / "in", 12, name=lambda index: f"take {index + 1} (b).png")
    (folder / "notes.txt").touch()
    frames = list(opened(folder).frames())
    assert [frame.name for frame in frames][8:] == [f"take {n} (b)" for n in (9, 10, 11, 12)]
    assert np.array_equal(frames[10].image.pixels, clips.picture(10))


def test_raw_frames_come_from_a_pipe_that_gives_them_in_pieces():
    class Pipe(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 1000))

    data = b"".join(clips.picture(index).tobytes() for index in range(3))
    frames = list(RawFrames(Pipe(data), clips.SIZE, Fraction(30000, 1001)).frames())
    assert [np.array_equal(frame.image.pixels, clips.picture(frame.index)) for frame in frames] == [True] * 3
    with pytest.raises(ItemError, match="frame 2 ends after"):
        list(RawFrames(io.BytesIO(data[:-1]), clips.SIZE, Fraction(25)).frames())
    with pytest.raises(UsageError, match="backwards"):
        RawFrames(io.BytesIO(data), clips.SIZE, Fraction(25)).backwards(0, 3)


@pytest.mark.parametrize("kind", ["video", "long groups", "gif", "folder"])
def test_backwards_gives_the_same_frames_in_falling_order(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("segcli.io.video.frames.CHUNK_BYTES", 5 * 48 * 64 * 3)
    if kind == "folder":
        path = clips.folder(tmp_path / "in", 23)
    elif kind == "gif":
        path = clips.clip(tmp_path / "a.gif", 23, codec="gif", pixels="rgb8")
    else:
        options = {"g": "6", "bf": "3"} if kind == "video" else {"g": "250", "bf": "2"}
        path = clips.clip(tmp_path / "a.mp4", 23, options=options)
    source = opened(path)
    forward = {frame.index: frame.image.pixels for frame in source.frames()}
    backward = list(source.backwards(3, 21))
    assert [frame.index for frame in backward] == list(range(20, 2, -1))
    assert all(np.array_equal(frame.image.pixels, forward[frame.index]) for frame in backward)


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 2000))
def test_chunks_cover_the_range_once_and_fit_in_memory(start, count, side):
    chunks = list(chunks_backwards(start, start + count, (side, side)))
    assert [index for first, last in reversed(chunks) for index in range(first, last)] == list(
        range(start, start + count)
    )
    assert all(last - first <= max(2, CHUNK_BYTES // (side * side * 3)) for first, last in chunks)


def test_where_the_first_frame_is_bad_no_until_is_offered_that_would_leave_none(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(ItemError, match=r"a.jpg: frame 0 can't be decoded .*the first one; give a whole video") as bad:
        list(opened(tmp_path / "a.jpg").frames())
    assert "--until" not in str(bad.value)


@pytest.mark.parametrize("bad", [1, 5, 9, 11])
def test_a_corrupt_packet_is_named_and_the_frames_before_it_come(tmp_path, bad):
    path = clips.clip(tmp_path / "a.mp4", 12, options={"bf": "0", "preset": "ultrafast"})
    source = opened(clips.damaged(path, tmp_path / "b.mp4", bad))
    with pytest.raises(ItemError, match=rf"b.mp4: frame {bad} can't be decoded.*--until {bad}"):
        list(source.frames())
    whole = [frame.image.pixels for frame in opened(path).frames()]
    got = until_it_fails(source)
    assert [frame.index for frame in got] == list(range(bad))
    assert all(np.array_equal(frame.image.pixels, whole[frame.index]) for frame in got)


def test_what_is_no_video_is_one_line_that_says_so(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "none").mkdir()
    for name, why in (
        ("a.mp4", "not a video"),
        ("empty.mp4", "empty"),
        ("gone.mp4", "no such file"),
        ("none", "no pictures"),
    ):
        with pytest.raises(ItemError, match=why) as caught:
            opened(tmp_path / name).info()
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_picture_of_another_size_ends_the_frames_with_its_name(tmp_path):
    folder = clips.folder(tmp_path / "in", 5)
    PIL.Image.new("RGB", (20, 20)).save(folder / "00003.png")
    with pytest.raises(ItemError, match=r"00003.png: has 20 x 20 pixels, the first frame 64 x 48"):
        list(opened(folder).frames())
    assert [frame.index for _, frame in zip(range(3), opened(folder).frames(), strict=False)] == [0, 1, 2]


def test_a_missing_number_is_an_error_unless_gaps_are_meant(tmp_path):
    folder = clips.folder(tmp_path / "in", 8)
    (folder / "00005.png").unlink()
    with pytest.raises(ItemError, match=r"00005"):
        list(PictureFolder(folder, "in").frames())
    assert [frame.index for frame in until_it_fails(PictureFolder(folder, "in"))] == [0, 1, 2, 3, 4]
    assert [frame.name for frame in PictureFolder(folder, "in", gaps=True).frames()][-3:] == ["00004", "00006", "00007"]


@settings(max_examples=60)
@given(st.integers(0, 50), st.integers(1, 7), st.integers(4, 20), st.data())
def test_evenly_numbered_names_have_no_gap_and_a_taken_one_is_found(start, step, count, data):
    names = [f"f_{start + step * n:04d}_x" for n in range(count)]
    assert missing_number(names) is None
    gone = data.draw(st.integers(1, count - 2))
    without = names[:gone] + names[gone + 1 :]
    if count > 4:
        assert missing_number(without) == (gone, names[gone])


def test_names_that_are_not_numbered_evenly_have_no_gaps():
    assert missing_number(["a", "b", "d"]) is None
    assert missing_number(["2024-01-01", "2024-03-09", "2024-03-11"]) is None
    assert missing_number(["0", "1", "5", "9", "20"]) is None


def test_two_pictures_of_one_stem_are_refused(tmp_path):
    folder = clips.folder(tmp_path / "in", 3)
    PIL.Image.new("RGB", (64, 48)).save(folder / "00001.jpg")
    with pytest.raises(ItemError, match="one frame by name"):
        opened(folder).info()

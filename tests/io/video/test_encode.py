"""Parts of videos and how they become one file."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.io.video import clips

from segcli.core.errors import ItemError, StorageError
from segcli.io.video.encode import CODINGS, Segment, Times, join
from segcli.io.video.opening import open_source


def parts(folder, kind, lengths, size=clips.SIZE):
    made, index = [], 0
    for number, length in enumerate(lengths):
        segment = Segment(folder / f"{number}.mkv", CODINGS[kind], size)
        for _ in range(length):
            pixels = clips.picture(index, size)
            alpha = np.where(clips.disc(index, size, row=0.3), 255, 0).astype(np.uint8)
            segment.write(np.dstack([pixels, alpha]) if CODINGS[kind].alpha else pixels)
            index += 1
        segment.close()
        made.append(segment.path)
    return made


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.sampled_from([Fraction(1, 30000), Fraction(1, 90000), Fraction(1001, 24000), Fraction(1, 25)]),
    st.data(),
)
def test_joined_parts_have_every_frame_at_its_own_time(tmp_path, lengths, base, data):
    count = sum(lengths)
    steps = data.draw(st.lists(st.integers(1, 5000), min_size=count - 1, max_size=count - 1))
    times = [0, *np.cumsum(steps).tolist()]
    target = tmp_path / "joined.mp4"
    assert join(parts(tmp_path, "overlay", lengths), Times(base, ((t, 1) for t in times)), CODINGS["overlay"], target)
    source = open_source(target, "joined")
    seen = source.info().time_base
    frames = list(source.frames())
    assert [frame.pts * seen for frame in frames] == [time * base for time in times]
    for frame in frames:
        assert np.abs(frame.image.pixels.astype(int) - clips.picture(frame.index)).mean() < 5


@pytest.mark.parametrize("kind", list(CODINGS))
def test_the_same_frames_give_the_same_bytes(tmp_path, kind):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made = parts(tmp_path / name, kind, [4, 3])
        target = tmp_path / name / f"out{CODINGS[kind].suffix}"
        join(made, Times(Fraction(1, 25), ((n, 1) for n in range(7))), CODINGS[kind], target)
        files.append(target.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("count", [6, 8])
def test_more_or_fewer_times_than_frames_are_an_error_and_no_guess(tmp_path, count):
    made = parts(tmp_path, "overlay", [4, 3])
    with pytest.raises(ItemError, match="don't hold the frames"):
        join(made, Times(Fraction(1, 25), ((n, 1) for n in range(count))), CODINGS["overlay"], tmp_path / "o.mp4")


def test_a_place_that_can_not_be_written_is_a_storage_error(tmp_path):
    segment = Segment(tmp_path / "gone" / "0.mkv", CODINGS["mask"], clips.SIZE)
    segment.write(clips.picture(0))
    with pytest.raises(StorageError, match="gone"):
        segment.close()


def test_sound_that_the_file_can_not_hold_is_left_out_and_that_is_told(tmp_path):
    source = clips.clip(tmp_path / "clip.mp4", 4, sound=0.4)
    made = parts(tmp_path, "vp9", [4])
    times = Times(Fraction(1, 25), ((n, 1) for n in range(4)))
    assert not join(made, times, CODINGS["vp9"], tmp_path / "o.webm", source)
    assert len(list(open_source(tmp_path / "o.webm", "").frames())) == 4

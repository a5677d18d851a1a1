"""Every write, fsync, rename, open and mkdir failing in turn: right error, no partial file, mended by the next run."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.pipeline import fake
from tests.pipeline.fake import Heard, do

from segcli.core.errors import StorageError
from segcli.io import atomic

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


class Failing:
    """Stands for one of atomic's calls: works `after` times and then fails for good, or once."""

    def __init__(self, real, number: int, after: int, *, half: bool = False) -> None:
        self.real, self.number, self.after, self.half, self.calls = real, number, after, half, 0

    def __call__(self, *given, **more):
        self.calls += 1
        if self.calls <= self.after:
            return self.real(*given, **more)
        if self.half and self.calls == self.after + 1:  # a disk that takes a part before it is full
            return self.real(given[0], bytes(given[1])[: len(given[1]) // 2])
        raise OSError(self.number, os.strerror(self.number))


@pytest.fixture
def plan(tmp_path: Path):
    fake.photos(tmp_path / "in", 2)
    do(fake.plan(tmp_path / "in", tmp_path / "whole"))

    def make(name: str):
        return fake.plan(tmp_path / "in", tmp_path / name)

    return make


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize(
    ("call", "half", "places"),
    [
        ("os_write", False, 8),
        ("os_write", True, 8),
        ("os_fsync", False, 8),
        ("os_replace", False, 4),
        ("os_open", False, 8),
        ("os_mkdir", False, 2),
    ],
)
def test_each_place_in_turn(plan, tmp_path, monkeypatch, call, half, places, number):
    whole, inputs = fake.tree(tmp_path / "whole"), fake.tree(tmp_path / "in")
    real = getattr(atomic, call)
    for place in range(100):
        out = tmp_path / f"out{place}"
        failing = Failing(real, number, place, half=half)
        monkeypatch.setattr(atomic, call, failing)
        heard = Heard()
        try:
            do(plan(out.name), events=heard, workers=1, batch=1)
        except StorageError as error:
            said = str(error)
        else:
            break
        monkeypatch.setattr(atomic, call, real)
        assert str(out) in said
        assert "\n" not in said
        found = fake.tree(out) if out.exists() else {}
        assert not [name for name in found if name.endswith(".tmp")]
        assert found.items() <= whole.items()
        assert heard.summary is not None
        do(plan(out.name))
        assert fake.tree(out) == whole
    assert place >= places
    assert failing.calls <= place  # the run that went through met no failure
    assert fake.tree(tmp_path / "in") == inputs


def test_a_name_that_the_file_system_does_not_take_fails_its_photo_alone(inputs, out):
    plan = fake.plan(inputs, out, formats=("mask",), template="{stem}-" + "x" * 250)
    summary = do(plan)
    assert (summary.failed, summary.exit_code) == (8, 3)
    assert not fake.tree(out)


def test_a_directory_without_permission_is_exit_4(inputs, out, monkeypatch):
    def refuse(*given, **more):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic, "os_mkdir", refuse)
    with pytest.raises(StorageError, match="no permission"):
        do(fake.plan(inputs, out))


def test_a_photo_that_failed_half_way_may_be_finished_by_the_next_run(inputs, out, monkeypatch):
    plan = fake.plan(inputs, out, formats=("mask", "copy"))
    real = atomic.os_replace

    def refuse(source, target):
        if Path(target).name == "000.raw":
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        return real(source, target)

    monkeypatch.setattr(atomic, "os_replace", refuse)
    summary = do(plan)
    assert (summary.done, summary.failed) == (7, 1)
    assert (out / "mask" / "000.png").exists()
    monkeypatch.setattr(atomic, "os_replace", real)
    summary = do(plan)
    assert (summary.done, summary.skipped, summary.failed) == (1, 7, 0)

"""Processes that die or are asked to stop in the middle, and processes side by side."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.pipeline import fake
from tests.pipeline.fake import Heard, do

from segcli.core.errors import StorageError
from segcli.io import atomic

ROOT = Path(__file__).parents[2]


def start(inputs: Path, out: Path, pause: float, *more: str) -> subprocess.Popen[str]:
    """A run of its own process that has begun."""
    command = [sys.executable, "-m", "tests.pipeline.killable", str(inputs), str(out), str(pause), *more]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=one_thread)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


@pytest.fixture
def many(tmp_path: Path) -> Path:
    fake.photos(tmp_path / "in", 24)
    do(fake.plan(tmp_path / "in", tmp_path / "whole"))
    return tmp_path / "in"


def test_killed_at_random_moments_and_then_finished_it_is_as_if_nothing_had_happened(many, out, tmp_path):
    rng = random.Random(3)
    inputs = fake.tree(many)
    for _ in range(4):
        process = start(many, out, 0.02)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
    assert do(fake.plan(many, out)).exit_code == 0
    assert fake.tree(out) == fake.tree(tmp_path / "whole")
    assert fake.tree(many) == inputs


@pytest.mark.parametrize("call", ["os_write", "os_fsync", "os_replace", "os_open", "os_close"])
def test_killed_at_each_system_call_in_turn_the_next_run_finishes_cleanly(tmp_path, monkeypatch, call):
    """The process is replaced by a fork that kills itself at the n-th call, before or in the middle of it."""
    inputs = tmp_path / "in"
    fake.photos(inputs, 2)
    do(fake.plan(inputs, tmp_path / "whole"))
    whole, real = fake.tree(tmp_path / "whole"), getattr(atomic, call)
    place, alive = 0, False
    while not alive:
        place += 1
        out = tmp_path / f"out{place}"
        child = os.fork()
        if child == 0:
            try:
                monkeypatch.setattr(atomic, call, Deadly(real, place, half=call == "os_write"))
                do(fake.plan(inputs, out), workers=2, batch=1)
            except BaseException:
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        alive = status == 0
        assert alive or os.WTERMSIG(status) == signal.SIGKILL
        heard = Heard()
        assert do(fake.plan(inputs, out), events=heard).exit_code == 0, heard.errors
        assert fake.tree(out) == whole
    assert place > 4


class Deadly:
    """Stands for a call of atomic's and ends the process at the n-th one."""

    def __init__(self, real, number: int, *, half: bool) -> None:
        self.real, self.number, self.half = real, number, half

    def __call__(self, *given, **more):
        self.number -= 1
        if self.number == 0:
            if self.half:
                self.real(given[0], bytes(given[1])[: len(given[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return self.real(*given, **more)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_the_run_goes_on_later(many, out, tmp_path, number):
    process = start(many, out, 0.05)
    process.stdout.readline()
    process.send_signal(number)
    told, said = process.stdout.read(), process.stderr.read()
    assert process.wait(timeout=30) == 128 + number
    assert "Traceback" not in said
    found = fake.tree(out)
    assert not [name for name in found if name.endswith(".tmp")]
    assert 0 < len(found) < 24
    assert found.items() <= fake.tree(tmp_path / "whole").items()
    summary = do(fake.plan(many, out))
    assert summary.skipped == len(found) == told.count("\n") + 1
    assert fake.tree(out) == fake.tree(tmp_path / "whole")


def test_a_second_signal_stops_at_once(many, out):
    process = start(many, out, 20)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == -signal.SIGINT
    process.communicate()


def test_a_second_process_on_the_same_directory_refuses_with_a_line(many, out, tmp_path):
    process = start(many, out, 0.05)
    with pytest.raises(StorageError, match="another seg process is writing to it"):
        do(fake.plan(many, out), fake.never)
    assert process.wait() == 0
    process.communicate()
    assert fake.tree(out) == fake.tree(tmp_path / "whole")
    assert do(fake.plan(many, out), fake.never).skipped == 24


def test_shards_side_by_side_do_each_photo_once_and_the_last_writes_the_run_file(many, out, tmp_path):
    first = start(many, out, 0.02, "1/2")
    second = start(many, out, 0.02, "2/2")
    with pytest.raises(StorageError, match="another seg process"):
        do(fake.plan(many, out), fake.never)
    done = [process.stdout.read().split() for process in (first, second)]
    assert (first.wait(), second.wait()) == (0, 0)
    assert sorted(done[0] + done[1]) == sorted(str(path) for path in many.rglob("*.png"))
    assert fake.tree(out) == fake.tree(tmp_path / "whole")

"""Several processes, killed ones, and none that may use the network: the whole command in processes of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segcli.registry import places
from segcli.registry.weights import File

from .conftest import entry
from .hub_server import Hub

DATA = random.Random(6).randbytes(3_000_000)
FILE = File("model.safetensors")
PULL = [sys.executable, "-m", "segcli", "models", "pull", "test.one"]


@pytest.fixture
def listed(home: Path, hub: Hub) -> str:
    """The user's own weights.toml names one checkpoint of the hub; returns the file's sha256."""
    sha256 = hub.put("org/model/model.safetensors", DATA)
    (home / "config" / "seg" / "weights.toml").write_text(
        '[test.one]\nsystem = "seem"\nconfig = "nano"\nhub = "org/model"\n'
        'files = [{ name = "model.safetensors" }]\nlicence = "mit"\naccepts = ["point"]\n'
    )
    return sha256


def whole(sha256: str) -> None:
    """The file is there, whole, and nothing else is."""
    path = places.original(entry(FILE), FILE)
    assert path is not None
    assert path.read_bytes() == DATA
    assert [blob.name for blob in (path.parents[2] / "blobs").iterdir()] == [sha256]


def test_ten_processes_that_start_together_download_once(hub: Hub, listed: str) -> None:
    hub.pause = 0.002
    processes = [subprocess.Popen(PULL, stderr=subprocess.PIPE, text=True) for _ in range(10)]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 10
    assert len(hub.bodies) == 1
    assert sum("seg: pulling" in lines for lines in said) == 1
    whole(listed)


def test_a_pull_that_is_killed_ten_times_goes_on_and_ends_whole(hub: Hub, listed: str) -> None:
    """kill -9 at random moments; whatever lies under the file's own name in between is the whole file."""
    rng = random.Random(3)
    hub.pause, hub.block = 0.03, 1 << 17
    blob = places.repository_folder(entry(FILE)) / "blobs" / listed
    for _ in range(10):
        process = subprocess.Popen(PULL, stderr=subprocess.PIPE)
        asked = len(hub.bodies)
        while len(hub.bodies) == asked and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not blob.exists() or blob.read_bytes() == DATA
        # A kill between the blob's own name and the file's leaves the blob alone; the next pull finds it.
        assert places.original(entry(FILE), FILE) is None or blob.exists()
    hub.pause = 0.0
    assert subprocess.run(PULL, check=False, capture_output=True).returncode == 0
    whole(listed)
    starts = [int(headers["range"][6:-1]) for headers in hub.bodies if "range" in headers]
    assert starts == sorted(starts)
    assert starts[-1] > 0


def test_a_refusal_is_one_line_on_stderr_and_exit_5(hub: Hub, listed: str) -> None:
    hub.head_statuses = [(401, {"X-Error-Code": "GatedRepo"})]
    done = subprocess.run(PULL, check=False, capture_output=True, text=True)
    assert done.returncode == 5
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "org/model is gated" in done.stderr


def test_an_interrupted_pull_ends_at_once_and_keeps_its_part(hub: Hub, listed: str) -> None:
    hub.pause, hub.block = 0.1, 1 << 17
    process = subprocess.Popen(PULL, stderr=subprocess.PIPE, text=True)
    while not hub.bodies:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.count("\n") == 2  # what is pulled, and that it was interrupted
    part = places.repository_folder(entry(FILE)) / "blobs" / f"{listed}.incomplete"
    assert 0 < part.stat().st_size < len(DATA)


def test_a_terminal_shows_a_bar_and_quiet_shows_none(hub: Hub, listed: str) -> None:
    hub.pause = 0.01
    shown = []
    for more in ([], ["--quiet"]):
        outside, inside = pty.openpty()
        assert subprocess.run([*PULL, *more], stderr=inside, check=False).returncode == 0
        os.close(inside)
        text = b""
        with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
            while block := os.read(outside, 1 << 16):
                text += block
        os.close(outside)
        shown.append(text)
        subprocess.run([sys.executable, "-m", "segcli", "models", "rm", "-q", "test.one"], check=True)
    assert b"MB/s" in shown[0]
    assert b"seg: pulling test.one" in shown[0]
    assert shown[1] == b""


REFUSING = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("tried to connect")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from segcli.cli.app import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["models", "list"], 0),
        (["models", "list", "--json"], 0),
        (["models", "verify"], 0),
        (["models", "du"], 0),
        (["models", "path", "test.one"], 5),
        (["models", "pull", "--offline", "test.one"], 5),
    ],
)
def test_nothing_but_pull_ever_connects(listed: str, arguments: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, "-c", REFUSING, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "tried to connect" not in done.stderr


def test_a_bundled_model_masks_a_photo_on_an_empty_machine_without_connecting(home: Path, tmp_path: Path) -> None:
    photo = min((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))
    words = ["point", str(photo), "--at", "50%,50%", "-m", "seem-nano", "-o", str(tmp_path / "out"), "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", REFUSING, *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 1
    assert not (home / "hf").exists()


def test_listing_imports_nothing_heavy(home: Path) -> None:
    code = (
        "import sys\nfrom segcli.cli.app import main\n"
        "try: main(['models', 'list'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'huggingface_hub', 'rich', 'safetensors', 'PIL', 'filelock', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.splitlines()[-1] == "[]"

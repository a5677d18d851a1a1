"""How many workers a run has on Ray, what each reserves, and what is refused; without Ray."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from segcli.core.errors import DeviceError
from segcli.pipeline import ray_connection
from segcli.pipeline.crew import LostError
from segcli.pipeline.on_ray import RayCluster, Size, Wish, _cause, size
from segcli.pipeline.ray_connection import Connection
from segcli.pipeline.station import Surroundings

FOUR = [{"CPU": 4.0}]
CLUSTER = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}]


@pytest.mark.parametrize(
    ("wish", "machines", "threads", "expected"),
    [
        (Wish(), FOUR, None, Size(1, 4, 0)),  # as a plain run: all of a machine
        (Wish(), FOUR, 1, Size(4, 1, 0)),
        (Wish(), FOUR, 3, Size(1, 3, 0)),
        (Wish(), FOUR, 64, Size(1, 4, 0)),
        (Wish(), [{"CPU": 4.0}, {"CPU": 8.0}], None, Size(3, 4, 0)),
        (Wish(actors=2), FOUR, None, Size(2, 2, 0)),
        (Wish(actors=3), FOUR, None, Size(3, 1, 0)),
        (Wish(actors=9), FOUR, None, Size(9, 1, 0)),
        (Wish(actors=2), FOUR, 1, Size(2, 1, 0)),
        (Wish(actors=1), [{"CPU": 4.0}, {"CPU": 8.0}], None, Size(1, 8, 0)),
        (Wish(cpus=3), [{"CPU": 4.0}, {"CPU": 8.0}], 1, Size(3, 3, 0)),
        (Wish(cpus=2, actors=1), FOUR, None, Size(1, 2, 0)),
        (Wish(), CLUSTER, 8, Size(6, 1, 1)),
        (Wish(cpus=4, actors=2), CLUSTER, None, Size(2, 4, 1)),
        (Wish(device="cuda"), CLUSTER, None, Size(6, 1, 1)),
        (Wish(device="cpu"), CLUSTER, None, Size(7, 4, 0)),
    ],
)
def test_a_worker_a_gpu_or_as_many_cpus_as_a_plain_run_uses(wish, machines, threads, expected):
    assert size(wish, machines, threads) == expected


@pytest.mark.parametrize(
    ("wish", "machines", "said"),
    [
        (Wish(cpus=5), FOUR, "--cpus-per-actor 5: the largest machine has 4 CPUs"),
        (Wish(device="cuda"), FOUR, "--device cuda: no machine of the cluster has a GPU"),
        (Wish(), [{"CPU": 0.0}], "no machine of the cluster has a CPU"),
        (Wish(), [], "no machine of the cluster has a CPU"),
    ],
)
def test_a_crew_that_fits_nowhere_is_refused(wish, machines, said):
    with pytest.raises(DeviceError, match=said):
        size(wish, machines, None)


def test_an_address_where_nobody_listens_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DeviceError, match=f"--on ray:{address}: can't be reached: connection refused; start it"):
            Connection().join(address)


def test_an_address_where_something_else_listens_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_connection, "_REHEARSE", "import time; time.sleep(60)")
    monkeypatch.setattr(ray_connection, "_REHEARSAL", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(DeviceError, match="no Ray answered within"):
            Connection().join(f"127.0.0.1:{silent.getsockname()[1]}")


def test_a_cluster_that_refuses_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_connection, "_REHEARSE", "import sys; sys.exit('refused: Version mismatch: 2.9 and 2.60')")
    with pytest.raises(DeviceError, match=r"--on ray:auto: can't be used: Version mismatch: 2\.9 and 2\.60"):
        Connection().join("auto")
    with pytest.raises(DeviceError, match="Ray's client can't carry a run"):
        Connection().join("ray://head:10001")


def test_what_killed_runs_left_is_removed_and_what_others_use_is_not(tmp_path: Path):
    for name in (f"seg-ray-{os.getpid()}-abc", "seg-ray-4194305-abc", "seg-ray-notes", "other"):
        (tmp_path / name / "session").mkdir(parents=True)
    ray_connection._tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", f"seg-ray-{os.getpid()}-abc", "seg-ray-notes"]


def test_a_worker_takes_the_threads_and_the_directory_of_a_plain_run(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    here = Surroundings.here()
    monkeypatch.chdir("/")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as Ray sets it
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    here.enter()
    assert Path.cwd() == tmp_path
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ


def test_what_ray_says_of_its_own_accord_does_not_reach_stdout(capsys: pytest.CaptureFixture[str]):
    import threading

    hushed = ray_connection._Hushed(sys.stdout)
    thread = threading.Thread(target=lambda: print("a worker died", file=hushed))
    thread.start()
    thread.join()
    print("ours", file=hushed)
    assert capsys.readouterr().out == "ours\n"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("The actor died. Some common causes include: (1) the process was killed by the OOM killer", ""),
        ("1 worker(s) were killed due to the node running low on memory. The node", "out of memory"),
        ("The actor died because its node has died. Node Id: 4a7f", "its machine was lost"),
    ],
)
def test_only_what_ray_found_is_told_as_the_cause_of_a_loss(told: str, expected: str):
    assert _cause(RuntimeError(told)) == expected


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (RayTaskError("ray::_Actor.arrive()\nModuleNotFoundError: No module named 'segcli'"), DeviceError, "'segcli'"),
        (
            RayError("The actor died because of an error raised in its creation task, …\nImportError: torch"),
            DeviceError,
            "a worker can't run seg: ImportError: torch; install the same there as here",
        ),
        (RayError("The actor died unexpectedly."), LostError, "^$"),
    ],
)
def test_a_worker_without_seg_is_told_from_one_that_was_lost(error: Exception, raised: type[Exception], said: str):
    def get(ticket: object, timeout: float) -> bytes:
        raise error

    cluster = object.__new__(RayCluster)
    cluster._ray = SimpleNamespace(get=get, exceptions=SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError))
    with pytest.raises(raised, match=said):
        cluster.result(1)

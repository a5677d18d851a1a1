"""The saved state of a training: parts that are small, and always one whole state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from segcli.core.errors import StorageError
from segcli.io import atomic
from segcli.train.loop import LoopConfig, train
from segcli.train.state import load_state, save_state

SMALL = 4096


def state(step: int) -> dict:
    """Tensors of which one alone is longer than a part, all of them filled with `step`."""
    many = {f"w{n}": torch.full((9, 40), float(step)) for n in range(12)}
    return {"model": {"big": torch.full((60, 90), float(step)), **many}, "step": step}


def same(one: dict, other: dict) -> bool:
    keys = one["model"].keys()
    return keys == other["model"].keys() and all(torch.equal(one["model"][k], other["model"][k]) for k in keys)


def parts(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {"state.pt"}


def test_a_state_comes_back_as_it_was_from_parts_that_are_no_longer_than_allowed(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, state(1), SMALL)
    assert len(parts(tmp_path)) > 5
    assert max(p.stat().st_size for p in tmp_path.iterdir()) <= SMALL
    assert same(load_state(path), state(1))


def test_the_parts_together_are_one_file_that_torch_reads(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", state(1), SMALL)
    whole = tmp_path / "whole"
    whole.write_bytes(b"".join((tmp_path / name).read_bytes() for name in sorted(parts(tmp_path))))
    assert same(torch.load(whole, weights_only=True), state(1))


def test_a_newer_state_leaves_no_part_of_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, state(1), SMALL)
    before = parts(tmp_path)
    save_state(path, state(2), SMALL)
    assert not before & parts(tmp_path)
    assert len(parts(tmp_path)) == len(before)
    assert load_state(path)["step"] == 2


def test_a_state_in_one_file_as_it_was_written_before_is_read_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save(state(1), path)
    assert same(load_state(path), state(1))
    save_state(path, state(2), SMALL)
    assert same(load_state(path), state(2))


def test_a_run_goes_on_from_a_state_in_one_file(tmp_path: Path) -> None:
    def leg(steps: int) -> torch.nn.Linear:
        torch.manual_seed(0)
        network = torch.nn.Linear(2, 1)

        def batches(seed: int):
            while True:
                yield torch.full((1, 2), 1.0 + seed)
                seed += 1

        config = LoopConfig(steps=steps, warmup=1, autocast=False)
        train(network, batches, lambda net, x: {"square": net(x).square().mean()}, config, tmp_path)
        return network

    leg(3)
    saved = load_state(tmp_path / "state.pt")
    for part in tmp_path.glob("*.part"):
        part.unlink()
    torch.save(saved, tmp_path / "state.pt")
    leg(5)
    assert load_state(tmp_path / "state.pt")["step"] == 5


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, 14, 23, 24, 25, 26, 27, 28])
def test_whatever_call_fails_one_state_is_whole_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Four calls a file (open, write, rename, open of the folder), six parts and the file that names them."""
    path = tmp_path / "state.pt"
    save_state(path, state(1), 2 * SMALL)
    before = parts(tmp_path)
    assert len(before) == 6
    calls = iter(range(1, 1000))

    def counted(real: Callable) -> Callable:
        def fails(*arguments, **more):
            if next(calls) == call:
                raise OSError(28, "no space")
            return real(*arguments, **more)

        return fails

    for name in ("os_open", "os_write", "os_replace"):
        monkeypatch.setattr(atomic, name, counted(getattr(atomic, name)))
    with pytest.raises(StorageError, match="no space left on the disk"):
        save_state(path, state(2), 2 * SMALL)
    monkeypatch.undo()
    in_place = call == 28  # only the syncing of the folder failed
    found = load_state(path)
    assert same(found, state(2 if in_place else 1))
    assert parts(tmp_path) >= before if in_place else parts(tmp_path) == before


KILLED = """
import sys
from pathlib import Path
from test_state import SMALL, save_state, state
print("ready", flush=True)
for step in range(1, 100_000):
    save_state(Path(sys.argv[1]), state(step), SMALL)
    print(step, flush=True)
"""


def test_a_killed_process_leaves_one_whole_state_and_the_next_one_sweeps_up(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    script = tmp_path.parent / f"{tmp_path.name}.py"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, str(script), str(path)], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    found = load_state(path)
    assert found["step"] >= int(told[-1])
    assert same(found, state(found["step"]))
    save_state(path, state(0), SMALL)
    assert all(name.endswith(".part") for name in parts(tmp_path))
    assert len({name.partition(".")[0] for name in parts(tmp_path)}) == 1


def test_a_part_that_is_missing_cut_or_changed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, state(1), SMALL)
    part = tmp_path / sorted(parts(tmp_path))[2]
    data = part.read_bytes()
    part.write_bytes(data[:-1])
    with pytest.raises(StorageError, match=rf"{part.name}: its bytes changed"):
        load_state(path)
    part.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(StorageError, match=rf"{part.name}: its bytes changed"):
        load_state(path)
    part.unlink()
    with pytest.raises(StorageError, match=rf"{part.name}: can't be read"):
        load_state(path)


@pytest.mark.parametrize("data", [b"", b"no state", b"PK\x03\x04cut short"])
def test_a_file_that_is_no_state_is_named_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"state\.pt: is not the state of a training") as caught:
        load_state(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(StorageError, match="give the state"):
        load_state(tmp_path / "absent.pt")

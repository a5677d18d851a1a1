"""Opening: strict, one copy, on the device that was asked for, and bundled models without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from segcli.core.errors import CheckpointError, DeviceError, UsageError
from segcli.models.layers.loading import load_strict
from segcli.registry import hashes, load, places, plugins, writer
from segcli.registry.device import resolve
from segcli.registry.tensors import TensorFiles
from segcli.registry.weights import Entry, File, catalogue


class Tiny(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(width, 4)
        self.norm = nn.BatchNorm1d(4)


def saved(path: Path, **extra: torch.Tensor) -> Path:
    torch.manual_seed(0)
    writer.save(path, {**Tiny().state_dict(), **extra}, {})
    return path


def test_a_module_on_the_meta_device_takes_the_tensors_of_the_file_as_they_are(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.safetensors")
    with torch.device("meta"):
        model = Tiny()
    with TensorFiles([path]) as tensors:
        load_strict(model, tensors)
    torch.manual_seed(0)
    expected = Tiny().state_dict()
    assert {k: v.tolist() for k, v in model.state_dict().items()} == {k: v.tolist() for k, v in expected.items()}
    assert model.first.weight.requires_grad


def test_tensors_come_in_the_type_asked_for_and_counts_stay_counts(tmp_path: Path) -> None:
    with TensorFiles([saved(tmp_path / "x.safetensors")], dtype=torch.float16) as tensors:
        assert tensors["first.weight"].dtype == torch.float16
        assert tensors["norm.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("first.bias"), "1 missing: first.bias$"),
        (lambda t: t.update(extra=torch.ones(1)), "1 unexpected: extra$"),
        (
            lambda t: t.update({"first.weight": torch.ones(4, 2)}),
            "1 of another shape: first.weight is 4x2 and should be 4x3$",
        ),
        (lambda t: t.update({"norm.num_batches_tracked": torch.ones(2)}), "is 2 and should be a single number$"),
        (lambda t: [t.pop(k) for k in list(t)], "7 missing: .* and 3 more$"),
    ],
)
def test_keys_that_do_not_fit_are_named_and_nothing_is_loaded(change, words: str) -> None:
    tensors = dict(Tiny().state_dict())
    change(tensors)
    model = Tiny()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=words) as caught:
        load_strict(model, tensors, name="tiny")
    assert str(caught.value).startswith("tiny: ")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_key_table_renames_drops_and_never_fills_one_parameter_twice() -> None:
    source = {f"model.{k}": v for k, v in Tiny().state_dict().items()} | {"criterion.weight": torch.ones(3)}
    model = Tiny()

    def table(key: str) -> str | None:
        return None if key.startswith("criterion.") else key.removeprefix("model.")

    load_strict(model, source, table)
    assert torch.equal(model.first.weight, source["model.first.weight"])
    with pytest.raises(CheckpointError, match=r"1 for the same parameter: model.first.bias and first.bias"):
        load_strict(model, {**source, "first.bias": torch.ones(4)}, table)


def test_a_buffer_that_no_file_fills_is_our_own_bug() -> None:
    class WithTable(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.ones(2), persistent=False)

    with torch.device("meta"):
        model = WithTable()
    with pytest.raises(RuntimeError, match="still on the meta device: table"):
        load_strict(model, Tiny().state_dict())


def test_nan_is_refused_and_infinity_is_not(tmp_path: Path) -> None:
    inf, nan = torch.tensor([float("inf"), float("-inf")]), torch.tensor([0.0, float("nan")])
    path = saved(tmp_path / "x.safetensors", inf=inf, nan=nan)
    with TensorFiles([path]) as tensors:
        assert torch.equal(tensors["inf"], inf)
        with pytest.raises(CheckpointError, match="tensor 'nan' holds NaN"):
            tensors["nan"]


def test_a_key_in_two_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is also in"):
        TensorFiles([saved(tmp_path / "x.safetensors"), saved(tmp_path / "y.safetensors")])


def test_on_the_cpu_tensors_are_maps_of_the_file_and_not_copies(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    writer.save(path, {"w": torch.zeros(50_000_000, dtype=torch.uint8)}, {})
    code = (
        "import sys, torch\nfrom pathlib import Path\nfrom segcli.registry.tensors import TensorFiles\n"
        "def private(): return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('RssAnon'))\n"
        "t = TensorFiles([Path(sys.argv[1])])\nbefore = private()\nw = t['w']\nw.sum()\nprint(private() - before)"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 25_000  # kB; a copy would be 50,000


def test_the_cpu_is_obeyed_and_what_is_not_here_refused() -> None:
    assert resolve("cpu", "bf16").dtype == torch.bfloat16
    assert resolve("cpu").dtype == torch.float32
    assert not resolve("cpu").chosen
    assert resolve("auto").chosen
    for words in ("gpu", "cuda:x", "cuda:", "CPU", ""):
        with pytest.raises(UsageError, match="type auto, cpu, mps, cuda or cuda:N"):
            resolve(words)
    with pytest.raises(UsageError, match="type one of auto, fp32"):
        resolve("cpu", "float32")


def test_a_device_that_is_not_here_is_exit_6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(DeviceError, match="type --device cpu"):
            resolve(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="the last is cuda:1"):
        resolve("cuda:2")


@pytest.mark.usefixtures("home")
def test_a_system_without_code_is_refused_before_any_file_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Entry("x.one", "nowhere", "c", "seg", "mit", frozenset(), hub="a/b")
    monkeypatch.setattr(load, "find", lambda name: one)
    with pytest.raises(CheckpointError, match="nowhere: seg has no code for this system here"):
        load.open_model("x.one")


@pytest.mark.usefixtures("home")
def test_a_file_of_the_users_own_entry_is_held_to_its_pin(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.safetensors")
    file = File(path.name, path.stat().st_size, hashes.sha256(path))
    one = Entry("my.one", "seem", "nano", "seg", "mit", frozenset(), folder=str(tmp_path), files=(file,))
    assert load.files_of(one) == [path]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is not the pinned file .*; correct one of the two"):
        load.files_of(one)


@pytest.mark.usefixtures("home")
def test_a_device_without_room_for_the_weights_is_exit_6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    writer.save(path, {"w": torch.ones(1)}, {"seg.system": "seem", "seg.config": "nano", "seg.accepts": "point"})

    def build(config: object, tensors: object, **rest: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(plugins, "builder", lambda system: build)
    with pytest.raises(DeviceError, match="x: cpu has not enough memory for it; type --dtype bf16"):
        load.open_model(str(path), device="cpu")


@pytest.mark.usefixtures("home")
def test_auto_names_its_choice_once_and_an_explicit_device_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    writer.save(path, {"w": torch.ones(1)}, {"seg.system": "seem", "seg.config": "nano", "seg.accepts": "point"})
    given: list[dict[str, object]] = []
    monkeypatch.setattr(plugins, "builder", lambda system: lambda config, tensors, **rest: given.append(rest))
    said: list[str] = []
    load.open_model(str(path), seed=7, say=said.append)
    assert len(said) == 1
    assert said[0].startswith("seg: x on ")
    load.open_model(str(path), device="cpu", dtype="bf16", say=said.append)
    assert len(said) == 1
    assert given[0]["seed"] == 7
    assert (given[1]["device"], given[1]["dtype"]) == (torch.device("cpu"), torch.bfloat16)
    assert given[0]["revision"] == given[1]["revision"]


@pytest.mark.usefixtures("home")
def test_an_entry_without_files_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="has no files to open: files and licence are not known"):
        load.files_of(catalogue()["ras.13b-general"])


def test_the_revision_follows_the_bytes_of_the_weights(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one.safetensors"), saved(tmp_path / "two.safetensors", extra=torch.ones(1))
    assert load.revision_of([one]) != load.revision_of([two])
    assert load.revision_of([one]) == load.revision_of([saved(tmp_path / "again.safetensors")])
    data = bytearray(one.read_bytes())
    data[-1] ^= 1
    one.write_bytes(data)
    with pytest.raises(CheckpointError, match="its bytes changed since it was written"):
        load.revision_of([one])


@pytest.mark.usefixtures("home")
def test_every_bundled_model_opens_on_an_empty_machine_without_connecting() -> None:
    for entry in catalogue().values():
        if not entry.bundled:
            continue
        code = (
            "import socket, sys\n"
            "def refuse(*args, **kwargs): raise AssertionError('tried to connect')\n"
            "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
            "from segcli.registry.load import open_model\n"
            "model = open_model(sys.argv[1], device='cpu')\nprint(sorted(map(str, model.accepts)))"
        )
        done = subprocess.run([sys.executable, "-c", code, entry.name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(sorted(entry.accepts)), entry.name
    assert sum(path.stat().st_size for path in places.BUNDLED.glob("*.safetensors")) <= 25_000_000

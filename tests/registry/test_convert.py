"""Pickles and safetensors become sealed safetensors with equal tensors; nothing in a pickle is ever run."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from segcli.core.errors import CheckpointError, SegError, StorageError, UsageError
from segcli.registry import writer
from segcli.registry.convert import convert
from segcli.registry.header import read_header

WEIGHTS = {
    "a.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "a.bias": torch.tensor([1.5, float("inf")]),
    "half": torch.ones(5, dtype=torch.float16),
    "brain": torch.full((2, 2), 0.25, dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "none": torch.empty(0, 3),
    "turned": torch.arange(6.0).reshape(2, 3).T,
}


def read(path: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(path)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return set(left) == set(right) and all(
        left[k].dtype == right[k].dtype and torch.equal(left[k], right[k]) for k in left
    )


@pytest.mark.parametrize("newer", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("inside", [None, "model", "state_dict"])
def test_a_pickle_becomes_equal_safetensors(tmp_path: Path, newer: bool, inside: str | None) -> None:
    said: list[str] = []
    args = argparse.Namespace(lr=0.1)
    content = {inside: WEIGHTS, "epoch": 3, "args": args} if inside else WEIGHTS
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=newer)
    convert(tmp_path / "w.pt", tmp_path / "w.safetensors", {"seg.system": "seem"}, say=said.append)
    assert same(read(tmp_path / "w.safetensors"), WEIGHTS)
    assert bool(said) == bool(inside)
    assert read_header(tmp_path / "w.safetensors").metadata["seg.system"] == "seem"
    assert writer.check_seal(tmp_path / "w.safetensors")


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("newer", [True, False, None], ids=["zip", "legacy", "plain pickle"])
def test_a_malicious_pickle_runs_nothing_and_is_refused(tmp_path: Path, newer: bool | None) -> None:
    proof = tmp_path / "ran"
    content = {"w": torch.ones(2), "evil": Evil(proof)}
    if newer is None:
        (tmp_path / "w.pt").write_bytes(pickle.dumps(Evil(proof)))
    else:
        torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=newer)
    with pytest.raises(CheckpointError) as caught:
        convert(tmp_path / "w.pt", tmp_path / "w.safetensors", {})
    assert "\n" not in str(caught.value)
    assert not proof.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["w.pt"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a checkpoint"),
        (b"not a pickle at all", "not a checkpoint|was not read"),
        (b"PK\x03\x04 half a zip", "not a checkpoint|was not read"),
        ([1, 2], "holds no table of tensors"),
        ({}, "holds no table of tensors"),
        ({"w": torch.ones(1), "name": "x"}, "'name' in it is not a tensor"),
        ({1: torch.ones(1)}, "'1' in it is not a tensor"),
        ({"w": torch.tensor([1.0, float("nan")])}, "'w' holds NaN"),
        ({"w": torch.eye(2).to_sparse()}, "sparse or quantised"),
    ],
)
def test_what_is_no_usable_checkpoint_is_named(tmp_path: Path, content: Any, words: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / "w.pt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=words) as caught:
        convert(tmp_path / "w.pt", tmp_path / "w.safetensors", {})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "w.safetensors").exists()


def test_precision_is_chosen_for_floating_point_tensors_only(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pt")
    convert(tmp_path / "w.pt", tmp_path / "w.safetensors", {}, dtype="bf16")
    expected = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in WEIGHTS.items()}
    assert same(read(tmp_path / "w.safetensors"), expected)


def test_values_that_fp16_can_not_hold_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.tensor([1e6])}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"'w' has values too large for .*float16; type --dtype bf16"):
        convert(tmp_path / "w.pt", tmp_path / "w.safetensors", {}, dtype="fp16")


def test_keys_are_renamed_left_out_and_never_merged(tmp_path: Path) -> None:
    torch.save({"model.a": torch.ones(1), "model.b": torch.zeros(1), "drop": torch.ones(2)}, tmp_path / "w.pt")
    said: list[str] = []
    convert(
        tmp_path / "w.pt",
        tmp_path / "w.safetensors",
        {},
        rename=lambda key: None if key == "drop" else key.removeprefix("model."),
        say=said.append,
    )
    assert said == [f"seg: {tmp_path / 'w.pt'}: left out, since the model has no place for them: drop"]
    assert set(read(tmp_path / "w.safetensors")) == {"a", "b"}
    with pytest.raises(CheckpointError, match=r"model.a and model.b would both be called x"):
        convert(tmp_path / "w.pt", tmp_path / "v.safetensors", {}, rename=lambda key: "x")


def test_a_failed_write_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pt")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        convert(tmp_path / "w.pt", tmp_path / "w.safetensors", {})
    assert [p.name for p in tmp_path.iterdir()] == ["w.pt"]


def shard(folder: Path) -> Path:
    folder.mkdir()
    parts = {"one.safetensors": {"a": torch.ones(2)}, "two.safetensors": {"b": torch.zeros(3)}}
    for name, tensors in parts.items():
        safetensors.torch.save_file(tensors, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    return index


def test_several_files_become_one(tmp_path: Path) -> None:
    index = shard(tmp_path / "m")
    convert(index, tmp_path / "w.safetensors", {})
    assert same(read(tmp_path / "w.safetensors"), {"a": torch.ones(2), "b": torch.zeros(3)})


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "/etc/passwd",
        "..",
        "a/../../secret.safetensors",
        "x\x00.safetensors",
        "gone.safetensors",
    ],
)
def test_an_index_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "secret.safetensors")
    index = shard(tmp_path / "m")
    index.write_text(json.dumps({"weight_map": {"a": name, "b": "two.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"not one of its folder|is missing"):
        convert(index, tmp_path / "w.safetensors", {})


def test_an_index_whose_file_is_a_link_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "secret.safetensors")
    index = shard(tmp_path / "m")
    (tmp_path / "m" / "one.safetensors").unlink()
    (tmp_path / "m" / "one.safetensors").symlink_to("../secret.safetensors")
    with pytest.raises(CheckpointError, match="is a link to somewhere else"):
        convert(index, tmp_path / "w.safetensors", {})


def test_an_index_in_the_hubs_cache_may_link_to_its_blobs(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--m"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "blobs").mkdir()
    index = shard(repository / "snapshots" / "abc")
    for path in list(index.parent.iterdir()):
        path.rename(repository / "blobs" / path.name)
        path.symlink_to(f"../../blobs/{path.name}")
    convert(index, tmp_path / "w.safetensors", {})
    assert set(read(tmp_path / "w.safetensors")) == {"a", "b"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "[" * 100_000])
def test_a_broken_index_is_refused(tmp_path: Path, text: str) -> None:
    index = shard(tmp_path / "m")
    index.write_text(text)
    with pytest.raises(CheckpointError):
        convert(index, tmp_path / "w.safetensors", {})


def test_an_index_and_a_file_that_disagree_are_refused(tmp_path: Path) -> None:
    index = shard(tmp_path / "m")
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "c": "two.safetensors"}}))
    with pytest.raises(CheckpointError, match="disagree about tensor 'b'"):
        convert(index, tmp_path / "w.safetensors", {})


def test_a_folder_or_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        convert(tmp_path, tmp_path / "w.safetensors", {})
    with pytest.raises(SegError, match="no such file"):
        convert(tmp_path / "gone.pt", tmp_path / "w.safetensors", {})


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e5m2, torch.float8_e4m3fn]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
            lambda k: k != "__metadata__"
        ),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
        min_size=1,
        max_size=6,
    )
)
def test_what_we_write_the_formats_own_reader_reads_back(tmp_path: Path, plan: dict[str, Any]) -> None:
    tensors = {
        name: (torch.arange(max(1, torch.Size(shape).numel())) % 3)
        .to(dtype)[: torch.Size(shape).numel()]
        .reshape(shape)
        for name, (dtype, shape) in plan.items()
    }
    path = tmp_path / "x.safetensors"
    writer.save(path, tensors, {"note": "ü"})
    loaded = read(path)
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert bytes(writer.plain_bytes(loaded[name])) == bytes(writer.plain_bytes(tensor))
    assert writer.check_seal(path) == writer.sealed(path) != ""

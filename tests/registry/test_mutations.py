"""A thousand broken files, seeded: each is refused with one line and exit 5 (or 2), or loads to equal tensors."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segcli.core.errors import CheckpointError, SegError
from segcli.registry import hashes, writer
from segcli.registry.header import MAX_HEADER, read_header
from segcli.registry.local import entry_of_file
from segcli.registry.tensors import TensorFiles
from segcli.registry.weights import Entry, parse, shipped_file

ROUNDS = 1000
WEIGHTS = {"layer.weight": torch.arange(24.0).reshape(4, 6), "layer.bias": torch.ones(6), "steps": torch.tensor(3)}
METADATA = {"seg.system": "seem", "seg.config": '{"dim": 4}', "seg.accepts": "point,box"}


def flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def grow(rng: random.Random, data: bytes) -> bytes:
    return data + rng.randbytes(rng.randrange(1, 40))


def insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]


def drop(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randrange(1, 9) :]


def double(rng: random.Random, data: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:end] + data[start:end] + data[end:]


def length(rng: random.Random, data: bytes) -> bytes:
    """Only the header's length: the place where hostile files begin."""
    wrong = rng.choice([0, 1, len(data), MAX_HEADER + 1, 2**63, 2**64 - 1, rng.randrange(2**32)])
    return wrong.to_bytes(8, "little") + data[8:]


MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [flip, cut, grow, insert, drop, double, length]


def opened(path: Path) -> dict[str, torch.Tensor]:
    """What opening a file does: say what it is, check its seal, read every tensor."""
    entry_of_file(path)
    hashes.content(path)
    with TensorFiles([path]) as tensors:
        return dict(tensors)


def attempt(act: Callable[[], Any]) -> Any:
    """What `act` gives, or the refusal it ends with; everything else that goes wrong fails the test."""
    try:
        return act()
    except SegError as error:
        return error


def is_one_line(error: SegError) -> bool:
    return "\n" not in str(error) and len(str(error)) < 500


def test_mutated_safetensors_are_refused_or_equal(tmp_path: Path) -> None:
    sound = tmp_path / "sound.safetensors"
    writer.save(sound, WEIGHTS, METADATA)
    data = sound.read_bytes()
    refused = 0
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        broken = data
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            broken = rng.choice(MUTATIONS)(rng, broken) if len(broken) > 8 else b""
        path = tmp_path / "broken.safetensors"
        path.write_bytes(broken)
        loaded = attempt(lambda path=path: opened(path))
        if isinstance(loaded, SegError):
            refused += 1
            assert loaded.exit_code == 5, seed
            assert is_one_line(loaded), seed
        else:
            assert {k: v.tolist() for k, v in loaded.items()} == {k: v.tolist() for k, v in WEIGHTS.items()}, seed
    assert refused > 0.9 * ROUNDS


def test_mutated_weights_toml_is_refused_with_one_line_or_read(tmp_path: Path) -> None:
    text = shipped_file().read_text(encoding="utf-8")
    whole = text.split("\n[")
    refused = 0
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        data = ("[" + rng.choice(whole[1:])).encode()
        for _ in range(rng.choice([1, 1, 2, 3])):
            data = rng.choice(MUTATIONS[:-1])(rng, data) or b"x"
        entries = attempt(lambda data=data: parse(data.decode("utf-8", errors="replace"), "mine.toml"))
        if isinstance(entries, SegError):
            refused += 1
            assert entries.exit_code == 2, seed
            assert is_one_line(entries), seed
            assert str(entries).startswith("mine.toml: "), seed
        else:
            assert all(isinstance(entry, Entry) for entry in entries.values())
    assert refused > 0.5 * ROUNDS


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"[]", "not a JSON object"),
        (b"{" * 5000, "not the JSON"),
        (b'{"a":1}', "entry of tensor 'a' is malformed"),
        (b'{"__metadata__":{"x":1}}', "metadata is not a table of words"),
        (b'{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}', "unknown type 'F33'"),
        (b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', "impossible shape"),
        (b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', "impossible shape"),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', "impossible shape or place"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "shape and number of bytes disagree"),
        (b'{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}', "disagree"),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "overlap or leave holes"),
        (
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            "holds 8 bytes of tensors where its header promises 4",
        ),
        (
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
            "not the JSON",
        ),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: bytes, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(CheckpointError, match=words):
        read_header(path)


def test_an_oversized_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((MAX_HEADER + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER + 100)  # a sparse file: nothing of it lies on the disk
    with pytest.raises(CheckpointError, match=f"claims {MAX_HEADER + 1} bytes"):
        read_header(path)

"""Write safetensors one tensor at a time, with a seal, so that a file larger than memory can be made and checked.

The seal is the sha256 over everything that the file says (names, types, shapes, metadata) and every tensor byte. It
stands in the metadata as `seg.seal`; `check_seal` finds any byte that changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from segcli.core.errors import CheckpointError, StorageError
from segcli.registry.header import BITS, Header, TensorInfo, read_header

if TYPE_CHECKING:
    from torch import Tensor

SEAL = "seg.seal"
SEALED = "seg.sealed"
"""Says that there must be a seal: a file that lost one of the two was changed."""
_CHUNK = 1 << 22


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write all of `tensors` (one is read at a time) with a seal. Raises StorageError; a partial file never stays."""
    kinds = {name: kind(name, tensor.dtype, tensor) for name, tensor in tensors.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    write(path, kinds, shapes, lambda name: plain_bytes(tensors[name]), metadata)


def write(
    path: Path,
    kinds: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], memoryview],
    metadata: Mapping[str, str],
) -> None:
    """Write the tensors that `read` gives by name, their types in the format's words. Raises StorageError."""
    tensors = _layout(kinds, shapes)
    unsealed = {**metadata, SEALED: "sha256"}
    unsealed.pop(SEAL, None)
    seal = hashlib.sha256(_statement(tensors, unsealed))
    # The seal is known only at the end, but it has a fixed length: its place is filled then.
    head = _head(tensors, {**unsealed, SEAL: "0" * 64})
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(head)
            for name, info in tensors.items():
                data = read(name)
                if len(data) != info.end - info.begin:
                    raise ValueError(f"{name}: {len(data)} bytes were given for {info.end - info.begin}")
                seal.update(data)
                file.write(data)
            file.seek(0)
            file.write(_head(tensors, {**unsealed, SEAL: seal.hexdigest()}))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        words = error.strerror or error
        raise StorageError(f"{path}: can't be written ({words}); free some space or choose another folder") from error
    finally:
        fresh.unlink(missing_ok=True)


def check_seal(path: Path) -> str:
    """The seal of `path`, checked over the whole file, or "" when it has none. Raises CheckpointError if broken."""
    header = read_header(path)
    given = header.metadata.get(SEAL, "")
    if not given and SEALED not in header.metadata:
        return ""
    tensors = dict(sorted(header.tensors.items(), key=lambda item: (item[1].begin, item[1].end)))
    seal = hashlib.sha256(_statement(tensors, {k: v for k, v in header.metadata.items() if k != SEAL}))
    with path.open("rb") as file:
        file.seek(header.data)
        while block := file.read(_CHUNK):
            seal.update(block)
    if seal.hexdigest() != given:
        raise CheckpointError(f"{path}: its bytes changed since it was written (the seal does not fit); get it again")
    return given


def sealed(path: Path, header: Header | None = None) -> str:
    """The seal that `path` claims, unchecked, or ""."""
    return (header or read_header(path)).metadata.get(SEAL, "")


def _layout(kinds: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    """Places by falling size of an element, then by name: every tensor begins at a multiple of its element's size."""
    tensors: dict[str, TensorInfo] = {}
    at = 0
    for name in sorted(kinds, key=lambda n: (-BITS[kinds[n]], n)):
        length = BITS[kinds[name]] // 8
        for side in shapes[name]:
            length *= side
        tensors[name] = TensorInfo(kinds[name], shapes[name], at, at + length)
        at += length
    return tensors


def _head(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    for name, info in tensors.items():
        table[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [info.begin, info.end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _statement(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """What the seal covers besides the tensors' bytes; the same whatever the header's spacing or order."""
    return _head(dict(sorted(tensors.items())), metadata)


def kind(name: str, dtype: object, tensor: Tensor) -> str:
    """The format's word for `dtype`. Raises CheckpointError when `tensor` can't be written as plain numbers."""
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized:
        raise CheckpointError(f"tensor {name[:80]!r} is sparse or quantised; only plain tensors can be kept")
    for word, known in dtypes().items():
        if dtype == known:
            return word
    raise CheckpointError(f"tensor {name[:80]!r} has type {dtype}, for which safetensors has no word")


def dtypes() -> dict[str, object]:
    """The format's words and torch's types."""
    import torch

    pairs: dict[str, object] = {
        "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
        "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
        "C64": torch.complex64, "F8_E5M2": torch.float8_e5m2, "F8_E4M3": torch.float8_e4m3fn,
    }  # fmt: skip
    return pairs


def plain_bytes(tensor: Tensor) -> memoryview:
    """The numbers of `tensor` in row-major order, without a copy where they lie so on the CPU."""
    import torch

    flat = tensor.detach().to("cpu").resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data

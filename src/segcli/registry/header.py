"""The header of a safetensors file, read and checked without torch.

Layout: 8 bytes little-endian header length n, n bytes of JSON, then the tensors' bytes without holes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcli.core.errors import CheckpointError

MAX_HEADER = 100_000_000
"""The format's own cap; a length above it is a broken or hostile file, not a large model."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file: its type in the format's words, its shape, and its bytes counted from the data's start."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself. `data` is the offset of the first tensor byte."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data: int


def read_header(path: Path) -> Header:
    """Read and check the header of `path`.

    Raises CheckpointError when the file is missing, cut short, or says something that can't be true.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or length > size - 8:
                raise _broken(path, f"it is cut short ({size} bytes)")
            if length > MAX_HEADER:
                raise _broken(path, f"its header claims {length} bytes, more than the format allows")
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error
    try:
        parsed = json.loads(text.decode("utf-8"), object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise _broken(path, "its header is not the JSON of a safetensors file") from error
    if not isinstance(parsed, dict):
        raise _broken(path, "its header is not a JSON object")
    metadata = parsed.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _broken(path, "its metadata is not a table of words")
    tensors = {name: _tensor(path, name, value) for name, value in parsed.items()}
    _covers(path, tensors, size - 8 - length)
    return Header(tensors, metadata, 8 + length)


def _tensor(path: Path, name: str, value: Any) -> TensorInfo:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _broken(path, f"the entry of tensor {name[:80]!r} is malformed")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _broken(path, f"tensor {name[:80]!r} has the unknown type {str(dtype)[:20]!r}")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _broken(path, f"tensor {name[:80]!r} has an impossible shape or place")
    if math.prod(shape) * BITS[dtype] != 8 * (offsets[1] - offsets[0]):
        raise _broken(path, f"tensor {name[:80]!r}: shape and number of bytes disagree")
    return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])


def _counts(value: Any) -> bool:
    # bool is an int to Python, but not a size.
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def _covers(path: Path, tensors: Mapping[str, TensorInfo], size: int) -> None:
    """Tensors lie one after another and fill the file: bytes that belong to none could hide anything."""
    at = 0
    for info in sorted(tensors.values(), key=lambda t: (t.begin, t.end)):
        if info.begin != at:
            raise _broken(path, "its tensors overlap or leave holes")
        at = info.end
    if at != size:
        raise _broken(path, f"it holds {size} bytes of tensors where its header promises {at}")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _broken(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: not a sound safetensors file: {what}; get it again or convert it again")

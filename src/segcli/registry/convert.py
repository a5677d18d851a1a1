"""From any checkpoint file (pickle, safetensors, index of several) to one sealed safetensors file, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from segcli.core.errors import CheckpointError, UsageError
from segcli.registry import index, writer
from segcli.registry.pickles import read_pickle
from segcli.registry.tensors import TensorFiles, refuse_nan

Say = Callable[[str], None]
Rename = Callable[[str], str | None]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def convert(
    source: Path,
    target: Path,
    metadata: Mapping[str, str],
    *,
    rename: Rename | None = None,
    dtype: str | None = None,
    say: Say = lambda line: None,
) -> None:
    """Write the tensors of `source` to `target` as safetensors with `metadata` (added to what the source had).

    rename: key -> key, or None for a key to leave out. dtype: fp32, bf16 or fp16 for all floating-point tensors; as
    stored when None. Memory: one tensor at a time above a map of the source.
    Raises CheckpointError (unreadable, NaN, values that do not fit the type, two tensors under one key), StorageError.
    """
    tensors, inherited, beside = _open(source)
    if beside:
        say(f"seg: {source}: left out, since no weights: {', '.join(beside[:8])}")
    names: dict[str, str] = {}
    dropped: list[str] = []
    for key in tensors:
        name = rename(key) if rename else key
        if name is None:
            dropped.append(key)
            continue
        if name in names:
            raise CheckpointError(f"{source}: {names[name]} and {key} would both be called {name}; nothing was written")
        names[name] = key
    if dropped:
        say(f"seg: {source}: left out, since the model has no place for them: {', '.join(dropped[:8])}")
    if not names:
        raise CheckpointError(f"{source}: no tensor is left to write; check the options")
    into = PRECISIONS[dtype] if dtype else None
    kinds, shapes = {}, {}
    for name, key in names.items():
        tensor = tensors[key]
        kinds[name] = writer.kind(
            name, tensor.dtype if into is None or not tensor.is_floating_point() else into, tensor
        )
        shapes[name] = tuple(tensor.shape)

    def read(name: str) -> memoryview:
        return writer.plain_bytes(_cast(source, name, tensors[names[name]], into))

    writer.write(target, kinds, shapes, read, {**inherited, **metadata})


def _cast(source: Path, name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    refuse_nan(source, name, tensor)
    if dtype is None or dtype == tensor.dtype:
        return tensor
    cast = tensor.to(dtype)
    if torch.isinf(cast).any() and not torch.isinf(tensor).any():
        raise CheckpointError(f"{source}: tensor {name[:80]!r} has values too large for {dtype}; type --dtype bf16")
    return cast


def _open(source: Path) -> tuple[Mapping[str, Tensor], dict[str, str], list[str]]:
    """Tensors of `source`, its metadata, and what stands beside the tensors."""
    if source.is_dir():
        raise UsageError(f"{source}: is a folder; give the checkpoint file in it")
    if not source.is_file():
        raise CheckpointError(f"{source}: no such file")
    if source.name.endswith(index.SUFFIX):
        return TensorFiles(index.shards(source)), {}, []
    if source.suffix == ".safetensors":
        from segcli.registry.header import read_header

        writer.check_seal(source)
        return TensorFiles([source]), dict(read_header(source).metadata), []
    tensors, beside = read_pickle(source)
    return tensors, {}, beside

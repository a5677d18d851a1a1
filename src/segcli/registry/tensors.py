"""The tensors of one or several safetensors files as one lazy mapping: memory-mapped, straight to device and dtype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from segcli.core.errors import CheckpointError
from segcli.registry.header import TensorInfo, read_header


class TensorFiles(Mapping[str, Tensor]):
    """Key -> tensor; a tensor is read when it is asked for, so a model is filled without a second copy of it.

    Floating-point tensors come in `dtype` (None: as stored), all on `device`. On the CPU and in the stored type a
    tensor is a private map of the file. Raises CheckpointError for files that are broken, for a key that stands in two
    files, and, when a tensor is read, for one that holds NaN.

    beside: files of the checkpoint that hold no tensors (a tokenizer's), by name.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        beside: Mapping[str, Path] | None = None,
    ) -> None:
        from safetensors import safe_open

        self.beside = dict(beside or {})
        self._dtype = dtype
        self._home: dict[str, tuple[Path, Any]] = {}
        self._info: dict[str, TensorInfo] = {}
        self._stack = ExitStack()
        for path in paths:
            header = read_header(path)
            for key in header.tensors:
                if key in self._home:
                    raise CheckpointError(
                        f"{path}: tensor {key[:80]!r} is also in {self._home[key][0]}; give one of them"
                    )
            try:
                opened = self._stack.enter_context(safe_open(path, framework="pt", device=str(device)))
            except OSError as error:
                raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error
            except Exception as error:  # the reader's own error type has moved between its releases
                raise CheckpointError(f"{path}: not a sound safetensors file: {_line(error)}; get it again") from error
            self._home.update(dict.fromkeys(header.tensors, (path, opened)))
            self._info.update(header.tensors)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header."""
        return self._info[key].shape

    def __getitem__(self, key: str) -> Tensor:
        path, opened = self._home[key]
        try:
            tensor: Tensor = opened.get_tensor(key)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"{path}: tensor {key[:80]!r} can't be read: {_line(error)}; get the file again"
            ) from error
        if tensor.is_floating_point():
            refuse_nan(path, key, tensor)
            return tensor if self._dtype is None else tensor.to(self._dtype)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def __enter__(self) -> TensorFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def refuse_nan(path: Path, key: str, tensor: Tensor) -> None:
    """Raise CheckpointError when `tensor` holds NaN. Infinities pass: attention masks are stored with them."""
    wide = tensor if tensor.element_size() > 1 else tensor.float()
    # One sum without a copy; only when it is NaN (also inf - inf) are the values themselves looked at.
    if torch.isnan(wide.sum(dtype=torch.float32)) and torch.isnan(wide).any():
        raise CheckpointError(
            f"{path}: tensor {key[:80]!r} holds NaN; the file is not a usable checkpoint, get it again"
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]

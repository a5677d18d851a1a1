"""From a training state to the files that are bundled: half precision, our own names, and what the file is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from segcli.registry.writer import save


def save_half(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write floating-point tensors as sealed fp16 safetensors; the same tensors give the same bytes.

    Raises ValueError for values beyond half precision, StorageError when the file can't be written.
    """
    halves = {k: v.detach().half().contiguous() for k, v in tensors.items()}
    wide = [k for k, v in halves.items() if not bool(torch.isfinite(v).all())]
    if wide:
        raise ValueError(f"{', '.join(wide)}: values do not fit half precision")
    save(path, halves, metadata)


def split(tensors: Mapping[str, Tensor], prefix: str = "backbone.") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The backbone's tensors, shared by bundled members and stored once, and the rest."""
    shared = {k: v for k, v in tensors.items() if k.startswith(prefix)}
    return shared, {k: v for k, v in tensors.items() if not k.startswith(prefix)}

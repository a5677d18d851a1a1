"""From a training state to the files that are bundled: half precision, our own names, and what the file is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from segcli.core.errors import UsageError
from segcli.registry.writer import save


def save_half(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write floating-point tensors as sealed fp16 safetensors; the same tensors give the same bytes.

    Raises UsageError for values beyond half precision, StorageError when the file can't be written.
    """
    save(path, halved(tensors, path), metadata)


def halved(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Floating-point tensors in half precision on the CPU, for the file `path`.

    Raises UsageError for values beyond half precision: a training that diverged, in a plan's words.
    """
    halves = {k: v.detach().half().contiguous().cpu() for k, v in tensors.items()}
    wide = [k for k, v in halves.items() if not bool(torch.isfinite(v).all())]
    if wide:
        more = f" and {len(wide) - 1} more" if len(wide) > 1 else ""
        raise UsageError(f"{path}: {wide[0]}{more}: values do not fit half precision; lower lr and train again")
    return halves


def split(tensors: Mapping[str, Tensor], prefix: str = "backbone.") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The backbone's tensors, shared by bundled members and stored once, and the rest."""
    shared = {k: v for k, v in tensors.items() if k.startswith(prefix)}
    return shared, {k: v for k, v in tensors.items() if not k.startswith(prefix)}

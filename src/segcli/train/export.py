"""From a training state to the files that are bundled: half precision, our own names, and what the file is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def save_half(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write floating-point tensors as fp16 safetensors; the same tensors give the same bytes."""
    halves = {k: v.detach().half().contiguous() for k, v in sorted(tensors.items())}
    wide = [k for k, v in halves.items() if not bool(torch.isfinite(v).all())]
    if wide:
        raise ValueError(f"{', '.join(wide)}: values do not fit half precision")
    save_file(halves, path, dict(sorted(metadata.items())))


def split(tensors: Mapping[str, Tensor], prefix: str = "backbone.") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The backbone's tensors, shared by bundled members and stored once, and the rest."""
    shared = {k: v for k, v in tensors.items() if k.startswith(prefix)}
    return shared, {k: v for k, v in tensors.items() if not k.startswith(prefix)}

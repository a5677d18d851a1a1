"""Samples are made on the CPU and learned from where the model is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

_T = TypeVar("_T")


def placed(value: _T, device: torch.device) -> _T:
    """A tensor, or a dataclass or mapping with tensors in it, on a device; everything else as it is."""
    found: Any = value
    if isinstance(value, Tensor):
        found = value.to(device)
    elif isinstance(value, Mapping):
        found = {key: placed(part, device) for key, part in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        found = replace(value, **{f.name: placed(getattr(value, f.name), device) for f in fields(value)})
    made: _T = found
    return made

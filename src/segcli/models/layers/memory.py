"""Out of memory, said in seg's own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from segcli.core.errors import DeviceError


@contextmanager
def memory_errors(name: str) -> Iterator[None]:
    """Turn torch's out-of-memory error into a DeviceError that names the model and what to type instead."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise DeviceError(f"{name}: the device has no memory left; use a smaller member or --device cpu") from None

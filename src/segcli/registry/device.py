"""Where a model runs and in which precision; torch is imported when it is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from segcli.core.errors import DeviceError, UsageError

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "fp32", "bf16", "fp16")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Place:
    """A device and a precision that exist here. `chosen` tells that seg chose the device itself."""

    device: torch.device
    dtype: torch.dtype
    chosen: bool

    def __str__(self) -> str:
        return f"{self.device} in {str(self.dtype).removeprefix('torch.')}"


def check_words(device: str, dtype: str) -> None:
    """Refuse words that no machine could obey, without importing torch. Raises UsageError."""
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"--device {device}: unknown; type auto, cpu, mps, cuda or cuda:N")
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: unknown; type one of {', '.join(DTYPES)}")


def resolve(device: str = "auto", dtype: str = "auto") -> Place:
    """A place to run. `auto` takes CUDA, then MPS, then the CPU; its precision is fp32, that of the published results.

    Raises UsageError for unknown words, DeviceError for a device that is not here or a precision it can't do.
    """
    check_words(device, dtype)
    import torch

    where = torch.device(_best() if device == "auto" else device)
    if where.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(f"--device {device}: this machine or this build of torch has no CUDA; type --device cpu")
        if (where.index or 0) >= count:
            raise DeviceError(f"--device {device}: there are {count} CUDA devices here; the last is cuda:{count - 1}")
    if where.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: this machine or this build of torch has no MPS; type --device cpu")
    precision = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32)
    if precision == torch.bfloat16 and where.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(f"--dtype bf16: {where} can't compute in it; type --dtype fp16 or fp32")
    return Place(where, precision, device == "auto")


def _best() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"

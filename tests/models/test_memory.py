"""Out of memory is one line with a way out."""

from __future__ import annotations

import pytest
import torch

from segcli.core.errors import DeviceError
from segcli.models.layers.memory import memory_errors


def test_out_of_memory_names_the_model_and_a_way_out() -> None:
    with (
        pytest.raises(DeviceError, match=r"seem-nano: the device has no memory left; use .* --device cpu"),
        memory_errors("seem-nano"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), memory_errors("seem-nano"):
        1 / 0  # noqa: B018

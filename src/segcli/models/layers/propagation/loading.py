"""The bundled weights of propagation, which stand in a file of their own beside a member's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from segcli.models.layers.loading import load_strict, same_names
from segcli.models.layers.propagation.network import PropagationNet

PREFIX = "propagation."


def without_propagation(key: str) -> str | None:
    """The key table of a member whose files hold propagation's weights too."""
    return None if key.startswith(PREFIX) else same_names(key)


def load_propagation(tensors: Mapping[str, Tensor], channels: Mapping[str, int], name: str) -> PropagationNet | None:
    """The network whose weights stand among `tensors` under PREFIX, or None when there are none.

    channels: of the backbone's res1..res5. Raises CheckpointError for keys that do not fit.
    """
    if not any(key.startswith(PREFIX) for key in tensors):
        return None
    with torch.device("meta"):
        net = PropagationNet(channels)
    load_strict(net, tensors, _only_propagation, name=name)
    return net.eval().requires_grad_(False)


def _only_propagation(key: str) -> str | None:
    return key.removeprefix(PREFIX) if key.startswith(PREFIX) else None

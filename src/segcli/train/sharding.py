"""Parameters spread over the processes of a training, for models that one GPU does not hold (FSDP2).

Only the modules that a recipe names are sharded, for example the layers of a language model: each is gathered when it
is called and let go afterwards. What is called in other ways than by `module(…)` stays whole in every process, so that
a recipe may use its model as it likes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(modules: Iterable[nn.Module], device: torch.device) -> None:
    """Spread the parameters of each module over all processes; the process group must be there."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for module in modules:
        fully_shard(module, mesh=mesh)


def whole(value: Any) -> Any:
    """The same nested dicts and lists with every spread tensor gathered. All processes must call it together."""
    if isinstance(value, DTensor):
        return value.full_tensor().detach()
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole(each) for each in value)
    return value


def placed(like: Tensor, full: Tensor) -> Tensor:
    """A whole tensor spread as `like` is."""
    if not isinstance(like, DTensor):
        return full
    return distribute_tensor(full.detach().to(like.device), like.device_mesh, like.placements)


def clip(parameters: Sequence[nn.Parameter], most: float) -> Tensor:
    """Scale gradients so that their norm over all parameters is at most `most`; returns the norm before."""
    with_gradient = [p for p in parameters if p.grad is not None]
    if not any(isinstance(p, DTensor) for p in with_gradient):
        return nn.utils.clip_grad_norm_(with_gradient, most)
    squares = {True: torch.zeros(()), False: torch.zeros(())}
    for parameter in with_gradient:
        spread = isinstance(parameter.grad, DTensor)
        gradient = _local(parameter)
        squares[spread] = squares[spread].to(gradient.device) + gradient.float().square().sum()
    torch.distributed.all_reduce(squares[True])
    norm = (squares[True] + squares[False].to(squares[True].device)).sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for parameter in with_gradient:
        _local(parameter).mul_(factor)
    return norm


def _local(parameter: nn.Parameter) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient

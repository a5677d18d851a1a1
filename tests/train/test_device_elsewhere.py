"""Whatever device the photos are on: nothing with pixels comes back to the CPU, and nothing of the CPU is mixed in.

The device is torch's "meta", which has shapes and no values. What depends on values (how many, how deep) is given.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from segcli.train.device_colour import Colour
from segcli.train.device_targets import Granularity
from segcli.train.device_users import DeviceUsers
from segcli.train.device_views import DeviceViewConfig, DeviceViews
from segcli.train.resident import resident
from segcli.train.seem import SeemRecipe
from segcli.train.views import TrainingPhoto, ViewConfig

FOUND = 4
aten = torch.ops.aten


class Elsewhere(TorchDispatchMode):
    """Refuses operations on tensors of both sides, as a GPU does, and answers what only values can say."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [x for x in tree_flatten((args, kwargs or {}))[0] if isinstance(x, torch.Tensor)]
        away = [x for x in tensors if x.device.type == "meta"]
        if not away:
            return func(*args, **(kwargs or {}))
        here = [tuple(x.shape) for x in tensors if x.device.type != "meta" and x.ndim]
        assert not here or func in (aten._to_copy.default, aten.copy_.default), f"{func} mixes in {here}"
        if func in (aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default):
            self.waits.append(str(func))
        if func is aten._local_scalar_dense.default:
            return FOUND
        if func is aten.equal.default:
            return True
        if func is aten.nonzero.default:
            return torch.empty(FOUND, args[0].ndim, dtype=torch.long, device="meta")
        if func is aten.index.Tensor:
            self.waits += ["masked" for i in args[1] if i is not None and i.dtype == torch.bool]
            args = (args[0], [place for i in args[1] for place in places(i)])
        return func(*args, **(kwargs or {}))


def places(index: torch.Tensor | None) -> list[torch.Tensor | None]:
    if index is None or index.dtype != torch.bool:
        return [index]
    return [torch.empty(FOUND, dtype=torch.long, device="meta") for _ in range(index.ndim)]


def photo(seed: int) -> TrainingPhoto:
    rng = np.random.default_rng(seed)
    labels = np.zeros((90, 120), np.uint8)
    labels[20:60, 20:70], labels[50:80, 80:110] = 1, 2
    return TrainingPhoto(
        rng.integers(0, 255, (90, 120, 3), dtype=np.uint8), labels, {1: 1.0, 2: 1.0}, (1, 2), {1: "a", 2: "a"}
    )


def test_views_and_users_stay_on_the_device_and_wait_for_it_a_few_times_a_batch() -> None:
    everything = DeviceViewConfig(
        0.1, 0.9, replace(Colour(), jpeg=0.9, blur=0.9), Granularity(touching=0.3, alike=0.3, piece=0.3)
    )
    source = DeviceViews(resident([photo(0), photo(1)], "meta"), ViewConfig(side=64, paste=0.9), everything, 6)
    with Elsewhere() as mode:
        batch = source.batch(0)
        assert len(mode.waits) <= 2  # which targets there are: no more than that
        assert batch.chance is not None
        assert {t.device.type for t in (batch.images, batch.truth, batch.valid, batch.image_of)} == {"meta"}
        users = DeviceUsers(batch, SeemRecipe(box=0.3, scribble=0.3, rough=0.3, careful=0.3), batch.chance)
        before = len(mode.waits)
        users.answer(torch.empty(FOUND, 1, 32, 32, device="meta"))
        assert len(mode.waits) - before <= 2  # how deep errors are, and where clumsy clicks may go
        users.look_again(torch.empty(FOUND, 1, 32, 32, device="meta"))
        prompts = users.prompts()
    assert {t.device.type for t in (prompts.points, prompts.region, prompts.previous)} == {"meta"}

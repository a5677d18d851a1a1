"""Strict loading: every key of a checkpoint used once, every parameter filled, shapes equal.

Build the module under `torch.device("meta")`, then call `load_strict`: tensors of the file become the parameters
themselves, one at a time, so that there are never two copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from segcli.core.errors import CheckpointError

KeyTable = Callable[[str], str | None]
"""Key in the file -> name in the module, or None for a key that is known and not needed."""


@runtime_checkable
class KnowsShapes(Protocol):
    """A mapping of tensors that can tell a shape without reading the tensor."""

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of the tensor under `key`."""
        ...


def same_names(key: str) -> str:
    """The key table of files that use our own names."""
    return key


def load_strict(
    module: nn.Module, tensors: Mapping[str, Tensor], key_table: KeyTable = same_names, *, name: str = "checkpoint"
) -> None:
    """Fill `module` with `tensors`; they replace its parameters and persistent buffers.

    Raises CheckpointError that names missing, unexpected, mis-shaped and doubly used keys, before any tensor is read
    when `tensors` knows its shapes. Raises RuntimeError when buffers that no file holds were left on the meta device.
    """
    wanted = module.state_dict(keep_vars=True)
    places: dict[str, str] = {}
    unexpected, doubled = [], []
    for key in tensors:
        place = key_table(key)
        if place is None:
            continue
        if place not in wanted:
            unexpected.append(key)
        elif place in places:
            doubled.append(f"{places[place]} and {key}")
        else:
            places[place] = key
    missing = [place for place in wanted if place not in places]
    misshapen = [
        f"{key} is {_words(found)} and should be {_words(wanted[place].shape)}"
        for place, key in places.items()
        if (found := _shape(tensors, key)) != tuple(wanted[place].shape)
    ]
    faults = [
        f"{len(keys)} {what}: {_first(keys)}"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
            ("for the same parameter", doubled),
        )
        if keys
    ]
    if faults:
        raise CheckpointError(f"{name}: the file's keys do not fit the model; {'; '.join(faults)}")
    for place, key in places.items():
        _put(module, place, tensors[key])
    bare = [n for n, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    if bare:
        raise RuntimeError(f"{name}: still on the meta device: {_first(bare)}; fill these when building")


def _put(module: nn.Module, place: str, tensor: Tensor) -> None:
    """Make `tensor` the parameter or buffer called `place`, keeping whether it is trained."""
    path, _, leaf = place.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        old = owner._parameters[leaf]
        trained = bool(old is not None and old.requires_grad) and tensor.is_floating_point()
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=trained)
    else:
        owner._buffers[leaf] = tensor


def _shape(tensors: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    return tensors.shape(key) if isinstance(tensors, KnowsShapes) else tuple(tensors[key].shape)


def _words(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _first(keys: list[str], count: int = 4) -> str:
    rest = len(keys) - count
    return ", ".join(keys[:count]) + (f" and {rest} more" if rest > 0 else "")

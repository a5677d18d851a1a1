"""Reading a SEEM golden: weights under their published keys, inputs, recorded draws, expected outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.goldens.contract import Golden, Outcome, within


@dataclass(frozen=True)
class Recorded:
    """The tensors of one golden. float16 storage is exact and read as float32."""

    golden: Golden
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, golden: Golden) -> Recorded:
        tensors = load_file(golden.path)
        if "weights_file" in golden.entry:  # several goldens with the same weights
            tensors |= load_file(golden.directory / golden.entry["weights_file"])
        return cls(golden, {key: t.float() if t.dtype == torch.float16 else t for key, t in tensors.items()})

    @property
    def meta(self) -> dict[str, Any]:
        return dict(self.golden.entry.get("meta", {}))

    def setting(self, start: str, short: str, default: int) -> int:
        """A value by the beginning of its key in `config`, else by its short name in `meta.tiny`, else as published."""
        for key, value in self.golden.entry.get("config", {}).items():
            if key.startswith(start):
                return int(value)
        return int(self.meta.get("tiny", {}).get(short, default))

    def weights(self, prefix: str) -> dict[str, Tensor]:
        return {key[len(prefix) :]: t for key, t in self.tensors.items() if key.startswith(prefix)}

    def get(self, name: str) -> Tensor:
        return self.tensors[name]

    def many(self, prefix: str) -> list[Tensor]:
        """prefix.0, prefix.1, ..."""
        found = []
        while f"{prefix}.{len(found)}" in self.tensors:
            found.append(self.tensors[f"{prefix}.{len(found)}"])
        return found

    def draws(self) -> RecordedDraws:
        keys = sorted(key for key in self.tensors if key.startswith("draw."))
        return RecordedDraws(iter([(key.split(".")[2], self.tensors[key]) for key in keys]))

    def compare(self, outputs: Mapping[str, Tensor], only: Iterable[str] | None = None) -> Outcome:
        """Compare every expected output; one that isn't in `outputs` (without `out.`) raises KeyError."""
        expected = sorted(key for key in self.tensors if key.startswith("out.")) if only is None else only
        return within(
            ((key[4:], difference(outputs[key[4:]], self.tensors[key])) for key in expected),
            float(self.golden.entry["tolerance"]),
        )


class RecordedDraws:
    """Draws of the published code, in the order in which it consumed them."""

    def __init__(self, draws: Iterator[tuple[str, Tensor]]) -> None:
        self._draws = draws

    def _next(self, kind: str) -> Tensor:
        found, draw = next(self._draws)
        if found != kind:
            raise ValueError(f"the recording has a {found} where {kind} is asked for")
        return draw

    def points(self, objects: Tensor, budget: int) -> Tensor:
        return self._next("multinomial")

    def points_of_one(self, count: int, budget: int) -> Tensor:
        return torch.arange(count) if count <= budget else self._next("randperm")[:budget]

    def queries(self, objects: int, each: int, total: int) -> Tensor:
        return self._next("randint")

    def memories(self, slots: int, objects: int) -> Tensor:
        return self._next("multinomial")

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        draw = self._next("rand")
        if tuple(draw.shape) != shape:
            raise ValueError(f"the recording draws {tuple(draw.shape)} numbers where {shape} are asked for")
        return draw

    def finished(self) -> bool:
        return next(self._draws, None) is None


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference; infinite for another shape, 1 where booleans differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    if theirs.numel() == 0:
        return 0.0
    ours, theirs = ours.detach().double(), theirs.double()
    same = (ours == theirs) | (ours.isnan() & theirs.isnan())  # also equal infinities
    return float(torch.where(same, torch.zeros_like(ours), (ours - theirs).abs()).max())


def load(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load strictly and switch to evaluation."""
    module.load_state_dict(weights, strict=True)
    module.eval()


def layers_in(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Number of different integers that follow `prefix` in the keys."""
    return len({key[len(prefix) :].split(".")[0] for key in weights if key.startswith(prefix)})

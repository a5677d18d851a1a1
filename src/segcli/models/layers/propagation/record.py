"""What a tracker keeps of a video, and the same as plain arrays, so that a stopped run goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.models.layers.propagation.evidence import Kept
from segcli.models.layers.propagation.looks import Look

KEPT_DTYPE = torch.float16
_PARTS = ("given", "recent", "given_near", "recent_near")


@dataclass(frozen=True, eq=False)
class Seen:
    """One object's part of a frame that was looked at as a whole: the frame's number, its cells' values [M] and
    features [FEATURES, M]."""

    frame: int
    values: Tensor
    features: Tensor


@dataclass
class ObjectRecord:
    """What is remembered of one object, oldest first.

    given, recent:           looks at whole frames; their keys are shared with other objects.
    given_near, recent_near: looks around the object; of each given mask several views, the plain one last.
    earlier:                 its latest soft mask over the cells of a whole frame, [1, h, w].
    lost:                    it was out of sight in the latest frame.
    """

    given: list[Seen]
    given_near: list[Kept]
    earlier: Tensor
    recent: deque[Seen] = field(default_factory=deque)
    recent_near: deque[Kept] = field(default_factory=deque)
    lost: bool = False

    def correct(self, seen: Seen, views: list[Kept], earlier: Tensor) -> None:
        """Take a later given mask: the first one stays, and answers that were not good enough are forgotten."""
        self.given, self.given_near = [self.given[0], seen], self.given_near[: len(views)] + views
        self.recent.clear()
        self.recent_near.clear()
        self.earlier, self.lost = earlier, False

    def answer(self, seen: Seen, kept: Kept, capacity: int) -> None:
        """Put an answer at the end of the queues and let the oldest go."""
        self.recent.append(seen)
        self.recent_near.append(kept)
        while len(self.recent) > capacity:
            self.recent.popleft()
            self.recent_near.popleft()


@dataclass
class VideoRecord:
    """Everything about one video: keys [C, M] of remembered whole frames by number, and the objects."""

    steps: int = 0
    size: tuple[int, int] | None = None
    frames: dict[int, Tensor] = field(default_factory=dict)
    objects: dict[int, ObjectRecord] = field(default_factory=dict)

    def prune(self) -> None:
        """Forget whole frames that no object refers to."""
        used = {seen.frame for o in self.objects.values() for seen in (*o.given, *o.recent)}
        self.frames = {number: keys for number, keys in self.frames.items() if number in used}

    def looks(self, seen: Iterable[Seen], look: Look) -> list[Kept]:
        """Looks at whole frames, with their keys."""
        return [Kept(look, self.frames[s.frame], s.values, s.features) for s in seen]


def pack(record: VideoRecord) -> dict[str, NDArray[Any]]:
    """The record as arrays. Objects keep their order."""
    height, width = record.size or (0, 0)
    arrays: dict[str, NDArray[Any]] = {
        "video": np.array([record.steps, height, width]),
        "objects": np.array(list(record.objects), dtype=np.int64),
    }
    for number, keys in record.frames.items():
        arrays[f"frame.{number}"] = _array(keys)
    for number, held in record.objects.items():
        arrays[f"{number}.earlier"] = _array(held.earlier)
        arrays[f"{number}.lost"] = np.array(held.lost)
        for part in _PARTS:
            entries = list(getattr(held, part))
            arrays[f"{number}.{part}"] = np.array(len(entries))
            for index, entry in enumerate(entries):
                prefix = f"{number}.{part}.{index}"
                arrays[f"{prefix}.values"] = _array(entry.values)
                arrays[f"{prefix}.features"] = _array(entry.features)
                if isinstance(entry, Seen):
                    arrays[f"{prefix}.frame"] = np.array(entry.frame)
                else:
                    look: Look = entry.look
                    arrays[f"{prefix}.keys"] = _array(entry.keys)
                    arrays[f"{prefix}.look"] = np.array([look.x0, look.y0, look.x1, look.y1, *look.input])
    return arrays


def unpack(arrays: Mapping[str, NDArray[Any]], device: torch.device) -> VideoRecord:
    """The record that `pack` was given, bit for bit."""
    steps, height, width = (int(v) for v in arrays["video"])
    record = VideoRecord(steps, (height, width) if height else None)
    for name in arrays:
        if name.startswith("frame."):
            record.frames[int(name.removeprefix("frame."))] = _tensor(arrays[name], device)

    def cells(prefix: str) -> tuple[Tensor, Tensor]:
        return _tensor(arrays[f"{prefix}.values"], device), _tensor(arrays[f"{prefix}.features"], device)

    for number in (int(n) for n in arrays["objects"]):

        def seen(part: str, number: int = number) -> list[Seen]:
            prefixes = [f"{number}.{part}.{i}" for i in range(int(arrays[f"{number}.{part}"]))]
            return [Seen(int(arrays[f"{p}.frame"]), *cells(p)) for p in prefixes]

        def kept(part: str, number: int = number) -> list[Kept]:
            prefixes = [f"{number}.{part}.{i}" for i in range(int(arrays[f"{number}.{part}"]))]
            return [
                Kept(
                    _look(arrays[f"{p}.look"]),
                    _tensor(arrays[f"{p}.keys"], device),
                    *cells(p),
                )
                for p in prefixes
            ]

        record.objects[number] = ObjectRecord(
            seen("given"),
            kept("given_near"),
            _tensor(arrays[f"{number}.earlier"], device),
            deque(seen("recent")),
            deque(kept("recent_near")),
            bool(arrays[f"{number}.lost"]),
        )
    return record


def _look(values: NDArray[Any]) -> Look:
    x0, y0, x1, y1, height, width = (int(v) for v in values)
    return Look(x0, y0, x1, y1, (height, width))


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()


def _tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(array)).to(device)

"""One question about one image."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Literal

from segcli.core.rle import Rle

Answer = Literal["all", "text", "visual"]
Kind = Literal["panoptic", "semantic", "instance"]


class PromptKind(StrEnum):
    """What a model may accept; `accepts` in weights.toml uses these words.

    EXAMPLES (photos with masks, learnt before any ask) and VIDEO (a mask carried from frame to frame) are no part of an
    `Ask`: the models that accept them are `segcli.models.api.Learning` and `Tracking`.
    """

    POINT = "point"
    BOX = "box"
    SCRIBBLE = "scribble"
    POLYGON = "polygon"
    MASK = "mask"
    PREVIOUS = "previous"
    TEXT = "text"
    REFERENCE = "reference"
    CLASSES = "classes"
    EXAMPLES = "examples"
    VIDEO = "video"


@dataclass(frozen=True)
class Point:
    """A click at the centre of pixel (x, y) of the upright photo; fractions of pixels are allowed."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True)
class Box:
    """Corners in pixels, x0 <= x1 and y0 <= y1, both corner pixels inside."""

    x0: float
    y0: float
    x1: float
    y1: float
    positive: bool = True


@dataclass(frozen=True)
class Scribble:
    """A stroke: a poly-line through pixel centres, or (`drawn`) a painted mask of the photo's size."""

    points: tuple[tuple[float, float], ...] = ()
    drawn: Rle | None = None
    positive: bool = True


@dataclass(frozen=True)
class Polygon:
    """A closed outline through pixel centres; its inside is meant."""

    points: tuple[tuple[float, float], ...]
    positive: bool = True


@dataclass(frozen=True)
class Reference:
    """A region of an image, numbered from 1 in the order given; `image` None means the asked photo itself."""

    image: str | None
    region: Rle | Point | Box


@dataclass(frozen=True)
class Ask:
    """Everything that together describes ONE object (or class, or group) of one photo.

    Coordinates are pixels of the upright photo at full size. Frozen and hashable, so that answers can be cached.
    `mask` is a rough mask used as a prompt; `previous` is the last round's answer, used as memory.
    `multimask` asks for the alternatives of an ambiguous prompt. `id` names the ask in outputs.
    `every` asks for all instances that the words mean and not for the best one, `threshold` from which score on.
    `answer` says which queries answer when words and places meet: SEEM's output_query (its Table 5).
    `classes` with `kind` asks for the whole photo at once; without, for a label of each mask out of them.
    `candidates` are the masks that a group is chosen from, best first; `at_least_one` takes the best of them rather
    than none.
    `things` says of each class whether it is countable (None: nobody said, the model may know); empty for all None.
    """

    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    scribbles: tuple[Scribble, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    mask: Rle | None = None
    previous: Rle | None = None
    text: str | None = None
    references: tuple[Reference, ...] = ()
    classes: tuple[str, ...] = ()
    things: tuple[bool | None, ...] = ()
    candidates: tuple[Rle, ...] = ()
    at_least_one: bool = False
    multimask: bool = False
    every: bool = False
    threshold: float | None = None
    answer: Answer = "all"
    kind: Kind | None = None
    id: str | None = field(default=None, compare=False)

    @property
    def kinds(self) -> frozenset[PromptKind]:
        """Which kinds of prompt this ask uses; a verb checks them against a model's `accepts`."""
        return frozenset(_KIND_OF[f.name] for f in fields(self) if f.name in _KIND_OF and getattr(self, f.name))

    @property
    def has_positive(self) -> bool:
        """True when something says where the object is (and not only where it is not)."""
        spatial: tuple[Point | Box | Scribble | Polygon, ...]
        spatial = (*self.points, *self.boxes, *self.scribbles, *self.polygons)
        others = self.mask or self.previous or self.text or self.references
        return any(p.positive for p in spatial) or bool(others)


_KIND_OF = {
    "points": PromptKind.POINT,
    "boxes": PromptKind.BOX,
    "scribbles": PromptKind.SCRIBBLE,
    "polygons": PromptKind.POLYGON,
    "mask": PromptKind.MASK,
    "previous": PromptKind.PREVIOUS,
    "text": PromptKind.TEXT,
    "references": PromptKind.REFERENCE,
    "classes": PromptKind.CLASSES,
}

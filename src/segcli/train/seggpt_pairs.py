"""In-context colouring: pairs of photos that show the same, under colours drawn anew for each pair (SegGPT, 3.1).

A canvas is one photo above another. What a colour means can only be read from the other half: a random part of the
categories (or objects) takes random colours, the same in both halves, and the rest stays black.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import StorageError, UsageError
from segcli.datasets.folders import IGNORED, Photo
from segcli.models.seggpt.embedding import INSTANCE, SEMANTIC
from segcli.train.seggpt_data import BlockwiseMask
from segcli.train.seggpt_views import LabelledPhoto, ViewConfig, random_box, resized, stacked, stitched, view

Kind = Literal["semantic", "instance"]
_TRIES = 50
_LEAST_VISIBLE = 0.002
"""Share of a half that must be coloured; Painter drops pairs with less visible target in a like manner."""


@dataclass(frozen=True)
class PairConfig:
    """How pairs are drawn. Probabilities; the paper's where it has one, else Painter's code, else ours.

    same_photo:  the partner is another view of the same photo, for semantic pairs (paper: 0.5).
    half_mask:   the lower half is hidden, as when it answers, and not blocks of both (Painter: 0.1).
    mixed:       mix-context: each half is stitched of four photos; how often is not published (ours).
    most_colors: categories or objects that take a colour in one pair, at most (ours).
    joint_scale, joint_ratio: of a second cut over the whole canvas, so that the seam moves (Painter).
    """

    view: ViewConfig = field(default_factory=ViewConfig)
    same_photo: float = 0.5
    half_mask: float = 0.1
    mixed: float = 0.25
    most_colors: int = 8
    joint_scale: tuple[float, float] = (0.3, 1.0)
    joint_ratio: tuple[float, float] = (0.3, 0.7)


@dataclass(frozen=True)
class Source:
    """Photos of one kind of task and how often they are drawn."""

    name: str
    kind: Kind
    photos: tuple[Photo, ...]
    weight: float = 1.0

    @property
    def key(self) -> tuple[str, str]:
        """The folder and the kind: one folder may serve both."""
        return self.name, self.kind


@dataclass(frozen=True, eq=False)
class Canvas:
    """One training sample.

    photo, target: uint8 [2*side, side, 3]. valid: bool [2*side, side], where the truth is known. hidden: bool
    [rows, columns] of tokens. kind: SEMANTIC or INSTANCE.
    """

    photo: NDArray[np.uint8]
    target: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    kind: int


class PairSampler:
    """Draws training samples from weighted sources; what is drawn depends on the generator alone."""

    def __init__(self, sources: Sequence[Source], side: int, grid: tuple[int, int], config: PairConfig) -> None:
        """Raises UsageError for weights that can't be, StorageError for a source without a photo of use."""
        if not sources or any(source.weight < 0 for source in sources) or not sum(s.weight for s in sources):
            raise UsageError("the weights of the data must be positive numbers")
        self.sources, self.side, self.grid, self.config = tuple(sources), side, grid, config
        total = sum(source.weight for source in sources)  # the paper's add up to 0.99
        self._shares = [source.weight / total for source in sources]
        self._blocks = BlockwiseMask(grid, grid[0] * grid[1] // 2, largest=grid[0] * grid[1] // 4)
        self._codes = {source.key: _codes(source) for source in sources}
        self._with = {source.key: _photos_with(self._codes[source.key]) for source in sources}

    def draw(self, rng: np.random.Generator) -> Canvas:
        """One sample. Raises StorageError when no pair of a source shows anything."""
        source = self.sources[int(rng.choice(len(self.sources), p=self._shares))]
        for _ in range(_TRIES):
            canvas = self._pair(source, rng)
            if canvas is not None:
                return canvas
        raise StorageError(f"{source.name}: no pair of its photos shows anything that could be coloured")

    def _pair(self, source: Source, rng: np.random.Generator) -> Canvas | None:
        config = self.config
        first = int(rng.integers(len(source.photos)))
        known = self._codes[source.key][first]
        if not known:
            return None
        category = sorted(set(known.values()))[int(rng.integers(len(set(known.values()))))]
        halves = []
        mixed = rng.random() < config.mixed
        for half in range(2):
            views = []
            for quarter in range(4 if mixed else 1):
                same = source.kind == "instance" or (half == 0 and quarter == 0) or rng.random() < config.same_photo
                index = first if same else self._partner(source, category, rng)
                views.append(
                    view(self._read(source, index), self.side, config.view, rng, whole=source.kind == "instance")
                )
            halves.append(stitched(views, self.side) if mixed else views[0])
        canvas = stacked(*halves)
        half_mask = rng.random() < config.half_mask
        if source.kind == "semantic" and not half_mask:
            box = random_box(canvas.codes.shape, config.joint_scale, config.joint_ratio, rng)
            canvas = resized(canvas, box, canvas.codes.shape)
        return self._colored(canvas, half_mask, source, rng)

    def _colored(
        self, canvas: LabelledPhoto, half_mask: bool, source: Source, rng: np.random.Generator
    ) -> Canvas | None:
        upper, lower = np.split(canvas.codes, 2)
        shared = sorted(({*np.unique(upper).tolist()} & {*np.unique(lower).tolist()}) - {0, -1})
        if not shared:
            return None
        count = int(rng.integers(1, min(len(shared), self.config.most_colors) + 1))
        target = np.zeros((*canvas.codes.shape, 3), np.uint8)
        for code in rng.permutation(shared)[:count].tolist():
            target[canvas.codes == code] = rng.integers(0, 256, 3)
        colored = target.any(-1)
        if min(half.mean() for half in np.split(colored, 2)) < _LEAST_VISIBLE:
            return None
        valid = canvas.codes >= 0
        if half_mask:
            hidden = np.zeros(self.grid, np.bool_)
            hidden[self.grid[0] // 2 :] = True
        else:
            seed = int(rng.integers(1 << 31))
            hidden = self._blocks.draw(random.Random(seed), np.random.RandomState(seed))
        patch = canvas.codes.shape[0] // self.grid[0]
        if not valid[np.kron(hidden, np.ones((patch, patch), np.bool_)).astype(np.bool_)].any():
            return None
        return Canvas(canvas.pixels, target, valid, hidden, SEMANTIC if source.kind == "semantic" else INSTANCE)

    def _partner(self, source: Source, category: int, rng: np.random.Generator) -> int:
        """A photo that shows the category; where no other one does, the only one."""
        showing = self._with[source.key][category]
        return showing[int(rng.integers(len(showing)))]

    def _read(self, source: Source, index: int) -> LabelledPhoto:
        """A photo with codes: categories are the same in all photos of a source, instances are the photo's own."""
        photo = source.photos[index]
        ids = photo.ids()
        codes = np.zeros(ids.shape, np.int32)
        for stored, code in self._codes[source.key][index].items():
            codes[ids == stored] = code
        codes[ids == IGNORED] = -1
        return LabelledPhoto(photo.pixels(), codes)


def _codes(source: Source) -> list[dict[int, int]]:
    """For each photo: the mask's values -> codes. One code a class name, or one an object where masks are objects."""
    names: dict[str, int] = {}
    found = []
    for number, photo in enumerate(source.photos):
        objects = photo.labelled(photo.ids())
        if source.kind == "instance":
            found.append({o.id: o.id for o in objects if o.thing is not False})
            continue
        codes = {}
        for labelled in objects:
            # What has no name is like nothing but itself: its other views are the only partners.
            name = labelled.name if labelled.name is not None else f"\0{number} {labelled.id}"
            codes[labelled.id] = names.setdefault(name, len(names) + 1)
        found.append(codes)
    if not any(found):
        raise StorageError(f"{source.name}: no photo has anything marked for {source.kind} pairs")
    return found


def _photos_with(codes: list[dict[int, int]]) -> dict[int, list[int]]:
    """Code -> the photos that show it."""
    showing: dict[int, list[int]] = {}
    for number, known in enumerate(codes):
        for code in set(known.values()):
            showing.setdefault(code, []).append(number)
    return showing

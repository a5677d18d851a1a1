"""Photos to tune a prompt on: plain folders, and which of what is labelled there the prompt is for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Kind
from segcli.core.errors import ItemError, UsageError
from segcli.core.example import Example, Task
from segcli.core.image import Image
from segcli.datasets import folders
from segcli.datasets.folders import IGNORED, FolderObject, Photo

LEAST_SHARE = 0.005
"""A photo is of use when what the prompt is for covers that share of it."""


@dataclass(frozen=True)
class Lessons:
    """Photos for a task, those to learn from and those kept back, all still on disk.

    number_of: class name -> id; for photos without named objects the mask's own values are the ids, and it is empty.
    """

    task: Task
    learned: tuple[Photo, ...]
    kept: tuple[Photo, ...]
    number_of: dict[str, int]

    def read(self, photo: Photo) -> Example:
        """A photo as an example: ids of the task, what is to be ignored, and instances where the task has things."""
        pixels, stored = photo.pixels(), photo.ids()
        ids = np.zeros(stored.shape, np.uint16)
        instances = np.zeros(stored.shape, np.uint16)
        for labelled in photo.labelled(stored):
            number = self._number(labelled)
            if number is not None:
                ids[stored == labelled.id] = number
                if number in self.task.things:
                    instances[stored == labelled.id] = labelled.id
        image = Image(pixels, (pixels.shape[0], pixels.shape[1]), str(photo.image))
        whole = self.task.kind == "panoptic"
        return Example(image, ids, stored == IGNORED, instances if whole else None)

    def fingerprint(self) -> str:
        """Of every photo and mask that is learned from, and of what is meant in them."""
        whole = hashlib.sha256(repr((self.task.kind, sorted(self.task.names.items()))).encode())
        for photo in self.learned:
            whole.update(photo.image.read_bytes() + photo.mask.read_bytes())
        return whole.hexdigest()[:32]

    def _number(self, labelled: FolderObject) -> int | None:
        if self.number_of:
            return None if labelled.name is None else self.number_of.get(labelled.name)
        return labelled.id


def read_lessons(roots: Iterable[Path], kind: Kind, names: Sequence[str], hold_out: int) -> Lessons:
    """Photos below `roots` that show what the prompt is for; each `hold_out`-th is kept back, none for 0.

    names: the classes that are meant; none for all named ones, or, where nothing is named, for the masks' own ids.
    Raises UsageError when nothing fits, StorageError and ItemError for broken folders.
    """
    photos = [photo for root in roots for source in folders.sources(root) for photo in folders.photos(source)]
    objects = [o for photo in photos for o in photo.objects or ()]
    known = sorted({o.name for o in objects if o.name is not None})
    if missing := [name for name in names if name not in known]:
        raise UsageError(f"--class {missing[0]}: no photo has it; those there are: {', '.join(known[:12]) or 'none'}")
    chosen = list(dict.fromkeys(names)) or known
    number_of = {name: number for number, name in enumerate(chosen, 1)}
    things = {number_of[o.name] for o in objects if o.name in number_of and o.thing}
    if kind == "panoptic" and not number_of:
        raise UsageError("--kind panoptic needs names of classes: an objects.jsonl beside images/ and masks/")
    useful, seen = [], set()
    for photo in photos:
        found = _found(photo, number_of)
        if found:
            useful.append(photo)
            seen |= found
    if not useful:
        raise UsageError("--data: no photo shows enough of what the prompt is for; give other folders or classes")
    task_names: dict[int, str | None] = {number: name for name, number in number_of.items()} or dict.fromkeys(seen)
    task = Task(kind, task_names, frozenset(things) if kind == "panoptic" else frozenset())
    kept = tuple(useful[hold_out - 1 :: hold_out]) if hold_out else ()
    learned = tuple(photo for photo in useful if photo not in kept)
    if not learned:
        raise UsageError(f"--data: {len(useful)} photo(s) of use and none is left to learn from; give more")
    return Lessons(task, learned, kept, number_of)


def _found(photo: Photo, number_of: dict[str, int]) -> set[int]:
    """Which ids of the task a photo shows enough of."""
    if photo.objects is not None and number_of and not any(o.name in number_of for o in photo.objects):
        return set()
    try:
        stored = photo.ids()
    except ItemError as error:
        raise UsageError(f"{photo.image}: {error}") from None
    area = np.bincount(stored.ravel(), minlength=256)
    labelled = photo.labelled(stored)
    numbers = {o.id: number_of.get(o.name or "") if number_of else o.id for o in labelled}
    shown = {number for stored_id, number in numbers.items() if number is not None and area[stored_id]}
    covered = sum(int(area[stored_id]) for stored_id, number in numbers.items() if number is not None)
    return shown if covered >= LEAST_SHARE * stored.size else set()


def richest(lessons: Lessons, count: int) -> list[Photo]:
    """The photos to begin from: each adds what ids it can to those before it; of equals the one that shows most."""
    shown: list[tuple[Photo, frozenset[int], int]] = []
    for photo in lessons.learned:
        ids: NDArray[np.integer] = lessons.read(photo).ids
        shown.append((photo, frozenset(np.unique(ids[ids > 0]).tolist()), int((ids > 0).sum())))
    chosen: list[Photo] = []
    seen: frozenset[int] = frozenset()
    while shown and len(chosen) < count:
        best = max(shown, key=lambda each: (len(each[1] - seen), len(each[1]), each[2]))
        shown.remove(best)
        chosen.append(best[0])
        seen |= best[1]
    return chosen

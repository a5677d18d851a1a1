"""Few-shot segmentation: mIoU and FB-IoU over classes, and the official episodes, as in HSNet's code.

SegGPT's rows use the same episodes. Counts are kept per class, not per episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import UsageError

CLASSES = {"pascal": 20, "coco": 80, "fss": 1000}


class EpisodeCounts(NamedTuple):
    """Pixels of one episode: intersections and unions of background and object."""

    background_both: int
    object_both: int
    background_either: int
    object_either: int


def episode_counts(truth: NDArray[Any], prediction: NDArray[Any], ignore: NDArray[Any] | None = None) -> EpisodeCounts:
    """Counts of one episode. Masks [H, W] of 0 and 1; pixels where `ignore` is not 0 are left out on both sides."""
    t, p = truth == 1, prediction == 1
    if ignore is not None:
        counted = ignore == 0
        t, p = t & counted, p & counted
        pixels = int(np.count_nonzero(counted))
    else:
        pixels = t.size
    both = int(np.count_nonzero(t & p))
    either = int(np.count_nonzero(t)) + int(np.count_nonzero(p)) - both
    return EpisodeCounts(pixels - either, both, pixels - both, either)


class FewShotScores(NamedTuple):
    """Both in percent."""

    miou: float
    fb_iou: float


def fewshot_scores(
    episodes: Iterable[tuple[int, EpisodeCounts]], classes: Sequence[int], total_classes: int
) -> FewShotScores:
    """mIoU and FB-IoU over the `classes` of a fold, from (class, counts) in the order of the episodes.

    Summed in float32 in that order as published, which rounds above 2^24 pixels. A class without any episode counts 0.
    """
    both, either = np.zeros((2, 2, total_classes), np.float32)
    for cls, counts in episodes:
        both[:, cls] += np.array(counts[:2], np.float32)
        either[:, cls] += np.array(counts[2:], np.float32)
    wanted = list(classes)
    ious = both[:, wanted] / np.maximum(either[:, wanted], np.float32(1))
    sums = both[:, wanted].sum(axis=1) / either[:, wanted].sum(axis=1)
    return FewShotScores(float(ious[1].mean() * 100), float(sums.mean() * 100))


class Episode(NamedTuple):
    """One query with its examples; entries of the lists they were drawn from. `cls` counts from 0."""

    cls: int
    query: Any
    supports: tuple[Any, ...]


def pascal_episodes(entries: Sequence[tuple[str, int]], shots: int, count: int = 1000, seed: int = 0) -> list[Episode]:
    """Episodes of PASCAL-5i: `entries` are the (name, class from 0) of a fold's list; queries and supports are indices.

    The i-th query is the i-th entry, round and round; supports are drawn from the entries of its class.
    """
    random = np.random.RandomState(seed)
    members: dict[int, list[int]] = {}
    for index, (_, cls) in enumerate(entries):
        members.setdefault(cls, []).append(index)
    names = [name for name, _ in entries]
    episodes = []
    for i in range(count):
        query = i % len(entries)
        cls = entries[query][1]
        supports = _draw(random, members[cls], shots, [k for k in members[cls] if names[k] == names[query]])
        episodes.append(Episode(cls, query, supports))
    return episodes


def coco_episodes(
    lists: Mapping[int, Sequence[str]], classes: Sequence[int], shots: int, count: int = 1000, seed: int = 0
) -> list[Episode]:
    """Episodes of COCO-20i: class, query and supports are all drawn; entries are the paths of the lists."""
    random = np.random.RandomState(seed)
    episodes = []
    for _ in range(count):
        cls = int(random.choice(classes, 1, replace=False)[0])
        members = list(lists[cls])
        query = members[_index(random, len(members))]
        supports = _draw(random, members, shots, [query])
        episodes.append(Episode(cls, query, supports))
    return episodes


def fss_episodes(classes: Sequence[tuple[int, Sequence[str]]], shots: int, seed: int = 0) -> list[Episode]:
    """Episodes of FSS-1000: every image once as query. `classes` are (class, image names in string order).

    Supports are drawn as the number 1..10 of a file, entries are (class, file stem).
    """
    random = np.random.RandomState(seed)
    episodes = []
    for cls, names in classes:
        for name in names:
            supports: list[str] = []
            while len(supports) < shots:
                drawn = str(_index(random, 10) + 1)
                if drawn != name:
                    supports.append(drawn)
            episodes.append(Episode(cls, name, tuple(supports)))
    return episodes


def _draw(random: np.random.RandomState, members: Sequence[Any], shots: int, barred: Sequence[Any]) -> tuple[Any, ...]:
    """Draw `shots` members one by one, the same one again if it comes, until none is barred."""
    if all(m in barred for m in members):
        raise UsageError("a class has one image only: nothing is left to show as its example")
    drawn: list[Any] = []
    while len(drawn) < shots:
        member = members[_index(random, len(members))]
        if member not in barred:
            drawn.append(member)
    return tuple(drawn)


def _index(random: np.random.RandomState, count: int) -> int:
    """One draw without replacement: it uses up a whole permutation of the generator, as published."""
    return int(random.choice(count, 1, replace=False)[0])

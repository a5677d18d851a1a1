"""What seg does on run-length codes (pycocotools, and a little numpy) beside rlemasklib, which does more on them.

    pip install rlemasklib; python benchmarks/rle.py [--photos 100] [--rounds 5]

Masks come and go as COCO's compressed strings, as files hold them; both sides are checked to give the same masks.
Seconds are of processor time, the best of some rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rlemasklib
from rlemasklib import RLEMask

from segcli.core import algebra
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle, encode, iou, merge

SETS = {"640x480, 7 masks": ((480, 640), 7, 0), "4000x3000, 20 masks": ((3000, 4000), 20, 0)}
SETS["640x480, 7 ragged masks"] = ((480, 640), 7, 0.2)


def drawn(size: tuple[int, int], count: int, noise: float, rng: np.random.Generator) -> list[Rle]:
    """Wavy discs, with noise of a model's border where asked for."""
    rows, columns = np.indices(size, np.float32)
    found = []
    for _ in range(count):
        y, x, radius = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(0.05, 0.3) * size[0]
        angle = np.arctan2(rows - y, columns - x)
        far = np.hypot(rows - y, columns - x) / (1 + 0.2 * np.sin(5 * angle))
        if noise:
            far *= 1 + noise * rng.standard_normal(size)
        found.append(encode(far < radius))
    return found


def theirs(masks: Sequence[Rle]) -> list[RLEMask]:
    """From COCO's strings."""
    return [RLEMask.from_dict({"size": list(one.size), "counts": one.counts}) for one in masks]


def back(mask: RLEMask) -> Rle:
    """To COCO's string."""
    held = mask.to_dict()
    return Rle((int(held["size"][0]), int(held["size"][1])), bytes(held["counts"]))


def cleaned(masks: Sequence[Rle]) -> list[Rle]:
    whole = Prediction(masks[0].size, tuple(masks))
    return list(algebra.cleaned(whole, holes=64, islands=64).masks)


def cleaned_there(masks: Sequence[Rle]) -> list[Rle]:
    made = [one.remove_small_components(64).fill_small_holes(64) for one in theirs(masks)]
    return [back(one) for one in made if one.area()]


WORK: dict[str, tuple[Callable[[Sequence[Rle]], Any], Callable[[Sequence[Rle]], Any]]] = {
    "areas and boxes (stats)": (
        lambda masks: [(one.area, one.bbox) for one in masks],
        lambda masks: [(one.area(), tuple(int(v) for v in one.bbox())) for one in theirs(masks)],
    ),
    "IoU, each with each": (
        lambda masks: iou(masks, masks).round(9).tolist(),
        lambda masks: np.nan_to_num(RLEMask.iou_matrix(theirs(masks), theirs(masks))).round(9).tolist(),
    ),
    "union of all": (merge, lambda masks: back(RLEMask.merge_many(theirs(masks), rlemasklib.BoolFunc.OR))),
    "first minus the others": (
        lambda masks: algebra.subtract(masks[0], merge(masks[1:])),
        lambda masks: back(theirs(masks[:1])[0] - RLEMask.merge_many(theirs(masks[1:]), rlemasklib.BoolFunc.OR)),
    ),
    "holes and islands out": (cleaned, cleaned_there),
}


def seconds(work: Callable[[Sequence[Rle]], Any], sets: Sequence[Sequence[Rle]], rounds: int) -> float:
    """The best of some rounds over all sets."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for masks in sets:
            work(masks)
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for words, (size, count, noise) in SETS.items():
        photos = max(1, args.photos * 480 * 640 // (size[0] * size[1]))
        sets = [drawn(size, count, noise, np.random.default_rng(n)) for n in range(photos)]
        print(f"{words} ({photos} photos)          seg   rlemasklib")
        for name, (ours, other) in WORK.items():
            same = sum(ours(masks) == other(masks) for masks in sets)
            a, b = seconds(ours, sets, args.rounds) / photos, seconds(other, sets, args.rounds) / photos
            said = "" if same == photos else f"   (the same for {same} of {photos})"
            print(f"  {name:26} {1e3 * a:8.3f} ms {1e3 * b:8.3f} ms   {a / b:5.1f}x{said}")


if __name__ == "__main__":
    main()

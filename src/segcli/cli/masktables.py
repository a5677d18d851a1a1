"""What `seg masks stats` prints: a line a mask, or a summary by label."""

from __future__ import annotations

import csv
import json
import statistics
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from segcli.io.maskfiles import Masks

COLUMNS = ("image", "width", "height", "id", "label", "score", "area", "share", "x", "y", "w", "h")


class Counting:
    """Sums over all masks that pass; with `each`, or as CSV, a line for each of them as it comes."""

    def __init__(self, way: Literal["table", "csv", "json"], each: bool) -> None:
        self._way, self._each = way, each or way == "csv"
        self._photos = self._empty = 0
        self._covered = 0.0
        self._areas: dict[str, list[int]] = {}
        self._csv = csv.writer(sys.stdout, lineterminator="\n")
        if way == "csv":
            self._csv.writerow(COLUMNS)

    def add(self, one: Masks) -> None:
        """Count a photo's masks."""
        from segcli.core.algebra import coverage

        prediction = one.prediction
        height, width = prediction.size
        self._photos += 1
        self._empty += not len(prediction)
        self._covered += coverage(prediction)
        for n, rle in enumerate(prediction.masks):
            area, name = rle.area, prediction.names[n]
            self._areas.setdefault(name or "(none)", []).append(area)
            if self._each:
                score = round(prediction.scores[n], 6) if one.scored else None
                share = round(area / (height * width), 6)
                self._line(str(one.relative), width, height, prediction.ids[n], name, score, area, share, *rle.bbox)

    def finish(self) -> None:
        """The summary; CSV has none."""
        if self._way == "csv":
            return
        every = [a for areas in self._areas.values() for a in areas]
        rows = [(name, len(areas), *_spread(areas)) for name, areas in sorted(self._areas.items(), key=_most)]
        covered = self._covered / self._photos if self._photos else 0.0
        if self._way == "json":
            labels = {n: {"masks": c, "least": a, "median": m, "most": b} for n, c, a, m, b in rows}
            whole = {"photos": self._photos, "masks": len(every), "empty": self._empty, "coverage": round(covered, 6)}
            print(json.dumps(whole | {"labels": labels}))
            return
        said = f"{counted(len(every), 'mask')} of {counted(self._photos, 'photo')} ({self._empty} without)"
        print(f"{said}, {covered:.1%} covered")
        if rows:
            width = max(len("label"), *(len(row[0]) for row in rows))
            print(f"{'label':<{width}}  {'masks':>7}  {'least':>9}  {'median':>9}  {'most':>9}  pixels")
            for name, count, least, median, most in rows:
                print(f"{name:<{width}}  {count:>7}  {least:>9}  {median:>9}  {most:>9}")

    def _line(self, *values: object) -> None:
        if self._way == "json":
            print(json.dumps(dict(zip(COLUMNS, values, strict=True))))
        elif self._way == "csv":
            self._csv.writerow(["" if v is None else v for v in values])
        else:
            print("  ".join("-" if v is None else str(v) for v in values))


def counted(number: int, noun: str) -> str:
    """ "1 mask", "2 masks"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _spread(areas: list[int]) -> tuple[int, int, int]:
    return min(areas), round(statistics.median(areas)), max(areas)


def _most(row: tuple[str, list[int]]) -> tuple[int, str]:
    return -len(row[1]), row[0]

"""The connected parts of a run-length encoded mask, found without decoding it.

A run that ends in another column than it began in is cut at the columns' ends. Pieces in neighbouring columns are
connected where they share a row (4-connected, as `scipy.ndimage.label` has it); what hangs together is found in the
graph of pieces, so time and memory go with the number of runs, however large the photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segcli.core.rle import Rle, complement, from_borders, inside_runs

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """A mask as pieces of columns: where each starts and stops (counted down the columns) and which part it is of.

    height: rows of the mask. areas: pixels of each part, [parts].
    """

    height: int
    starts: Indices
    stops: Indices
    part: Indices
    areas: Indices


def parts(rle: Rle) -> Parts:
    """The 4-connected parts of what is inside."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    height = rle.size[0]
    starts, stops = _cut(*inside_runs(rle), height)
    # Pieces [s, t) and [u, v) of the next column share a row where u < t + height and v > s + height.
    first = np.searchsorted(stops, starts + height, side="right")
    counts = np.maximum(np.searchsorted(starts, stops + height, side="left") - first, 0)
    here = np.repeat(np.arange(len(starts)), counts)
    there = np.arange(len(here)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    graph = coo_array((np.ones(len(here), np.bool_), (here, there)), shape=(len(starts), len(starts)))
    number, part = connected_components(graph, directed=False) if len(starts) else (0, np.zeros(0, np.int64))
    areas = np.bincount(part, weights=stops - starts, minlength=number).astype(np.int64)
    return Parts(height, starts, stops, part.astype(np.int64), areas)


def without_islands(rle: Rle, least: int) -> Rle:
    """The mask without its parts of fewer than `least` pixels."""
    found = parts(rle)
    return _of(found, found.areas >= least, rle.size)


def without_holes(rle: Rle, least: int) -> Rle:
    """The mask with its holes of fewer than `least` pixels filled. What reaches the mask's box is no hole."""
    x, y, width, height = rle.bbox
    if not width:
        return rle
    outside = complement(rle)
    found = parts(outside)
    columns, rows = np.divmod(found.starts, found.height)
    reaches = (columns <= x) | (columns >= x + width - 1) | (rows <= y)
    reaches |= rows + found.stops - found.starts >= y + height
    open_ = np.zeros(len(found.areas), np.bool_)
    open_[found.part[reaches]] = True
    return complement(_of(found, open_ | (found.areas >= least), rle.size))


def _of(found: Parts, kept: NDArray[np.bool_], size: tuple[int, int]) -> Rle:
    """The mask of some of the parts."""
    pieces = kept[found.part]
    starts, stops = found.starts[pieces], found.stops[pieces]
    apart = starts[1:] != stops[:-1]  # a run that was cut goes on
    edge = np.ones(1, np.bool_)[: len(starts)]
    starts, stops = starts[np.concatenate([edge, apart])], stops[np.concatenate([apart, edge])]
    return from_borders(np.stack([starts, stops], axis=1).ravel(), size)


def _cut(starts: Indices, stops: Indices, height: int) -> tuple[Indices, Indices]:
    """Runs as pieces of one column each."""
    full = stops > starts
    starts, stops = starts[full], stops[full]
    first, last = starts // height, (stops - 1) // height
    counts = last - first + 1
    nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    tops = (np.repeat(first, counts) + nth) * height
    return np.maximum(np.repeat(starts, counts), tops), np.minimum(np.repeat(stops, counts), tops + height)

"""Masks of everything in a photo, proposed by any model that answers clicks.

The photo is asked at a grid of points, and again in parts of it (crops) when wanted. Answers that the model itself
doubts, or that change with a slightly higher or lower threshold, are dropped; of those that nearly coincide the best
stays. This is the automatic mask generator of "Segment Anything" (its appendix on mask generation), on masks and not on
boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask, Point, PromptKind
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle, decode, decode_tight, encode, iou
from segcli.models.api import Encoded, Promptable

_OVERLAP = 512 / 1500  # of a crop's side, shared with its neighbours
_HIGH, _LOW = 0.7310586, 0.2689414  # probabilities one unit of the logit above and below one half
_TOGETHER = 64  # clicks decoded at once


@dataclass(frozen=True)
class Search:
    """How densely is asked and how strictly chosen.

    grid:      points on the photo's longer side; the shorter one has as many as its length asks for.
    crops:     layers of crops: 1 asks the four quarters too, 2 also the sixteen sixteenths.
    score:     least score of the model's own.
    stability: least IoU of the mask with itself at a stricter and at a looser threshold, where the model gives
               probabilities.
    overlap:   IoU from which the worse one of two masks is dropped.
    area:      least share of the photo's pixels.
    found:     leave out points that lie in a mask found before, unless it covers more than this share of the photo;
               0 asks at every point.
    """

    grid: int = 16
    crops: int = 0
    score: float = 0.75
    stability: float = 0.8
    overlap: float = 0.7
    area: float = 0.0005
    found: float = 0.1


@dataclass(frozen=True)
class Window:
    """A part of the photo: rows y0 to y1, columns x0 to x1, in pixels of the full photo."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.y1 - self.y0, self.x1 - self.x0


@dataclass(frozen=True)
class Proposal:
    """A mask of the photo, its score, and how far its model is sure of it.

    sure, maybe: where the probability is at least the upper one of two bounds, and where it is above the lower one, on
    the model's own grid over `window`; None where nobody asked or the model gives no probabilities.
    """

    mask: Rle
    score: float
    window: Window
    sure: Rle | None = None
    maybe: Rle | None = None

    def bounds(self, size: tuple[int, int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """`sure` and `maybe` in the pixels of the photo of `size`; both are the mask where they are None."""
        if self.sure is None or self.maybe is None:
            whole = decode(self.mask)
            return whole, whole
        return self._placed(self.sure, size), self._placed(self.maybe, size)

    def _placed(self, part: Rle, size: tuple[int, int]) -> NDArray[np.bool_]:
        known, window = decode(part), self.window
        rows, columns = (np.arange(n) * m // n for n, m in zip(window.size, known.shape, strict=True))
        whole = np.zeros(size, np.bool_)
        whole[window.y0 : window.y1, window.x0 : window.x1] = known[rows[:, None], columns]
        return whole


@dataclass(frozen=True, eq=False)
class EncodedPhoto:
    """The photo's own encoding, and its pixels where crops will be asked."""

    whole: Encoded
    image: Image

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.whole.nbytes + self.image.pixels.nbytes


class Everything:
    """A model whose every answer is: all that is in the photo. Masks are in order of their score, best first.

    `segcli.models.api.Promptable` over another one; asks only name the answer.
    """

    def __init__(self, model: Promptable, search: Search = Search()) -> None:
        self.model, self.search = model, search
        self.name, self.revision, self.accepts = model.name, model.revision, frozenset[PromptKind]()

    @property
    def reads(self) -> int | None:
        """More pixels than the model looks at, when crops of the photo are to be looked at too."""
        own = self.model.reads
        return None if own is None else own << self.search.crops

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Encode photos as the model does."""
        return [EncodedPhoto(e, i) for e, i in zip(self.model.encode(images), images, strict=True)]

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """The same for each ask."""
        photo = cast(EncodedPhoto, encoded)
        answer = propose(self.model, photo.whole, photo.image, self.search)
        return [answer for _ in asks]


def propose(model: Promptable, encoded: Encoded, image: Image, search: Search = Search()) -> Prediction:
    """All masks of one encoded photo, best first. Raises what the model's `decode` and `encode` raise."""
    found = proposals(model, encoded, image, search)
    return Prediction(image.size, tuple(one.mask for one in found), tuple(one.score for one in found))


def proposals(
    model: Promptable,
    encoded: Encoded,
    image: Image,
    search: Search = Search(),
    bounds: tuple[float, float] | None = None,
) -> list[Proposal]:
    """The same with what the model is sure of: `bounds` are a lower and an upper probability."""
    found = _in_window(model, encoded, Window(0, 0, *image.size), search, image.size, bounds)
    for layer in range(1, search.crops + 1):
        finer = replace(search, grid=max(2, search.grid >> layer))
        for window in crops(image.size, layer):
            (part,) = model.encode([cut(image, window)])
            found += _in_window(model, part, window, finer, image.size, bounds)
    found.sort(key=lambda one: (-one.score, -one.mask.area))
    return [found[n] for n in suppress([one.mask for one in found], search.overlap)]


def grid(size: tuple[int, int], count: int) -> list[tuple[float, float]]:
    """Points x, y at the centres of a grid of cells, `count` of them along the longer side; coarse ones first.

    Coarse first means that points far from each other come before those between them.
    """
    step = max(size) / count
    rows, columns = (max(1, round(v / step)) for v in size)
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    cells.sort(key=lambda cell: min(_twos(cell[0] + 1), _twos(cell[1] + 1)), reverse=True)
    return [((c + 0.5) * size[1] / columns - 0.5, (r + 0.5) * size[0] / rows - 0.5) for r, c in cells]


def _twos(number: int) -> int:
    """The power of two in a positive number."""
    return (number & -number).bit_length()


def crops(size: tuple[int, int], layer: int) -> Iterator[Window]:
    """The 2^layer x 2^layer windows of a layer; neighbours overlap."""
    count = 1 << layer
    shared = round(_OVERLAP * min(size) / count)
    height, width = (-(-(v + shared * (count - 1)) // count) for v in size)
    for row in range(count):
        for column in range(count):
            y, x = row * (height - shared), column * (width - shared)
            yield Window(y, x, min(y + height, size[0]), min(x + width, size[1]))


def cut(image: Image, window: Window) -> Image:
    """A window of a photo as a photo of its own, at the resolution that was decoded."""
    (height, width), (rows, columns) = image.size, image.pixels.shape[:2]
    y0, y1 = window.y0 * rows // height, max(window.y1 * rows // height, window.y0 * rows // height + 1)
    x0, x1 = window.x0 * columns // width, max(window.x1 * columns // width, window.x0 * columns // width + 1)
    return Image(np.ascontiguousarray(image.pixels[y0:y1, x0:x1]), window.size, image.name)


def stability(soft: NDArray[np.float16]) -> float:
    """IoU of a mask of probabilities [h, w] with a strict and with a loose threshold; 1 where both are empty."""
    strict, loose = int(np.count_nonzero(soft > _HIGH)), int(np.count_nonzero(soft > _LOW))
    return strict / loose if loose else 1.0


def suppress(masks: Sequence[Rle], overlap: float) -> list[int]:
    """Indices of the masks that stay, of masks in order of merit: none overlaps a better one by more than `overlap`."""
    kept: list[int] = []
    for n, mask in enumerate(masks):
        if not kept or float(iou([mask], [masks[k] for k in kept]).max()) <= overlap:
            kept.append(n)
    return kept


def _in_window(
    model: Promptable,
    encoded: Encoded,
    window: Window,
    search: Search,
    size: tuple[int, int],
    bounds: tuple[float, float] | None,
) -> list[Proposal]:
    """Good masks of one window, as masks of the photo of `size`."""
    points = grid(window.size, search.grid)
    covered = np.zeros(window.size, np.bool_)
    limit = search.found * window.size[0] * window.size[1]
    found: list[Proposal] = []
    at = 0
    while at < len(points):
        asks: list[Ask] = []
        while at < len(points) and len(asks) < (_TOGETHER if search.found == 0 else 8):
            x, y = points[at]
            at += 1
            if not covered[round(y), round(x)]:
                asks.append(Ask(points=(Point(x, y),), multimask=True))
        for answer in model.decode(encoded, asks) if asks else ():
            for n in _good(answer, window, search, size):
                mask = answer.masks[n]
                if 0 < mask.area < limit:
                    x0, y0, inside = decode_tight(mask)
                    covered[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]] |= inside
                sure = maybe = None
                if bounds is not None and answer.soft is not None:
                    sure, maybe = encode(answer.soft[n] >= bounds[1]), encode(answer.soft[n] > bounds[0])
                found.append(Proposal(_placed(mask, window, size), answer.scores[n], window, sure, maybe))
    return found


def _good(answer: Prediction, window: Window, search: Search, size: tuple[int, int]) -> Iterator[int]:
    """The masks of an answer that pass the filters, by their numbers."""
    for n, (mask, score) in enumerate(zip(answer.masks, answer.scores, strict=True)):
        if score < search.score or mask.area < search.area * size[0] * size[1]:
            continue
        if answer.soft is not None and stability(answer.soft[n]) < search.stability:
            continue
        if not _cut_off(mask, window, size):
            yield n


def _cut_off(mask: Rle, window: Window, size: tuple[int, int]) -> bool:
    """True for a mask that touches a border of its crop which is no border of the photo: it goes on outside."""
    x, y, width, height = mask.bbox
    return (
        (x == 0 and window.x0 > 0)
        or (y == 0 and window.y0 > 0)
        or (x + width == window.size[1] and window.x1 < size[1])
        or (y + height == window.size[0] and window.y1 < size[0])
    )


def _placed(mask: Rle, window: Window, size: tuple[int, int]) -> Rle:
    if window.size == size:
        return mask
    x, y, inside = decode_tight(mask)
    whole = np.zeros(size, np.bool_)
    whole[window.y0 + y : window.y0 + y + inside.shape[0], window.x0 + x : window.x0 + x + inside.shape[1]] = inside
    return encode(whole)

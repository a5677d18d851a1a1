"""The click loop: a simulated person clicks on the deepest error until the object is right or the clicks run out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segcli.bench.rules import ritm
from segcli.core.ask import Ask, Point
from segcli.core.image import Image
from segcli.core.rle import decode, encode
from segcli.metrics.boundary import frame_score
from segcli.metrics.clicks import IGNORE, Click, click_iou
from segcli.models.api import Promptable

Mask = NDArray[np.bool_]
NextClick = Callable[[Mask, Sequence[Click]], Click | None]
ClickRule = Callable[[NDArray[Any]], NextClick]
"""For the truth of one sample: from the last answer and the clicks so far to the next click, or None for no more."""


@dataclass(frozen=True, eq=False)
class ClickSample:
    """One object of one photo: truth int8 [H, W] is 1 on the object, -1 where nothing is counted, else 0.

    Consecutive samples of one photo share the same `image` object, so that it is encoded once.
    """

    image: Image
    target: str
    truth: NDArray[np.int8]


@dataclass(frozen=True)
class ClickRun:
    """What happened on one sample: the clicks; IoU, boundary F (DAVIS) and seconds of the answer to each."""

    image: str
    target: str
    clicks: tuple[Click, ...]
    ious: tuple[float, ...]
    borders: tuple[float, ...]
    seconds: tuple[float, ...]
    encode_seconds: float


class Answer(Protocol):
    """Answers clicks about one photo: all clicks so far and the last answer (None before the first) give a mask."""

    def __call__(self, clicks: Sequence[Click], previous: Mask | None) -> Mask:
        """The new mask."""
        ...


Opener = Callable[[Image], Answer]
"""Prepares a photo once (its encoding, if there is one); the answer may be asked about several of its objects."""


def opener_of(model: Promptable) -> Opener:
    """A model of the registry as one that answers clicks; the last answer goes along as `Ask.previous`."""

    def prepare(image: Image) -> Answer:
        (encoded,) = model.encode([image])

        def answer(clicks: Sequence[Click], previous: Mask | None) -> Mask:
            points = tuple(Point(float(c.x), float(c.y), c.positive) for c in clicks)
            ask = Ask(points=points, previous=None if previous is None else encode(previous))
            (prediction,) = model.decode(encoded, [ask])
            return decode(prediction.masks[0]) if len(prediction) else np.zeros(image.size, np.bool_)

        return answer

    return prepare


def click_loop(
    sample: ClickSample,
    answer: Answer,
    max_clicks: int = 20,
    stop_at: float | None = None,
    rule: ClickRule = ritm,
    min_clicks: int = 1,
) -> tuple[tuple[Click, ...], tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Clicks, IoUs, boundary Fs and seconds for one sample; ends once the IoU reaches `stop_at` after `min_clicks`.

    Where the rule sees nothing more to click at, the last answer and its scores are kept.
    """
    choose = rule(sample.truth)
    truth, ignored = sample.truth == 1, sample.truth == IGNORE
    clicks: list[Click] = []
    ious: list[float] = []
    borders: list[float] = []
    seconds: list[float] = []
    mask: Mask = np.zeros(sample.truth.shape, np.bool_)
    while len(ious) < max_clicks:
        click = choose(mask, clicks)
        if click is None:
            ious.append(ious[-1] if ious else click_iou(sample.truth, mask))
            borders.append(borders[-1] if borders else frame_score(truth, mask, ignored).f)
            seconds.append(0.0)
            continue
        clicks.append(click)
        started = time.perf_counter()
        mask = answer(clicks, mask if len(clicks) > 1 else None)
        seconds.append(time.perf_counter() - started)
        if mask.shape != sample.truth.shape:
            raise ValueError(f"the model answered {mask.shape} to a photo of {sample.truth.shape}")
        ious.append(click_iou(sample.truth, mask))
        borders.append(frame_score(truth, mask, ignored).f)
        if stop_at is not None and ious[-1] >= stop_at and len(ious) >= min_clicks:
            break
    return tuple(clicks), tuple(ious), tuple(borders), tuple(seconds)


def run_clicks(
    prepare: Opener,
    samples: Iterable[ClickSample],
    max_clicks: int = 20,
    stop_at: float | None = None,
    rule: ClickRule = ritm,
) -> Iterator[ClickRun]:
    """The click loop over samples, one at a time; a photo is prepared once for all its consecutive objects."""
    current: Image | None = None
    answer: Answer | None = None
    spent = 0.0
    for sample in samples:
        if sample.image is not current or answer is None:
            started = time.perf_counter()
            answer = prepare(sample.image)
            spent = time.perf_counter() - started
            current = sample.image
        clicks, ious, borders, seconds = click_loop(sample, answer, max_clicks, stop_at, rule)
        yield ClickRun(sample.image.name, sample.target, clicks, ious, borders, seconds, spent)

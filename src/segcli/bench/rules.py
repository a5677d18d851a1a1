"""Click rules by name: RITM's at the photo's own resolution, SEEM's at the resolution of its network's input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.datasets.fewshot import resize_nearest
from segcli.metrics import clicks as ritm_rule
from segcli.metrics import seem_clicks
from segcli.metrics.clicks import Click

_SHORT, _LONG, _MULTIPLE = 800, 1333, 32

Chooser = Callable[[NDArray[np.bool_], Sequence[Click]], Click | None]


def ritm(truth: NDArray[Any]) -> Chooser:
    """RITM's rule: the deepest error, exact ties."""
    return lambda mask, clicks: ritm_rule.next_click(truth, mask, [(c.y, c.x) for c in clicks])


def seem(truth: NDArray[Any]) -> Chooser:
    """SEEM's rule at short side 800, long side at most 1333, padded to multiples of 32.

    The marks of earlier clicks are remembered there; the click handed out is the pixel of the photo that it falls on.
    """
    height, width = truth.shape
    scale = min(_SHORT / min(height, width), _LONG / max(height, width))
    size = (int(height * scale + 0.5), int(width * scale + 0.5))
    padded = (-(-size[0] // _MULTIPLE) * _MULTIPLE, -(-size[1] // _MULTIPLE) * _MULTIPLE)
    target = np.zeros(padded, np.bool_)
    target[: size[0], : size[1]] = seem_clicks.clicking_mask(truth == 1, size)
    marked = np.zeros(padded, np.bool_)

    def choose(mask: NDArray[np.bool_], clicks: Sequence[Click]) -> Click | None:
        if clicks:
            prediction = np.zeros(padded, np.bool_)
            prediction[: size[0], : size[1]] = resize_nearest(mask, size)
            click = seem_clicks.next_click(target, prediction, marked)
        else:
            click = seem_clicks.first_click(target)
        if click is None:
            return None
        np.logical_or(marked, seem_clicks.mark(padded, click), out=marked)
        y = min(height - 1, int((click.y + 0.5) * height / size[0]))
        x = min(width - 1, int((click.x + 0.5) * width / size[1]))
        return Click(y, x, click.positive)

    return choose


RULES: dict[str, Callable[[NDArray[Any]], Chooser]] = {"ritm": ritm, "seem": seem}
THRESHOLDS = {"ritm": ritm_rule.THRESHOLDS, "seem": (0.5, 0.8, 0.85, 0.9)}

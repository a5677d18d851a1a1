"""Pictures for the report: a photo with the truth outlined and the answer tinted, small enough for a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.metrics.clicks import Click

_TRUTH, _ANSWER, _MISSED, _FALSE = (255, 255, 255), (60, 150, 255), (255, 190, 60), (235, 60, 90)


def side_by_side(
    photo: NDArray[np.uint8], truth: NDArray[Any], answer: NDArray[Any], clicks: tuple[Click, ...] = ()
) -> NDArray[np.uint8]:
    """Left the photo with the true outline, right what is right (blue), missed (yellow) and wrong (red).

    truth and answer are label maps or masks [H, W]; a label counts as right where it is the same.
    """
    left = photo.copy()
    edge = _edges(truth)
    left[edge] = _TRUTH
    right = photo.astype(np.float32) * 0.55
    for mask, colour in (
        ((truth == answer) & (truth > 0), _ANSWER),
        ((truth > 0) & (truth != answer) & (answer == 0), _MISSED),
        ((answer > 0) & (truth != answer), _FALSE),
    ):
        right[mask] = right[mask] * 0.45 + np.array(colour, np.float32) * 0.55
    shown = right.astype(np.uint8)
    for click in clicks:
        radius = max(2, max(truth.shape) // 120)
        y, x = (
            slice(max(0, click.y - radius), click.y + radius + 1),
            slice(max(0, click.x - radius), click.x + radius + 1),
        )
        left[y, x] = (40, 220, 80) if click.positive else (255, 40, 40)
    return np.concatenate([left, shown], axis=1)


def as_uri(picture: NDArray[np.uint8], width: int = 640) -> str:
    """A data URI of the picture, reduced to `width` pixels."""
    from PIL import Image

    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _edges(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels at the border between labels, two wide."""
    edge = np.zeros(labels.shape, np.bool_)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge

"""`overlay`: the photo with its masks in colour, outlined and named. To look at, not to measure."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from segcli.core.colors import Color, overlay_color
from segcli.core.morphology import dilate, erode
from segcli.core.prediction import Prediction
from segcli.core.rle import decode_tight
from segcli.io.formats.base import PerPhoto, full_size
from segcli.io.formats.contract import Answered, Options, Rendered
from segcli.io.formats.legend import with_legend

_TINT = 0.45
_MOST_TAGS = 60  # more would hide the photo
_MOST_COLORS = 16  # that can be told apart
_REFERENCE: Color = (255, 255, 255)


Tag = tuple[float, float, str, Color, tuple[int, int] | None]
"""A name on a mask: its middle x and y, the text, the colour, and the width and height that it must not exceed."""


class Overlay(PerPhoto):
    """A JPEG at full size, whatever the photo was. Answers about a whole photo have a legend of the classes below."""

    name = "overlay"
    needs_photo = True

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One picture; the plain photo when there is no target."""
        pixels, prediction = full_size(answered.image).pixels, answered.prediction
        if answered.ask.kind is None:
            drawn = with_references(draw(pixels, prediction), prediction)
        else:
            colors = class_colors(answered.ask.classes, prediction.labels)
            of_masks = [colors.get(name or "", overlay_color(n)) for n, name in enumerate(prediction.labels)]
            drawn = with_legend(draw(pixels, prediction, of_masks, legend=True), legend_rows(prediction, of_masks))
        file = BytesIO()
        profile = answered.image.icc or b""
        PIL.Image.fromarray(drawn).save(file, "JPEG", quality=90, subsampling=0, icc_profile=profile)
        return [Rendered(file.getvalue(), ".jpg", self.name)]


def with_references(drawn: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.uint8]:
    """What a sentence's references are, white and named {1}, {2}, … as in the sentence, on top of the masks."""
    for number, mask in enumerate(prediction.references, 1):
        drawn = draw(drawn, Prediction(prediction.size, (mask,), labels=(f"{{{number}}}",)), [_REFERENCE])
    return drawn


def class_colors(classes: Sequence[str], labels: Sequence[str | None]) -> dict[str, Color]:
    """A colour for each of the classes in a picture.

    A class of a short list has the same colour in all photos of a run; of a long one, whose colours nobody could tell
    apart, those in the picture get different ones.
    """
    if len(classes) > _MOST_COLORS:
        present = set(labels)
        classes = [name for name in classes if name in present]
    return {name: overlay_color(n) for n, name in enumerate(classes)}


def id_colors(ids: Sequence[int]) -> list[Color]:
    """A colour for each mask: that of its id, the same in all photos, while ids are few; else that of its place."""
    few = all(number <= _MOST_COLORS for number in ids)
    return [overlay_color(number - 1 if few else n) for n, number in enumerate(ids)]


def legend_rows(prediction: Prediction, colors: Sequence[Color]) -> list[tuple[str, Color]]:
    """The labels in a picture, the largest first, with their colours; things with how many there are."""
    area: dict[str, int] = {}
    count: dict[str, int] = {}
    color: dict[str, Color] = {}
    for label, mask, own in zip(prediction.labels, prediction.masks, colors, strict=True):
        if label is not None and mask.area:
            area[label] = area.get(label, 0) + mask.area
            count[label] = count.get(label, 0) + 1
            color[label] = own
    ordered = sorted(area, key=lambda label: -area[label])
    return [(label if count[label] == 1 else f"{label} ({count[label]})", color[label]) for label in ordered]


def draw(
    pixels: NDArray[np.uint8], prediction: Prediction, colors: Sequence[Color] | None = None, *, legend: bool = False
) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: a copy of the photo with all masks on it, the first on top, in `id_colors` or `colors`.

    Beside a `legend` masks carry their classes alone, and only those where the name has room.
    """
    canvas = pixels.copy()
    colors = id_colors(prediction.ids) if colors is None else colors
    line = max(1, round(max(canvas.shape[:2]) / 700))
    tags: list[Tag] = []
    for n in reversed(range(len(prediction))):
        x, y, inside = decode_tight(prediction.masks[n])
        if not inside.size:
            continue
        color = colors[n]
        rim = 2 * line
        left, top = max(x - rim, 0), max(y - rim, 0)
        region = (slice(top, y + inside.shape[0] + rim), slice(left, x + inside.shape[1] + rim))
        mask = np.zeros(canvas[region].shape[:2], dtype=np.bool_)
        mask[y - top : y - top + inside.shape[0], x - left : x - left + inside.shape[1]] = inside
        _tint(canvas[region], mask, color, line)
        if text := (prediction.labels[n] or "") if legend else _text(prediction, n):
            column, row = _middle(mask)
            room = (inside.shape[1], inside.shape[0]) if legend else None
            tags.append((left + column, top + row, text, color, room))
    if tags and len(tags) <= _MOST_TAGS:
        canvas = _tagged(canvas, tags)
    return canvas


def _tint(part: NDArray[np.uint8], mask: NDArray[np.bool_], color: Color, line: int) -> None:
    """Colour the inside in place, with a bright line inside the border and a dark one outside of it."""
    core = erode(mask, line, outside=False)
    around = dilate(mask, line) & ~mask
    levels = np.arange(256)
    for channel, value in enumerate(color):
        plane = part[..., channel]
        tinted = np.round(levels * (1 - _TINT) + value * _TINT).astype(np.uint8)[plane]
        np.copyto(plane, tinted, where=core)
        np.copyto(plane, np.uint8(value), where=mask & ~core)
        np.copyto(plane, plane // np.uint8(3), where=around)


def _text(prediction: Prediction, n: int) -> str:
    name, sure = prediction.names[n], prediction.label_scores[n]
    number = str(prediction.ids[n]) if len(prediction) > 1 else ""
    words = [number, name or "", "" if sure is None else f"{sure:.2f}"]
    return " ".join(filter(None, words))


def _middle(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The point x, y deepest inside a mask, to within a hundredth of its size."""
    from scipy import ndimage

    step = max(1, max(mask.shape) // 200)
    small = np.pad(mask[::step, ::step], 1)
    if not small.any():
        rows, columns = np.nonzero(mask)
        return float(columns[0]), float(rows[0])
    depth = ndimage.distance_transform_edt(small)
    row, column = np.unravel_index(int(np.argmax(depth)), small.shape)
    return float((column - 1) * step), float((row - 1) * step)


def _tagged(canvas: NDArray[np.uint8], tags: list[Tag]) -> NDArray[np.uint8]:
    height, width = canvas.shape[:2]
    picture = PIL.Image.fromarray(canvas)
    pen = PIL.ImageDraw.Draw(picture)
    size = max(11, round(max(height, width) / 55))
    font = PIL.ImageFont.load_default(size)
    edge = max(2, size // 5)
    for x, y, text, color, room in tags:
        short = text if len(text) <= 40 else text[:39] + "…"
        left, top, right, bottom = pen.textbbox((0, 0), short, font=font)
        w, h = right - left + 2 * edge, bottom - top + 2 * edge
        if room is not None and (w > room[0] or h > room[1]):
            continue
        x0 = min(max(x - w / 2, 0), max(width - w, 0))
        y0 = min(max(y - h / 2, 0), max(height - h, 0))
        pen.rounded_rectangle((x0, y0, x0 + w, y0 + h), radius=edge, fill=color)
        dark = 299 * color[0] + 587 * color[1] + 114 * color[2] < 140_000
        pen.text((x0 + edge - left, y0 + edge - top), short, font=font, fill=(255, 255, 255) if dark else (0, 0, 0))
    return np.asarray(picture)


FORMAT = Overlay()

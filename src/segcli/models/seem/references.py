"""Regions of other photos as prompts (the paper's referring region): read once, then as often as asked."""

from __future__ import annotations

from collections.abc import Callable

from segcli.core.ask import Ask, Box, Point, Reference
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.rle import Rle
from segcli.models.seem.prompts import SpatialTokens

ReadMarks = Callable[[Image, Ask], SpatialTokens]
"""Encodes a photo and reads the marks of an ask on it."""


class References:
    """Photos that asks may name, and what was read on them."""

    def __init__(self, read: ReadMarks) -> None:
        self._read = read
        self._photos: dict[str, Image] = {}
        self._tokens: dict[tuple[str, Rle | Point | Box], SpatialTokens] = {}

    def know(self, name: str, image: Image) -> None:
        """Keep the photo that asks call `name`; one of the same name is forgotten."""
        self._photos[name] = image
        self._tokens = {key: tokens for key, tokens in self._tokens.items() if key[0] != name}

    def tokens(self, reference: Reference) -> SpatialTokens:
        """A region of a photo that is known. Raises UsageError for one that isn't, and as `as_ask` does."""
        name = reference.image
        if name is None or name not in self._photos:
            raise UsageError(f"{name}: no such reference photo; name one that was given")
        key = (name, reference.region)
        if key not in self._tokens:
            photo = self._photos[name]
            self._tokens[key] = self._read(photo, as_ask(reference.region, photo.size, name))
        return self._tokens[key]


def as_ask(region: Rle | Point | Box, size: tuple[int, int], name: str) -> Ask:
    """A region as marks on a photo of `size` (H, W). Raises UsageError for one of another size or outside of it."""
    height, width = size
    if isinstance(region, Rle):
        if region.size != size:
            given = f"{region.size[1]}x{region.size[0]}"
            raise UsageError(f"{name}: its mask is {given}, the photo {width}x{height}; give one of the photo's size")
        if not region.area:
            raise UsageError(f"{name}: its mask marks nothing; mark what is meant")
        return Ask(mask=region)
    if isinstance(region, Point):
        inside = -0.5 <= region.x < width - 0.5 and -0.5 <= region.y < height - 0.5
        marks = Ask(points=(region,))
    else:
        inside = region.x1 >= 0 and region.y1 >= 0 and region.x0 < width and region.y0 < height
        marks = Ask(boxes=(region,))
    if not inside or not region.positive:
        raise UsageError(f"{name}: {region} marks nothing of a photo of {width}x{height}; mark what is meant")
    return marks

"""Views of a given mask: its object elsewhere in a window, larger, smaller, mirrored.

What the cells of an object look like depends on its size in the window and on where it lies in the 32 pixel grid of the
backbone's coarsest level. The frames to come show it otherwise than the given one, so that one is remembered as several
views (made-up views of the one labelled frame also teach the target model of FRTM, Robinson et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

from segcli.models.layers.propagation.looks import Look, object_look

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class View:
    """How a view differs from the plain look around an object.

    x, y: how far it is moved, in longer sides of the object. zoom: how much larger the window is.
    """

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0
    mirrored: bool = False

    def look(self, box: Box, size: tuple[int, int]) -> Look:
        """The window in a frame of `size` (H, W) for an object in x0, y0, x1, y1 (exclusive)."""
        x0, y0, x1, y1 = box
        side = max(x1 - x0, y1 - y0)
        x, y = (x0 + x1) / 2 + self.x * side, (y0 + y1) / 2 + self.y * side
        half_wide, half_high = self.zoom * (x1 - x0) / 2, self.zoom * (y1 - y0) / 2
        return object_look((x - half_wide, y - half_high, x + half_wide, y + half_high), size)


VIEWS = (
    View(mirrored=True),
    View(0.25, 0.2),
    View(-0.25, -0.2),
    View(zoom=1.35),
    View(zoom=0.8),
    View(0.2, -0.25, 1.2, mirrored=True),
    View(-0.2, 0.25, 0.9, mirrored=True),
    View(zoom=1.8, mirrored=True),
    View(0.12, 0.1, 0.65),
    View(),  # as it is: the last one, which stands in for a recent frame where there is none
)

"""A photo that shows what is meant, for models that answer by example, and what a prompt may be tuned for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Kind
from segcli.core.image import Image


@dataclass(frozen=True, eq=False)
class Example:
    """A photo and what is marked in it: `ids` [H, W] of the photo's size, 0 for the background.

    ignore:    bool [H, W], pixels of which nothing is known; only training asks for them.
    instances: [H, W] beside ids that are classes: which thing a pixel is of, 0 for stuff and background.
    """

    photo: Image
    ids: NDArray[np.integer]
    ignore: NDArray[np.bool_] | None = None
    instances: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class Task:
    """What a prompt is tuned for: one target or several classes (semantic, instance), or a whole photo (panoptic).

    names:  id -> name (None where it has none); ids are what examples' masks hold.
    things: ids of countable classes; for panoptic only.
    """

    kind: Kind
    names: Mapping[int, str | None]
    things: frozenset[int] = field(default_factory=frozenset)

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids in rising order."""
        return tuple(sorted(self.names))

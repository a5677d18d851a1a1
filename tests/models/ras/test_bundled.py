"""The bundled ras-nano understands places, sizes and references on a drawn photo."""

from __future__ import annotations

import numpy as np
import pytest

from segcli.core.ask import Ask, Reference
from segcli.core.image import Image
from segcli.core.rle import Rle, encode
from segcli.models.api import Promptable
from segcli.registry.load import open_model

SIZE = (240, 320)
BLOCKS = {  # x, y, side, colour
    "small red": (30, 40, 30, (210, 30, 30)),
    "large red": (20, 120, 90, (200, 40, 30)),
    "small blue": (250, 50, 35, (30, 60, 210)),
    "large green": (200, 150, 85, (40, 160, 50)),
}


@pytest.fixture(scope="module")
def model() -> Promptable:
    return open_model("ras-nano", device="cpu", threads=1, offline=True, say=lambda line: None)


def masks() -> dict[str, Rle]:
    found = {}
    for name, (x, y, side, _) in BLOCKS.items():
        mask = np.zeros(SIZE, bool)
        mask[y : y + side, x : x + side] = True
        found[name] = encode(mask)
    return found


def photo() -> Image:
    pixels = np.full((*SIZE, 3), 170, np.uint8)
    pixels += np.random.default_rng(0).integers(0, 20, pixels.shape, dtype=np.uint8)
    for x, y, side, colour in BLOCKS.values():
        pixels[y : y + side, x : x + side] = colour
    return Image(pixels, SIZE, "blocks.png")


@pytest.mark.parametrize(
    ("sentence", "references", "expected"),
    [
        ("everything on the left", (), {"small red", "large red"}),
        ("everything on the right of the image", (), {"small blue", "large green"}),
        ("everything above {1}", ("large red",), {"small red", "small blue"}),
        ("everything larger than {1}", ("small blue",), {"large red", "large green"}),
        ("all objects smaller than {1}", ("large green",), {"small red", "small blue"}),
    ],
)
def test_places_and_sizes_are_understood(
    model: Promptable, sentence: str, references: tuple[str, ...], expected: set[str]
) -> None:
    known = masks()
    (encoded,) = model.encode([photo()])
    given = tuple(Reference(None, known[name]) for name in references)
    (answer,) = model.decode(encoded, [Ask(text=sentence, references=given, candidates=tuple(known.values()))])
    names = {mask: name for name, mask in known.items()}
    assert {names[mask] for mask in answer.masks} == expected

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image as Pillow

from segcli.core.ask import PromptKind
from segcli.core.prediction import Prediction
from segcli.core.rle import encode


@dataclass
class Discs:
    """A model whose answer is a disc of radius 9 around each positive click, without those around negative ones."""

    name: str = "discs"
    revision: str = "abc"
    accepts: frozenset = frozenset(PromptKind) - {PromptKind.VIDEO, PromptKind.EXAMPLES}
    reads: int | None = None
    asked: list = field(default_factory=list)
    encoded: int = 0

    def encode(self, images):
        self.encoded += len(images)
        return list(images)

    def decode(self, encoded, asks):
        self.asked += asks
        rows, columns = np.indices(encoded.size)
        answers = []
        for ask in asks:
            mask = np.zeros(encoded.size, np.bool_)
            for p in ask.points:
                mask[(rows - p.y) ** 2 + (columns - p.x) ** 2 <= 81] = p.positive
            answers.append(Prediction(encoded.size, (encode(mask),)) if mask.any() else Prediction(encoded.size))
        return answers


@pytest.fixture
def discs():
    return Discs()


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    """Three photos in GrabCut's layout with a box each."""
    root = tmp_path / "GrabCut"
    for k, name in enumerate(("a", "b", "c")):
        save(root / "data_GT" / f"{name}.jpg", np.full((40, 60, 3), 60 * k))
        mask = np.zeros((40, 60))
        mask[10 : 26 + k, 20:38] = 255
        mask[0] = 128
        save(root / "boundary_GT" / f"{name}.png", mask)
    return root


@pytest.fixture
def davis(tmp_path):
    """A DAVIS folder with two sequences of five frames, and results shifted by two pixels."""
    root, results = tmp_path / "DAVIS", tmp_path / "results"
    for s, name in enumerate(("cat", "dog")):
        for t in range(5):
            labels = np.zeros((40, 60))
            labels[8 + t : 22 + t, 10:30] = 1
            if s:
                labels[2:8, 40:50] = 2
            save(root / "Annotations" / "480p" / name / f"{t:05d}.png", labels)
            save(root / "JPEGImages" / "480p" / name / f"{t:05d}.jpg", np.zeros((40, 60, 3)))
            save(results / name / f"{t:05d}.png", np.roll(labels, 2, axis=1))
    listing = root / "ImageSets" / "2017" / "val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("cat\ndog\n")
    return root, results

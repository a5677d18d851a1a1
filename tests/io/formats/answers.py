"""Answers to write and read back."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
from hypothesis import strategies as st
from tests.io.pictures import pixels

from segcli.core import rle
from segcli.core.ask import Ask, Point
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.io.formats import get_format, get_reader
from segcli.io.formats.contract import Annotation, Answered, Options

SIZE = (90, 120)


def blobs(seed=0, count=3, size=SIZE):
    """`count` bool masks [H, W] of overlapping ellipses, some with holes, some of several parts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    masks = []
    for n in range(count):
        mask = np.zeros(size, dtype=bool)
        for _ in range(2 + n % 3):
            cy, cx, ry, rx = rng.uniform([10, 10, 12, 12], [size[0] - 10, size[1] - 10, 30, 40])
            mask ^= ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
        masks.append(mask)
    return masks


def soft_of(masks, scale=4):
    """float16 [N, h, w]: masks as a coarse grid of probabilities."""
    small = (masks[0].shape[1] // scale, masks[0].shape[0] // scale)
    grids = [
        PIL.Image.fromarray(mask.astype(np.float32)).resize(small, PIL.Image.Resampling.BILINEAR) for mask in masks
    ]
    return np.stack([np.asarray(grid) for grid in grids]).astype(np.float16)


def answered(masks=None, relative="trip/a b.jpg", *, image=None, size=SIZE, **fields):
    """An answer with these masks (none at all for [])."""
    masks = blobs(size=size) if masks is None else masks
    size = size if not len(masks) else masks[0].shape
    image = image or Image(pixels(size), size, relative)
    prediction = Prediction(size, tuple(rle.encode(mask) for mask in masks), **fields)
    return Answered(image, Ask(points=(Point(3, 4),)), prediction, PurePosixPath(relative), "seem-nano")


def write(name: str, answers, directory: Path, options: Options | None = None) -> list[Path]:
    """Write answers as a run would: a file each below the directory, the run file last."""
    options = options or Options()
    form, paths = get_format(name), []
    for one in answers:
        for file in form.render(one, options):
            suffix = "" if file.n is None else f"-{file.n}"
            path = directory / one.relative.parent / f"{one.relative.stem}{suffix}{file.extension}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
            paths.append(path)
    if form.run_file is not None:
        path = directory / form.run_file
        path.write_bytes(b"".join(form.assemble((form.fragment(one, options) for one in answers), options)))
        paths.append(path)
    return paths


def read(name: str, path: Path, **options) -> list[Annotation]:
    """What a file holds."""
    return list(get_reader(name).read(path, **options))


def iou(a, b) -> float:
    """Intersection over union of two masks, dense or run-length encoded; two empty ones are equal."""
    a, b = (rle.decode(m) if isinstance(m, rle.Rle) else m for m in (a, b))
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


labels = st.none() | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda text: text.strip() == text and text != "object"
)


@st.composite
def mask_sets(draw, largest=4, blank=True):
    """Masks of one small random size, with labels, scores and distinct ids."""
    size = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    count = draw(st.integers(0, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    masks = [rng.random(size) < rng.random() for _ in range(count)]
    if not blank:
        for mask in masks:
            mask[0, 0] = True
    ids = tuple(draw(st.lists(st.integers(1, 255), min_size=count, max_size=count, unique=True)))
    scores = tuple(draw(st.lists(st.floats(0, 1), min_size=count, max_size=count)))
    names = tuple(draw(st.lists(labels, min_size=count, max_size=count)))
    return answered(masks, "a.jpg", size=size, ids=ids, scores=scores, labels=names)

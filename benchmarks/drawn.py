"""Photos for the benchmarks: random crops of the examples, brought to a size."""

from __future__ import annotations

import random
from pathlib import Path

import PIL.Image

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"


def draw(directory: Path, count: int, side: tuple[int, int], seed: int = 0) -> list[Path]:
    """`count` different JPEGs of `side` (width, height), spread over two directories."""
    rng = random.Random(seed)
    sources = [PIL.Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.jpg"))]
    paths = []
    for number in range(count):
        source = sources[number % len(sources)]
        part = rng.uniform(0.6, 1.0)
        width, height = round(source.width * part), round(source.height * part)
        left, top = rng.randint(0, source.width - width), rng.randint(0, source.height - height)
        cut = source.resize(side, PIL.Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        path = directory / ("b" if number % 5 == 4 else "a") / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cut.save(path, quality=90)
        paths.append(path)
    return paths

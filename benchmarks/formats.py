"""What each mask format costs to write and to read, beside Pillow on the same pixels.

    python benchmarks/formats.py [--photo FILE] [--megapixels 12] [--masks 3] [--json]

Without a photo a made-up one is used. Masks are discs with a hole and a wavy border. Every figure is the best of three.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import PIL.Image

from segcli.core import rle
from segcli.core.ask import Ask
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.io.formats import NAMES, get_format
from segcli.io.formats.contract import Answered, Options, Readable
from segcli.io.formats.cutout import cut
from segcli.io.images import read_image


def best(work: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    """Seconds of the fastest round, and its result."""
    seconds, result = float("inf"), None
    for _ in range(rounds):
        start = time.perf_counter()
        result = work()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, result


def photo(path: str | None, megapixels: float) -> Image:
    """A 4:3 photo of that many megapixels."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    size = (height, height * 4 // 3)
    if path is None:
        rng = np.random.default_rng(0)
        picture = PIL.Image.fromarray(rng.integers(0, 256, (size[0] // 24, size[1] // 24, 3), np.uint8))
    else:
        picture = PIL.Image.fromarray(read_image(Path(path), path).pixels)
    grain = np.random.default_rng(1).integers(-4, 5, (*size, 1))  # sensors have it, and it decides about compression
    pixels = np.asarray(picture.resize(size[::-1], PIL.Image.Resampling.BICUBIC)).astype(np.int16) + grain
    return Image(np.clip(pixels, 0, 255).astype(np.uint8), size, "photo.jpg")


def discs(size: tuple[int, int], count: int) -> list[rle.Rle]:
    """Masks of about a tenth of the photo each."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    masks = []
    for n in range(count):
        cy, cx = size[0] * (0.3 + 0.4 * (n % 3) / 2), size[1] * (0.2 + 0.6 * n / max(count - 1, 1))
        away = np.hypot(y - cy, x - cx) / (0.2 * size[0])
        away += 0.05 * np.sin(12 * np.arctan2(y - cy, x - cx))
        masks.append(rle.encode((away < 1) & (away > 0.2)))
    return masks


def peers(answered: Answered) -> dict[str, Callable[[], bytes]]:
    """What a plain loop with Pillow does for the same files."""
    mask = answered.prediction.dense(0).view(np.uint8) * np.uint8(255)
    rgba = cut(answered.image, mask)

    def saved(pixels: np.ndarray, **options: Any) -> bytes:
        file = BytesIO()
        PIL.Image.fromarray(pixels).save(file, "PNG", **options)
        return file.getvalue()

    return {
        "Pillow, mask, level 6": lambda: saved(mask),
        "Pillow, mask, level 1": lambda: saved(mask, compress_level=1),
        "Pillow, cut-out, level 6": lambda: saved(rgba),
        "Pillow, cut-out, level 1": lambda: saved(rgba, compress_level=1),
    }


def measure(answered: Answered) -> list[dict[str, Any]]:
    """A row for each format and peer."""
    options, size = Options(), answered.prediction.size
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            form = get_format(name)

            def write(form: Any = form) -> list[tuple[str, bytes]]:
                files = [(f"{file.n or 0}{file.extension}", file.data) for file in form.render(answered, options)]
                if form.run_file is not None:
                    run = form.assemble([form.fragment(answered, options)], options)
                    files.append((form.run_file, b"".join(run)))
                return files

            seconds, files = best(write)
            row: dict[str, Any] = {"what": name, "write_s": seconds, "bytes": sum(len(data) for _, data in files)}
            for file, data in files:
                path = Path(folder, name, "photo.png" if name == "panoptic" and file == "0.png" else file)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
            if isinstance(form, Readable):
                first = files[-1 if form.run_file and name != "yolo" else 0][0]
                row["read_s"], _ = best(lambda r=form, f=first, n=name: list(r.read(Path(folder, n, f), size=size)))
            rows.append(row)
    for name, work in peers(answered).items():
        seconds, data = best(work, 1 if "6" in name else 3)
        rows.append({"what": name, "write_s": seconds, "bytes": len(data)})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", help="a photo, resized to --megapixels")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--masks", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    image = photo(given.photo, given.megapixels)
    prediction = Prediction(image.size, tuple(discs(image.size, given.masks)))
    rows = measure(Answered(image, Ask(), prediction, PurePosixPath("photo.jpg"), "none"))
    if given.json:
        print(json.dumps(rows))
        return 0
    print(f"{image.size[1]} x {image.size[0]} pixels, {given.masks} masks")
    print(f"{'':26}{'write s':>10}{'read s':>10}{'MB':>10}")
    for row in rows:
        read = f"{row['read_s']:.3f}" if "read_s" in row else ""
        print(f"{row['what']:26}{row['write_s']:10.3f}{read:>10}{row['bytes'] / 1e6:10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

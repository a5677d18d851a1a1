"""What `--matte` makes of hair and fur, and what it costs.

    python benchmarks/matte.py [--pictures docs/matte] [--megapixels 12] [--json]

Cuts three example photos out with the bundled checkpoint, plain and with a matte, lays both on a plain colour, and
writes details of them side by side as small JPEGs. Then one photo, enlarged to 12 megapixels, goes through the same
code in a process of its own, which prints seconds and the most memory that the process held (and what it held before).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from segcli.io.images import read_image, read_mask

PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "photos"
GROUND = (60, 150, 90)


@dataclass(frozen=True)
class Case:
    """A photo, clicks on the object and beside it, and the part that is shown: left, top, right, bottom."""

    photo: str
    clicks: tuple[str, ...]
    beside: tuple[str, ...]
    part: tuple[int, int, int, int]
    scale: int


CASES = (
    Case(
        "astronaut",
        ("44%,25%", "42%,12%", "55%,15%", "35%,70%", "60%,60%", "48%,42%"),
        ("20%,15%", "70%,20%", "60%,5%", "92%,50%"),
        (140, 0, 310, 150),
        2,
    ),
    Case(
        "chelsea",
        ("50%,50%", "30%,20%", "12%,55%", "80%,20%", "20%,80%", "55%,85%", "75%,3%"),
        ("97%,50%", "90%,90%"),
        (281, 0, 451, 150),
        2,
    ),
    Case("flower", ("50%,45%",), (), (180, 70, 350, 220), 2),
)


def masked(case: Case, folder: Path) -> np.ndarray:
    """The bundled checkpoint's mask, bool [H, W]."""
    from segcli.core.rle import decode

    path = folder / f"{case.photo}.png"
    words = [word for click in case.clicks for word in ("--at", click)]
    words += [word for click in case.beside for word in ("--not-at", click)]
    command = [sys.executable, "-m", "segcli", "point", str(PHOTOS / f"{case.photo}.jpg"), *words, "-q"]
    subprocess.run([*command, "-o", str(path)], check=True)
    return decode(read_mask(path, str(path)))


def on_ground(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return np.round(pixels * share + np.array(GROUND) * (1 - share)).astype(np.uint8)


def picture(case: Case, folder: Path, to: Path) -> int:
    """Write the photo, the plain cut-out and the one with a matte side by side; bytes of the file."""
    from segcli.io.matte import matte

    photo = read_image(PHOTOS / f"{case.photo}.jpg", case.photo).pixels
    mask = masked(case, folder)
    made = matte(photo, mask)
    left, top, right, bottom = case.part
    size = ((right - left) * case.scale, (bottom - top) * case.scale)
    shown = [photo, on_ground(photo, mask * 255), on_ground(made.pixels, made.alpha)]
    strip = PIL.Image.new("RGB", (size[0] * 3 + 16, size[1]), "white")
    for number, one in enumerate(shown):
        part = PIL.Image.fromarray(one[top:bottom, left:right]).resize(size, PIL.Image.Resampling.BICUBIC)
        strip.paste(part, (number * (size[0] + 8), 0))
    path = to / f"{case.photo}.jpg"
    strip.save(path, quality=85, optimize=True)
    return path.stat().st_size


def large(mask_file: Path, photo_file: Path) -> dict[str, float]:
    """What the matte of one large photo costs, measured within a fresh process."""
    from scipy import ndimage  # noqa: F401 - its import is no part of what is measured

    from segcli.core.rle import decode
    from segcli.io.matte import default_width, matte

    mask = decode(read_mask(mask_file, str(mask_file)))
    pixels = read_image(photo_file, str(photo_file)).pixels
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock, start = time.perf_counter(), time.process_time()
    made = matte(pixels, mask)
    return {
        "megapixels": mask.size / 1e6,
        "width": default_width(mask),
        "band": float(((made.alpha > 0) & (made.alpha < 255)).mean()),
        "seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - start,
        "before_mb": before / 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder for the JPEGs; none are written if left out")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--photo", choices=[case.photo for case in CASES], default="astronaut")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(large(*given.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if given.pictures:
            given.pictures.mkdir(parents=True, exist_ok=True)
            sizes = {case.photo: picture(case, Path(folder), given.pictures) for case in CASES}
            print(f"{sum(sizes.values()) / 1000:.0f} kB of pictures: {sizes}", file=sys.stderr)
        case = next(case for case in CASES if case.photo == given.photo)
        mask = PIL.Image.fromarray(masked(case, Path(folder)))
        scale = (given.megapixels * 1e6 / (mask.width * mask.height)) ** 0.5
        size = (round(mask.width * scale), round(mask.height * scale))
        paths = Path(folder, "mask-large.png"), Path(folder, "photo-large.png")
        mask.convert("L").resize(size, PIL.Image.Resampling.BICUBIC).point(lambda v: 255 * (v > 127)).save(paths[0])
        photo = PIL.Image.open(PHOTOS / f"{case.photo}.jpg").convert("RGB")
        photo.resize(size, PIL.Image.Resampling.BICUBIC).save(paths[1], compress_level=1)
        command = [sys.executable, __file__, "--measure", *map(str, paths)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if given.json:
        print(json.dumps(row))
        return
    print(
        f"{row['megapixels']:.1f} megapixels, a band of {row['width']} pixels to either side "
        f"({row['band']:.1%} of the photo soft): {row['seconds']:.1f} s ({row['cpu_seconds']:.1f} s of CPU), "
        f"peak {row['peak_mb']:.0f} MB (before: {row['before_mb']:.0f} MB)"
    )


if __name__ == "__main__":
    main()

"""Where the bundled members fail, as pictures.

    python benchmarks/failures.py [--pictures docs/failures]

Runs the commands below on the example photos and writes the photo with its prompts beside the answer, as small JPEGs.
They were picked for going wrong; benchmarks/clicks.py and its neighbours say how often things go right.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import PIL.ImageDraw

PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "photos"
HEIGHT = 260


@dataclass(frozen=True)
class Case:
    """A photo and the words of a command about it; `at` are the clicks among them as percentages, for the drawing."""

    name: str
    photo: str
    words: tuple[str, ...]
    at: tuple[tuple[int, int, bool], ...] = ()


def clicked(name: str, photo: str, *at: tuple[int, int, bool]) -> Case:
    words = [w for x, y, good in at for w in ("--at" if good else "--not-at", f"{x}%,{y}%")]
    return Case(name, photo, ("point", *words), at)


CASES = (
    clicked("cheek", "chelsea", (20, 62, True)),
    clicked("saucer", "coffee", (50, 75, True)),
    clicked("lattice", "rocket", (7, 55, True)),
    clicked("roof", "china", (32, 56, True)),
    Case("spoon", "coffee", ("refer", "spoon")),
)


def picture(case: Case, folder: Path, to: Path) -> int:
    """Write photo and answer side by side; bytes of the file."""
    photo = PHOTOS / f"{case.photo}.jpg"
    out = folder / case.name
    command = [sys.executable, "-m", "segcli", *case.words, str(photo), "-f", "overlay", "-q", "-o", str(out)]
    subprocess.run(command, check=True)
    (answer,) = out.glob("*.jpg")
    sides = [PIL.Image.open(path).convert("RGB") for path in (photo, answer)]
    sides = [side.resize((round(side.width * HEIGHT / side.height), HEIGHT)) for side in sides]
    draw = PIL.ImageDraw.Draw(sides[0])
    for x, y, good in case.at:
        centre = (sides[0].width * x / 100, HEIGHT * y / 100)
        draw.circle(centre, 6, fill="lime" if good else "red", outline="black", width=2)
    both = PIL.Image.new("RGB", (sum(s.width for s in sides) + 6, HEIGHT), "white")
    both.paste(sides[0], (0, 0))
    both.paste(sides[1], (sides[0].width + 6, 0))
    both.save(to, quality=82)
    return to.stat().st_size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=Path, default=Path("docs/failures"))
    arguments = parser.parse_args()
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            path = arguments.pictures / f"{case.name}.jpg"
            print(f"{path}: {picture(case, Path(folder), path)} bytes, seg {' '.join(case.words)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Where the bundled members fail, as pictures.

    python benchmarks/failures.py [NAME …] [--pictures docs/failures]

Runs the commands below on the example photos, and on photos and videos composed of them, and writes what was asked
beside the answer, as small JPEGs. They were picked for going wrong; benchmarks/clicks.py and its neighbours say how
often things go right.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
from composed import FLOWER, HEAD, PAGODA, SIZE, CutOut

PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "photos"
HEIGHT, WIDTH = 210, 640  # at most
FRAMES = 9
TINTS = {1: (235, 50, 50), 2: (50, 90, 245)}

Picture = PIL.Image.Image
Case = Callable[[Path], list[Picture]]
"""Makes the panels of a picture; files go into the folder that it is given."""

Placed = tuple[CutOut, float, float, float]
"""A cut-out, where its middle lies (x, y) and its height, in pixels."""


def seg(*words: str | Path) -> None:
    """Run a command; what it says on stdout is none of ours."""
    print("seg", *words)
    subprocess.run([sys.executable, "-m", "segcli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def answer(folder: Path, *words: str | Path) -> Picture:
    """The overlay that a command writes about one photo."""
    out = folder / "answer"
    seg(*words, "-f", "overlay", "-q", "-o", out)
    (path,) = out.glob("*.jpg")
    return PIL.Image.open(path).convert("RGB")


def clicked(photo: str, *at: tuple[int, int, bool]) -> Case:
    """A photo with its clicks, as percentages, and the mask."""

    def panels(folder: Path) -> list[Picture]:
        words = [w for x, y, good in at for w in ("--at" if good else "--not-at", f"{x}%,{y}%")]
        shown = fitted([opened(photo)])[0]
        draw = PIL.ImageDraw.Draw(shown)
        for x, y, good in at:
            centre = (shown.width * x / 100, shown.height * y / 100)
            draw.circle(centre, 6, fill="lime" if good else "red", outline="black", width=2)
        return [shown, answer(folder, "point", path_of(photo), *words)]

    return panels


def said(photo: str, *words: str) -> Case:
    """A photo, and what words mean in it. The photo goes behind the verb."""

    def panels(folder: Path) -> list[Picture]:
        photo_first = (words[0], path_of(photo), *words[1:]) if words[0] == "group" else (*words, path_of(photo))
        return [opened(photo), answer(folder, *photo_first)]

    return panels


def likened(cut: CutOut, photo: str, *pasted: Placed) -> Case:
    """An object of an example photo, and what is like it in another photo, with cut-outs pasted into it."""

    def panels(folder: Path) -> list[Picture]:
        example = opened(cut.photo)
        mask = PIL.Image.new("L", example.size)
        mask.paste(255, (round(cut.box[0] * mask.width), round(cut.box[1] * mask.height)), cut.read().getchannel("A"))
        mask.save(folder / "example.png")
        asked, _ = composition(opened(photo), pasted)
        asked.save(folder / "photo.png")
        pair = f"{path_of(cut.photo)}:{folder / 'example.png'}"
        found = answer(folder, "incontext", folder / "photo.png", "--example", pair)
        return [tinted(example, np.asarray(mask) > 0), found]

    return panels


def followed(
    photo: str,
    shown: Sequence[int],
    path: Callable[[int], list[Placed]],
    cut: tuple[int, str] = (0, ""),
) -> Case:
    """Frames `shown` of a video of moving cut-outs whose first frame's masks are given.

    cut: from which frame on another photo is behind all of it.
    """

    def panels(folder: Path) -> list[Picture]:
        frames = folder / "frames"
        frames.mkdir()
        for t in range(FRAMES):
            behind = opened(cut[1] if cut[1] and t >= cut[0] else photo).resize(SIZE)
            frame, labels = composition(behind, path(t))
            frame.save(frames / f"{t:05d}.png")
            if t == 0:
                labels.save(folder / "first.png")
        seg("vos", frames, "--first", folder / "first.png", "-f", "palette", "-q", "-o", folder / "answer")
        return [
            tinted(
                PIL.Image.open(frames / f"{t:05d}.png"),
                np.asarray(PIL.Image.open(folder / "answer" / "frames" / f"{t:05d}.png")),
            )
            for t in shown
        ]

    return panels


CASES: dict[str, Case] = {
    "cheek": clicked("chelsea", (20, 62, True)),
    "saucer": clicked("coffee", (50, 75, True)),
    "lattice": clicked("rocket", (7, 55, True)),
    "roof": clicked("china", (32, 56, True)),
    "spoon": said("coffee", "refer", "spoon"),
    "small": likened(FLOWER, "china", (FLOWER, 96, 256, 40), (FLOWER, 320, 342, 30), (FLOWER, 480, 171, 50)),
    "touching": likened(FLOWER, "astronaut", (FLOWER, 358, 180, 130), (FLOWER, 435, 205, 130)),
    "face": likened(HEAD, "chelsea"),
    "cups": said("coffee", "group", "all cups"),
    "tallest": said("rocket", "group", "the tallest thing"),
    "dog": said("chelsea", "refer", "dog", "-m", "psalm-nano"),
    "person": said("rocket", "refer", "person", "-m", "psalm-nano"),
    "crossing": followed(
        "chelsea", (0, 5, 8), lambda t: [(FLOWER, 90 + 26 * t, 105, 80), (FLOWER, 300 - 26 * t, 118, 80)]
    ),
    "cut": followed(
        "flower",
        (0, 4, 5),
        lambda t: [(PAGODA, 320, 150, 70) if t >= 5 else (PAGODA, 120 + 6 * t, 112, 150)],
        cut=(5, "coffee"),
    ),
}


def path_of(photo: str) -> Path:
    """An example photo's file."""
    return PHOTOS / f"{photo}.jpg"


def opened(photo: str) -> Picture:
    """An example photo."""
    return PIL.Image.open(path_of(photo)).convert("RGB")


def composition(photo: Picture, pasted: Sequence[Placed]) -> tuple[Picture, Picture]:
    """The photo with cut-outs in it, later ones in front, and their labels 1, 2, …"""
    made, labels = photo.copy(), PIL.Image.new("L", photo.size)
    for number, (cut, x, y, height) in enumerate(pasted, 1):
        part = cut.read()
        part = part.resize((round(part.width * height / part.height), round(height)))
        corner = (round(x - part.width / 2), round(y - part.height / 2))
        made.paste(part, corner, part.getchannel("A"))
        labels.paste(number, corner, part.getchannel("A").point(lambda a: 255 * (a > 127)))
    return made, labels


def tinted(photo: Picture, labels: np.ndarray) -> Picture:
    """The photo with each label in a colour of its own."""
    pixels = np.asarray(photo.convert("RGB"), np.float32).copy()
    for number, colour in TINTS.items():
        pixels[labels == number] = 0.45 * pixels[labels == number] + 0.55 * np.array(colour)
    return PIL.Image.fromarray(pixels.astype(np.uint8))


def fitted(panels: Sequence[Picture]) -> list[Picture]:
    """Panels of one height that fit beside each other."""
    height = min(HEIGHT, round(WIDTH / sum(panel.width / panel.height for panel in panels)))
    return [panel.resize((round(panel.width * height / panel.height), height)) for panel in panels]


def save(panels: Sequence[Picture], to: Path) -> int:
    """Write panels side by side; bytes of the file."""
    panels = fitted(panels)
    whole = PIL.Image.new("RGB", (sum(p.width for p in panels) + 6 * (len(panels) - 1), panels[0].height), "white")
    left = 0
    for panel in panels:
        whole.paste(panel, (left, 0))
        left += panel.width + 6
    whole.save(to, quality=80)
    return to.stat().st_size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all): {', '.join(CASES)}")
    parser.add_argument("--pictures", type=Path, default=Path("docs/failures"))
    arguments = parser.parse_args()
    if odd := sorted(set(arguments.names) - set(CASES)):
        parser.error(f"{odd[0]}: no such picture; those there are: {', '.join(CASES)}")
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = arguments.pictures / f"{name}.jpg"
            print(f"{path}: {save(CASES[name](Path(folder)), path)} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

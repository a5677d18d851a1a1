"""What `seg masks` costs beside pycocotools and Pillow in a plain loop, in seconds and in peak memory.

    python benchmarks/masks.py [--annotations 5000] [--photos 700] [--json]

Draws a COCO file (outlines of 20 to 60 corners, every tenth mask as RLE), converts it to palette PNGs and back in both
ways, then counts and compares masks as run-length codes and decoded to bitmaps. Every part runs in a process of its
own, so that its peak memory is its own. Seconds are of processor time, so that what else the machine does counts for
nothing, of the work alone, without imports; the best of three.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZES = ((480, 640), (640, 480), (427, 640), (500, 375))


def drawn(path: Path, annotations: int, photos: int) -> None:
    """A COCO file whose masks are wavy discs that overlap little, in the order in which COCO's own files have them."""
    from pycocotools import mask as coco

    rng = np.random.default_rng(20)
    images = [
        {"id": 7 * n + 3, "file_name": f"{n:06d}.jpg", "height": h, "width": w}
        for n, (h, w) in enumerate(SIZES[n % len(SIZES)] for n in range(photos))
    ]
    rows = []
    for n in range(annotations):
        image = images[int(rng.integers(photos))] if n >= photos else images[n]
        height, width = image["height"], image["width"]
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(20, 60))))
        radius = rng.lognormal(3.4, 0.7) * (1 + 0.2 * np.sin(angles * rng.integers(2, 7)))
        x = np.clip(rng.uniform(0, width) + radius * np.cos(angles), 0, width)
        y = np.clip(rng.uniform(0, height) + radius * np.sin(angles), 0, height)
        outline: Any = [np.stack([x, y], 1).round(2).ravel().tolist()]
        rle = coco.merge(coco.frPyObjects(outline, height, width))
        if n % 10 == 0:
            outline = {"size": [height, width], "counts": rle["counts"].decode()}
        rows.append(
            {
                "id": n + 1,
                "image_id": image["id"],
                "category_id": int(rng.integers(1, 4)),
                "segmentation": outline,
                "area": float(coco.area(rle)),
                "bbox": coco.toBbox(rle).tolist(),
                "iscrowd": 0,
            }
        )
    categories = [{"id": n, "name": name} for n, name in enumerate(("cat", "dog", "cup"), 1)]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))


def seg_there(source: Path, work: Path) -> int:
    return seg("convert", source, "-f", "palette", "-o", work / "seg-there", "--force", "-q")


def seg_back(source: Path, work: Path) -> int:
    return seg("convert", work / "seg-there", "-f", "coco", "-o", work / "seg-back", "--force", "-q")


def seg(*words: str | Path) -> int:
    """`seg masks …` in this process."""
    from segcli.cli.app import main

    try:
        main(["masks", *map(str, words)])
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def plain_there(source: Path, work: Path) -> int:
    from PIL import Image
    from pycocotools.coco import COCO

    out = work / "plain-there"
    out.mkdir(exist_ok=True)
    palette = np.random.default_rng(0).integers(0, 256, 768).tolist()
    coco = COCO(str(source))
    for image in coco.loadImgs(coco.getImgIds()):
        ids = np.zeros((image["height"], image["width"]), np.uint8)
        for number, row in enumerate(coco.loadAnns(coco.getAnnIds(imgIds=image["id"])), 1):
            ids[coco.annToMask(row) > 0] = number
        picture = Image.fromarray(ids)
        picture.putpalette(palette)
        picture.save(out / Path(image["file_name"]).with_suffix(".png"))
    return 0


def plain_back(source: Path, work: Path) -> int:
    from PIL import Image
    from pycocotools import mask as coco

    images, rows = [], []
    for path in sorted((work / "plain-there").glob("*.png")):
        ids = np.asarray(Image.open(path))
        images.append({"id": len(images) + 1, "file_name": path.name, "height": ids.shape[0], "width": ids.shape[1]})
        for number in np.unique(ids):
            if number:
                rle = coco.encode(np.asfortranarray(ids == number).astype(np.uint8))
                area, box = int(coco.area(rle)), coco.toBbox(rle).tolist()
                rle["counts"] = rle["counts"].decode()
                row = {"id": len(rows) + 1, "image_id": len(images), "category_id": 1, "iscrowd": 0}
                rows.append({**row, "segmentation": rle, "area": area, "bbox": box})
    whole = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "object"}]}
    (work / "plain-back.json").write_text(json.dumps(whole))
    return 0


def held(work: Path) -> list[Any]:
    """The masks of the PNGs as seg's JSON lines hold them, photo by photo."""
    from segcli.io.maskfiles import read

    return [one.prediction for one in read([str(work / "seg-back")])]


def stats_on_codes(source: Path, work: Path) -> Callable[[], int]:
    from segcli.core.algebra import coverage

    found = held(work)
    return lambda: sum(round(coverage(one)) + sum(sum((rle.area, *rle.bbox)) for rle in one.masks) for one in found)


def stats_on_bitmaps(source: Path, work: Path) -> Callable[[], int]:
    from segcli.core.rle import decode

    found = held(work)

    def counted() -> int:
        total = 0
        for one in found:
            union = np.zeros(one.size, np.bool_)
            for rle in one.masks:
                mask = decode(rle)
                union |= mask
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                total += int(mask.sum()) + int(rows[-1] - rows[0] + columns[-1] - columns[0])
            total += round(union.mean())
        return total

    return counted


def iou_on_codes(source: Path, work: Path) -> Callable[[], int]:
    from segcli.core.algebra import matched

    found = held(work)
    return lambda: sum(len(matched(one, one)) for one in found)


def iou_on_bitmaps(source: Path, work: Path) -> Callable[[], int]:
    from scipy.optimize import linear_sum_assignment

    from segcli.core.rle import decode

    found = held(work)

    def compared() -> int:
        pairs = 0
        for one in found:
            masks = [decode(rle) for rle in one.masks]
            table = np.array([[(a & b).sum() / max(1, (a | b).sum()) for b in masks] for a in masks])
            pairs += len(linear_sum_assignment(-table.reshape(len(masks), len(masks)))[0])
        return pairs

    return compared


CONVERSIONS = {f.__name__: f for f in (seg_there, plain_there, seg_back, plain_back)}
MEASURES = {f.__name__: f for f in (stats_on_codes, stats_on_bitmaps, iou_on_codes, iou_on_bitmaps)}


def part(name: str, source: Path, work: Path, rounds: int) -> dict[str, float]:
    """One part, in this process: the best seconds of some rounds, and the process's peak memory in MB."""
    if name in MEASURES:
        once: Callable[[], int] = MEASURES[name](source, work)
    else:

        def once() -> int:
            if CONVERSIONS[name](source, work):
                raise SystemExit(f"{name} failed")
            return 0

    import pycocotools.mask  # noqa: F401 - imports are no part of the time
    import scipy.optimize  # noqa: F401
    from PIL import Image  # noqa: F401

    seconds = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        once()
        seconds = min(seconds, time.process_time() - start)
    return {"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def alone(name: str, source: Path, work: Path, rounds: int) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--part", name, str(source), str(work), "--rounds", str(rounds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-1000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--annotations", type=int, default=5000)
    parser.add_argument("--photos", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", nargs=3, metavar=("NAME", "SOURCE", "DIR"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(part(args.part[0], Path(args.part[1]), Path(args.part[2]), args.rounds)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work, small = Path(folder, "all"), Path(folder, "tenth")
        figures = {}
        for place, count, photos in (
            (work, args.annotations, args.photos),
            (small, args.annotations // 10, args.photos // 10),
        ):
            place.mkdir()
            drawn(place / "instances.json", count, photos)
            names = (
                [*CONVERSIONS, *MEASURES] if place is work else ["seg_there", "seg_back", "plain_there", "plain_back"]
            )
            figures[place.name] = {n: alone(n, place / "instances.json", place, args.rounds) for n in names}
    if args.json:
        print(json.dumps(figures))
        return
    whole, tenth = figures["all"], figures["tenth"]
    print(f"{args.annotations} annotations of {args.photos} photos     seg     plain loop")
    for words, name in (("COCO to palette PNGs", "there"), ("palette PNGs to COCO", "back")):
        ours, plain = whole[f"seg_{name}"], whole[f"plain_{name}"]
        times = f"{ours['seconds']:7.2f} s {plain['seconds']:9.2f} s"
        print(f"{words:34} {times}   {plain['seconds'] / ours['seconds']:5.1f}x")
        print(f"{'  peak memory':34} {ours['mb']:7.0f} MB {plain['mb']:8.0f} MB")
        ours, plain = tenth[f"seg_{name}"], tenth[f"plain_{name}"]
        print(f"{'  peak memory at a tenth of it':34} {ours['mb']:7.0f} MB {plain['mb']:8.0f} MB")
    for words, name in (("stats", "stats"), ("iou, each mask with each", "iou")):
        codes, maps = whole[f"{name}_on_codes"]["seconds"], whole[f"{name}_on_bitmaps"]["seconds"]
        print(f"{words + ': codes, bitmaps':34} {codes:7.3f} s {maps:9.3f} s   {maps / codes:5.1f}x")


if __name__ == "__main__":
    main()

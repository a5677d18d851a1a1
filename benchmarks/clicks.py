"""How good is a model's answer to clicks, beside what a person could use offline instead?

    python benchmarks/clicks.py --data DIR -m seem-nano [--json] [--sets grabcut,voc] [--subset 20]

DIR holds sets as `SET/images`, `SET/masks` and `SET/objects.jsonl`. Every object that is a thing and covers at least
1 % of its photo is clicked at by RITM's rule, each click from the method's own last answer, at the photo's own
resolution; ignored pixels are left out. F is DAVIS' boundary F. Peers: OpenCV's GrabCut and scikit-image's random
walker, from the same rule.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from segcli.bench.clicking import Answer, ClickRun, Opener, opener_of, run_clicks
from segcli.bench.noc import folder_samples, summary
from segcli.core.image import Image
from segcli.datasets.folders import Photo, photos
from segcli.metrics.clicks import Click

SETS = ("grabcut", "voc", "coco", "msrc", "ecssd")
WALKER_SIDE = 256  # the random walker solves a linear system over all pixels: more is out of a person's patience


def grabcut(image: Image) -> Answer:
    """OpenCV's GrabCut. First click: a disc of a quarter of the short side is probably the object, the click surely.

    Everything else is probable background. Later clicks are sure in a disc of 3 pixels, going on from the last mask.
    """
    import cv2

    cv2.setNumThreads(1)
    bgr = np.ascontiguousarray(image.pixels[..., ::-1])

    def answer(clicks: Sequence[Click], previous: np.ndarray | None) -> np.ndarray:
        if previous is None or not previous.any():
            labels = np.full(image.size, cv2.GC_PR_BGD, np.uint8)
            first = clicks[0]
            radius = int(0.25 * min(image.size))
            cv2.circle(labels, (first.x, first.y), radius, cv2.GC_PR_FGD, -1)
        else:
            labels = np.where(previous, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        for click in clicks:
            cv2.circle(labels, (click.x, click.y), 3, cv2.GC_FGD if click.positive else cv2.GC_BGD, -1)
        if not np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
            return np.ones(image.size, np.bool_)  # nothing left to tell the object from
        cv2.grabCut(bgr, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
        return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))

    return answer


def walker(image: Image) -> Answer:
    """scikit-image's random walker on a reduced photo; before any negative click the photo's border is background."""
    import cv2
    from skimage.segmentation import random_walker

    height, width = image.size
    scale = min(1.0, WALKER_SIDE / max(height, width))
    h, w = max(2, round(height * scale)), max(2, round(width * scale))
    small = cv2.resize(image.pixels, (w, h), interpolation=cv2.INTER_AREA) / 255.0

    def answer(clicks: Sequence[Click], previous: np.ndarray | None) -> np.ndarray:
        seeds = np.zeros((h, w), np.int32)
        if all(c.positive for c in clicks):
            seeds[[0, -1]] = 2
            seeds[:, [0, -1]] = 2
        for click in clicks:
            y, x = min(h - 1, int(click.y * scale)), min(w - 1, int(click.x * scale))
            cv2.circle(seeds, (x, y), 1, 1 if click.positive else 2, -1)
        if not (seeds == 1).any() or not (seeds == 2).any():
            return np.full(image.size, not (seeds == 2).any(), np.bool_)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it reports probabilities like -1e-4, which the threshold does not see
            inside = random_walker(small, seeds, beta=130, mode="cg_j", channel_axis=-1, return_full_prob=True)[0]
        full = cv2.resize(inside.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        return full > 0.5

    return answer


PEERS: dict[str, Opener] = {"grabcut": grabcut, "walker": walker}


def peer_runs(name: str, photo: Photo, clicks: int) -> list[ClickRun]:
    return list(run_clicks(PEERS[name], folder_samples([photo]), clicks))


def chosen(data: Path, name: str, subset: int | None, seed: int) -> list[Photo]:
    found = list(photos(data / name))
    if subset is not None and subset < len(found):
        found = [found[i] for i in sorted(random.Random(seed).sample(range(len(found)), subset))]
    return found


def compare(arguments: argparse.Namespace) -> Iterator[tuple[str, str, dict]]:
    """Set, method and figures, as they come."""
    opener = None
    if arguments.model:
        from segcli.registry.load import open_model

        opener = opener_of(open_model(arguments.model, device=arguments.device))
    peers = [p for p in arguments.peers.split(",") if p]
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for name in arguments.sets:
            selection = chosen(arguments.data, name, arguments.subset, arguments.seed)
            pending = {p: [pool.submit(peer_runs, p, photo, arguments.clicks) for photo in selection] for p in peers}
            if opener is not None:
                runs = list(run_clicks(opener, folder_samples(selection), arguments.clicks))
                yield name, arguments.model, figures(runs, arguments.clicks)
            for peer, futures in pending.items():
                yield name, peer, figures([run for f in futures for run in f.result()], arguments.clicks)


def figures(runs: list[ClickRun], clicks: int) -> dict:
    result = summary(runs, clicks)
    result["seconds-per-click"] = float(np.mean([s for r in runs for s in r.seconds]))
    result["seconds-to-prepare"] = float(np.mean([r.encode_seconds for r in runs]))
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets")
    parser.add_argument(
        "-m", "--model", help="a model of the registry or a checkpoint file; without it only the peers run"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--sets", type=lambda s: s.split(","), help="default: those of " + ", ".join(SETS) + " that exist"
    )
    parser.add_argument("--subset", type=int, help="so many photos of each set, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--peers", default="grabcut,walker", help="comma separated, or '' for none")
    parser.add_argument("--workers", type=int, default=1, help="processes for the peers")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.sets:
        arguments.sets = [s for s in SETS if (arguments.data / s).is_dir()]
    if not arguments.sets:
        parser.error(f"{arguments.data} holds none of {', '.join(SETS)}; name sets with --sets")
    unknown = set(arguments.peers.split(",")) - {*PEERS, ""}
    if unknown:
        parser.error(f"unknown peers {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    columns = [f"IoU@{k}" for k in (1, 3, 5, 10) if k <= arguments.clicks]
    columns += [f"F@{k}" for k in (1, 5) if k <= arguments.clicks] + ["NoC@80", "NoC@85", "NoC@90"]
    report: dict[str, dict[str, dict]] = {}
    if not arguments.json:
        print(f"{'set':10}{'method':14}{'objects':>8}" + "".join(f"{c:>8}" for c in columns) + f"{'s/click':>9}")
    for name, method, values in compare(arguments):
        report.setdefault(name, {})[method] = values
        if not arguments.json:
            cells = "".join(f"{values[c]:8.3f}" if not c.startswith("NoC") else f"{values[c]:8.2f}" for c in columns)
            print(f"{name:10}{method:14}{values['objects']:8d}{cells}{values['seconds-per-click']:9.3f}", flush=True)
    if arguments.json:
        settings = {"clicks": arguments.clicks, "subset": arguments.subset, "seed": arguments.seed, "rule": "ritm"}
        json.dump({"settings": settings, "sets": report}, sys.stdout, indent=1)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

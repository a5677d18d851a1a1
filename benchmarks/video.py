"""How well do the bundled trackers carry first masks through videos, beside what needs no training?

    python benchmarks/video.py --data DIR [-m seem-nano] [-m seggpt-nano] [--no-composed] [--json]

DIR holds sequences as `SEQ/frames/*.jpg` and `SEQ/masks/*.png` (palette index = object, 255 = ignored). The first
frame's masks are given; J and F of all later frames count, a mean over frames, objects and then sequences. Peers: the
first mask copied, the mask before carried along OpenCV's DIS optical flow, and nearest features of the bundled frozen
backbone (propagation with nothing trained). Then videos composed of the example photos, with several objects.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from composed import SCENES, scene
from numpy.typing import NDArray

from segcli.core.image import Image
from segcli.datasets.video import folder_sequences
from segcli.metrics.boundary import frame_score

Pixels = NDArray[np.uint8]
Masks = dict[int, NDArray[np.bool_]]
Step = Callable[[Pixels, Masks | None], Mapping[int, NDArray[np.bool_]]]
VOID = 255


@dataclass(frozen=True)
class Sequence:
    """A video with labels for every frame, read one frame at a time."""

    group: str
    name: str
    frames: Callable[[], Iterator[tuple[Pixels, Pixels]]]


def read(data: Path) -> Iterator[Sequence]:
    for video in folder_sequences(data):

        def frames(video: Any = video) -> Iterator[tuple[Pixels, Pixels]]:
            for name in video.frames:
                yield video.photo(name), video.truth(name)

        yield Sequence(data.name, video.name, frames)


def composed() -> Iterator[Sequence]:
    for name in SCENES:
        yield Sequence("composed", name, lambda name=name: scene(name))


def copying() -> Step:
    held: Masks = {}

    def step(pixels: Pixels, given: Masks | None) -> Masks:
        held.update(given or {})
        return dict(held)

    return step


def flow() -> Step:
    """Each mask is fetched along the flow from this frame to the one before; several objects: the clearest wins."""
    import cv2

    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before: dict[str, Any] = {"soft": {}}

    def step(pixels: Pixels, given: Masks | None) -> Masks:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        if "grey" in before:
            shift = dis.calc(grey, before["grey"], None)
            y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
            fetched = {
                k: cv2.remap(m, x + shift[..., 0], y + shift[..., 1], cv2.INTER_LINEAR)
                for k, m in before["soft"].items()
            }
        else:
            fetched = {}
        fetched.update({k: m.astype(np.float32) for k, m in (given or {}).items()})
        before.update(grey=grey, soft=fetched)
        return clearest(fetched)

    return step


def clearest(soft: Mapping[int, NDArray[np.float32]]) -> Masks:
    """Each pixel to the object with the largest share above one half."""
    stacked = np.stack(list(soft.values()))
    owner, taken = stacked.argmax(0), stacked.max(0) > 0.5
    return {k: taken & (owner == i) for i, k in enumerate(soft)}


def nearest(cells: int = 10, temperature: float = 0.07, recent: int = 4, radius: int = 12) -> Step:
    """At stride 8 of 448x256 pixels: strides 8 and 16 of Lite0, each of length 1, side by side.

    Softmax over the 10 best cells of the first frame (anywhere) and of each of the last 4 (within 12 cells), averaged.
    """
    import torch
    import torch.nn.functional as F

    from segcli.registry.load import open_model

    backbone = open_model("seem-nano", device="cpu", say=lambda _: None).model.backbone  # type: ignore[attr-defined]
    memory: list[tuple[torch.Tensor, torch.Tensor]] = []
    ids: list[int] = []
    height, width = 32, 56
    y, x = (v.flatten() for v in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    near = ((y[:, None] - y).abs() <= radius) & ((x[:, None] - x).abs() <= radius)

    @torch.inference_mode()
    def step(pixels: Pixels, given: Masks | None) -> Masks:
        photo = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float()
        maps = backbone(F.interpolate(photo, size=(256, 448), mode="bilinear", align_corners=False, antialias=True))
        coarse = F.interpolate(maps["res4"], size=(height, width), mode="bilinear", align_corners=False)
        keys = torch.cat([F.normalize(maps["res3"], dim=1), F.normalize(coarse, dim=1)], 1)
        keys = F.normalize(keys, dim=1)[0].flatten(1)
        if given:
            ids[:] = list(given)
            full = torch.from_numpy(np.stack(list(given.values()))).float()[None]
            memory.append((keys, F.interpolate(full, size=(height, width), mode="area")[0].flatten(1)))
            return given
        answers = []
        for place, (held, values) in enumerate(memory):
            cosines = keys.T @ held
            if place:
                cosines = cosines.masked_fill(~near, -9)
            best, which = cosines.topk(cells, 1)
            answers.append(((best / temperature).softmax(1) * values[:, which]).sum(-1))
        soft = torch.stack(answers).mean(0)
        memory.append((keys, soft))
        del memory[1:-recent]
        grown = F.interpolate(soft.view(1, -1, height, width), size=pixels.shape[:2], mode="bilinear")[0]
        return clearest(dict(zip(ids, grown.numpy(), strict=True)))

    return step


def model(name: str, device: str) -> Callable[[], Step]:
    """A bundled member's tracker; opened once, a fresh tracker for each sequence."""
    from segcli.registry.load import open_model

    opened = open_model(name, device=device, say=lambda _: None)

    def start() -> Step:
        tracker = opened.tracker()  # type: ignore[attr-defined]
        return lambda pixels, given: tracker.step(Image(pixels, pixels.shape[:2]), given)

    return start


def follow(sequence: Sequence, step: Step) -> dict[str, float]:
    """J and F of the later frames, and frames a second (scoring and reading aside)."""
    scores: list[tuple[float, float]] = []
    seconds, count = 0.0, 0
    objects: list[int] = []
    for place, (pixels, labels) in enumerate(sequence.frames()):
        given = None
        if place == 0:
            objects = [int(k) for k in np.unique(labels) if k not in (0, VOID)]
            given = {k: labels == k for k in objects}
        began = time.perf_counter()
        answer = step(pixels, given)
        seconds, count = seconds + time.perf_counter() - began, count + 1
        if place:
            void = labels == VOID
            scores += [frame_score(labels == k, answer[k], void if void.any() else None) for k in objects]
    j, f = np.mean(scores, axis=0)
    return {"J": float(j), "F": float(f), "J&F": float(j + f) / 2, "fps": count / seconds}


def table(group: str, rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """A line a sequence, a column a method: J / F, and below the means."""
    methods = list(next(iter(rows.values())))
    wide = max(max(map(len, rows)), len("frames a second")) + 1
    lines = [f"{group}: J / F", " " * wide + "".join(f"{m:>16}" for m in methods)]
    lines += [
        f"{n:<{wide}}" + "".join(f"{r[m]['J']:>9.3f} /{r[m]['F']:>5.2f}" for m in methods) for n, r in rows.items()
    ]
    for label, key in (("mean J", "J"), ("mean F", "F"), ("mean J&F", "J&F"), ("frames a second", "fps")):
        means = [np.mean([r[m][key] for r in rows.values()]) for m in methods]
        lines.append(f"{label:<{wide}}" + "".join(f"{v:>16.3f}" for v in means))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of sequences")
    parser.add_argument("-m", "--model", action="append", help="a member that follows objects; several times")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-composed", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    methods: dict[str, Callable[[], Step]] = {}
    if not arguments.no_peers:
        methods = {"copy": copying, "DIS flow": flow, "nearest": nearest}
    for name in arguments.model or ["seem-nano"]:
        methods[name] = model(name, arguments.device)
    sequences = list(read(arguments.data)) if arguments.data else []
    if not arguments.no_composed:
        sequences += composed()
    results: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for sequence in sequences:
        row = {name: follow(sequence, start()) for name, start in methods.items()}
        results.setdefault(sequence.group, {})[sequence.name] = row
        print(sequence.name, {m: round(r["J"], 3) for m, r in row.items()}, file=sys.stderr, flush=True)
    print(json.dumps(results) if arguments.json else "\n\n".join(table(g, rows) for g, rows in results.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""How good are masks by example, beside what needs no training?

    python benchmarks/incontext.py --episodes EPISODES.json [--models seggpt-nano] [--shots 1,5] [--json]

EPISODES.json is a list of {"class", "query": {"image", "mask", "id": […]}, "examples": [the same, …]}, paths
relative to its folder; `id` lists the mask's values that together are the target, 255 is ignored. Every method gets the
first 1 and the first 5 examples and answers at the photo's own resolution. Peers: copying the example's mask, colour
histogram back-projection, and the nearest-feature rule on the same frozen backbone that nobody trained.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image as Pillow

from segcli.core.ask import Ask
from segcli.core.example import Example
from segcli.core.image import Image
from segcli.datasets.files import read_indices, read_rgb
from segcli.metrics.fewshot import EpisodeCounts, episode_counts, fewshot_scores

if TYPE_CHECKING:
    from segcli.models.backbones.efficientnet_lite import EfficientNetLite

IGNORED = 255
Mask = np.ndarray
Method = Callable[[Sequence[Example], Image], Mask]
BINS = 16  # a side of the colour cube
BLUR = 0.02  # of the photo's longest side
RULE_SIDE, RULE_NEAREST = 256, 5
MARKED = 0.25  # share of a cell; a half, the other choice, scores 0.49 and 0.55 where this scores 0.51 and 0.61


class Episode(NamedTuple):
    name: str
    source: str
    query: Image
    truth: np.ndarray
    ignored: np.ndarray
    examples: list[Example]


def episodes(path: Path, limit: int | None) -> list[Episode]:
    return [
        Episode(
            e["class"], e["query"]["image"].split("/")[0], *_read(path.parent, e["query"]), _examples(path.parent, e)
        )
        for e in json.loads(path.read_text())[:limit]
    ]


def _read(folder: Path, entry: dict) -> tuple[Image, np.ndarray, np.ndarray]:
    pixels, values = read_rgb(folder / entry["image"]), read_indices(folder / entry["mask"])
    return Image(pixels, pixels.shape[:2], entry["image"]), np.isin(values, entry["id"]), values == IGNORED


def _examples(folder: Path, episode: dict) -> list[Example]:
    read = [_read(folder, entry) for entry in episode["examples"]]
    return [Example(image, truth.astype(np.uint8)) for image, truth, _ in read]


def resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A plane of floats [h, w] -> `size`, bilinear."""
    return np.asarray(Pillow.fromarray(plane.astype(np.float32)).resize(size[::-1], Pillow.Resampling.BILINEAR))


def copied(examples: Sequence[Example], query: Image) -> Mask:
    """The example's mask, brought to the photo's size; of several the mean."""
    return np.mean([resized(e.ids > 0, query.size) for e in examples], axis=0) > 0.5


def backprojected(examples: Sequence[Example], query: Image) -> Mask:
    """Ratio histogram of the marked pixels' colours, read at the nearest colour seen, blurred (Swain and Ballard)."""
    import cv2
    from scipy.ndimage import distance_transform_edt

    inside, outside = (np.zeros(BINS**3) for _ in range(2))
    for example in examples:
        cells = _colour(example.photo.pixels)
        inside += np.bincount(cells[example.ids > 0], minlength=BINS**3)
        outside += np.bincount(cells[example.ids == 0], minlength=BINS**3)
    inside, outside = inside / max(1, inside.sum()), outside / max(1, outside.sum())
    seen = (inside + outside > 0).reshape(BINS, BINS, BINS)
    nearest = distance_transform_edt(~seen, return_distances=False, return_indices=True)
    ratio = (inside / np.maximum(inside + outside, 1e-12)).reshape(seen.shape)[tuple(nearest)].ravel()
    sigma = max(1.0, BLUR * max(query.size))
    return cv2.GaussianBlur(ratio[_colour(query.pixels)], (0, 0), sigma) > 0.5


def _colour(pixels: np.ndarray) -> np.ndarray:
    """The cell of the colour cube of each pixel [H, W]."""
    cells = pixels.astype(np.int64) * BINS // 256
    return (cells[..., 0] * BINS + cells[..., 1]) * BINS + cells[..., 2]


@cache
def _backbone() -> EfficientNetLite:
    import torch
    from safetensors.torch import load_file

    from segcli.models.backbones.efficientnet_lite import EfficientNetLite
    from segcli.registry.places import BUNDLED

    network = EfficientNetLite().eval()
    weights = load_file(BUNDLED / "lite0.safetensors")
    network.load_state_dict({k.removeprefix("backbone."): v.to(torch.float32) for k, v in weights.items()})
    return network


def ruled(examples: Sequence[Example], query: Image) -> Mask:
    """Nothing trained: the 5 nearest marked cells against the 5 nearest others, strides 16 and 32 of 256 px, summed."""
    import torch
    import torch.nn.functional as F

    def levels(image: Image) -> list[torch.Tensor]:
        small = Pillow.fromarray(image.pixels).resize((RULE_SIDE, RULE_SIDE), Pillow.Resampling.BILINEAR)
        planes = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            maps = _backbone()(planes)
        return [F.normalize(maps[name][0].flatten(1).T, dim=1) for name in ("res4", "res5")]

    total = np.zeros(query.size, np.float32)
    shown = [levels(e.photo) for e in examples]
    for level, cells in enumerate(levels(query)):
        side = round(len(cells) ** 0.5)
        keys = torch.cat([s[level] for s in shown])
        masks = [torch.from_numpy(e.ids > 0).float()[None, None] for e in examples]
        marks = torch.cat([F.interpolate(m, size=(side, side), mode="area").flatten() for m in masks])
        inside = marks > min(MARKED, float(marks.max()) - 1e-6)
        near, far = (cells @ keys[chosen].T for chosen in (inside, ~inside))
        best = [s.topk(min(RULE_NEAREST, s.shape[1]), dim=1).values.mean(1) for s in (near, far)]
        total += resized((best[0] - best[1]).view(side, side).numpy(), query.size)
    return total > 0


PEERS: dict[str, Method] = {"copy": copied, "histogram": backprojected, "nearest-feature": ruled}


def asked(model: object) -> Method:
    """A model of the registry: the mask of id 1."""

    def answer(examples: Sequence[Example], query: Image) -> Mask:
        model.learn(examples, kind="semantic")
        (encoded,) = model.encode([query])
        (prediction,) = model.decode(encoded, [Ask()])
        found = [prediction.dense(i) for i, number in enumerate(prediction.ids) if number == 1]
        return found[0] if found else np.zeros(query.size, np.bool_)

    return answer


def measured(method: Method, drawn: Sequence[Episode], shots: int) -> dict:
    """Mean IoU over episodes, by source too; mIoU over classes and FB-IoU, as few-shot papers count; seconds."""
    counts: list[tuple[Episode, EpisodeCounts]] = []
    seconds = 0.0
    for episode in drawn:
        started = time.perf_counter()
        mask = method(episode.examples[:shots], episode.query)
        seconds += time.perf_counter() - started
        counts.append((episode, episode_counts(episode.truth, mask, episode.ignored)))
    names = sorted({e.name for e in drawn})
    scores = fewshot_scores([(names.index(e.name), c) for e, c in counts], range(len(names)), len(names))
    sources = sorted({e.source for e in drawn})
    return {
        "IoU": _mean([c for _, c in counts]),
        "mIoU": scores.miou / 100,
        "FB-IoU": scores.fb_iou / 100,
        "sources": {s: _mean([c for e, c in counts if e.source == s]) for s in sources},
        "each": [c.object_both / max(1, c.object_either) for _, c in counts],
        "seconds": seconds / len(drawn),
    }


def _mean(counts: Sequence[EpisodeCounts]) -> float:
    return float(np.mean([c.object_both / max(1, c.object_either) for c in counts]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--episodes", type=Path, required=True, help="list of episodes, paths relative to its folder")
    parser.add_argument("--models", default="seggpt-nano", help="of the registry, comma separated; '' for peers alone")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma separated, or '' for none")
    parser.add_argument("--shots", default="1,5", help="how many examples, comma separated")
    parser.add_argument("--limit", type=int, help="only the first so many episodes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    unknown = set(given.peers.split(",")) - {*PEERS, ""}
    if unknown:
        parser.error(f"unknown peers {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    methods = {name: PEERS[name] for name in given.peers.split(",") if name}
    if given.models:
        from segcli.registry.load import open_model

        for name in given.models.split(","):
            methods[name] = asked(open_model(name, device=given.device, dtype=given.dtype))
    drawn = episodes(given.episodes, given.limit)
    sources = {s: sum(e.source == s for e in drawn) for s in sorted({e.source for e in drawn})}
    if not given.json:
        heads = ["IoU", "mIoU", "FB-IoU", *(f"{s}({n})" for s, n in sources.items()), "s/photo"]
        print(f"{len(drawn)} episodes\n{'method':18}{'examples':>9}" + "".join(f"{h:>12}" for h in heads))
    report: dict[str, dict] = {}
    for name, method in methods.items():
        for shots in (int(s) for s in given.shots.split(",")):
            values = measured(method, drawn, shots)
            report.setdefault(name, {})[str(shots)] = values
            if not given.json:
                row = [values["IoU"], values["mIoU"], values["FB-IoU"], *values["sources"].values(), values["seconds"]]
                print(f"{name:18}{shots:9d}" + "".join(f"{v:12.3f}" for v in row), flush=True)
    if given.json:
        json.dump({"episodes": len(drawn), "methods": report}, sys.stdout, indent=1)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

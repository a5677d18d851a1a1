"""Does a model call things by their names, and find what a name says?

    python benchmarks/words.py --data DIR -m seem-nano [--sets coco,voc] [--subset 20] [--clicks 1]

DIR holds sets as `SET/images`, `SET/masks` and `SET/objects.jsonl`.

Labels: every thing of at least 1 % of its photo is clicked at by RITM's rule and the answer is labelled out of the
names of all such things in the sets (`--coco-names`: of COCO's 80 things); beside it the label under the true mask,
guessing at random, and saying always what is most frequent. Words: every class name that a photo's complete list holds
is asked for as a phrase; the truth is the union of all its objects, ignored pixels left out; beside it the whole photo
as an answer. And for as many names that the photo does not show, the share of empty answers.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segcli.bench.noc import folder_samples
from segcli.bench.rules import ritm
from segcli.core.ask import Ask, Point
from segcli.core.classes import known
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.rle import encode
from segcli.datasets.folders import IGNORED, Photo, click_targets, photos
from segcli.metrics.clicks import IGNORE, Click
from segcli.registry.load import open_model

SETS = ("coco", "voc", "msrc", "ade20k")
ABSENT = 3  # names that a photo does not show, asked for on each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-m", "--model", default="seem-nano")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--label-sets", default="coco,voc")
    parser.add_argument("--subset", type=int, help="photos of each set, drawn with seed 0")
    parser.add_argument("--clicks", type=int, default=1)
    parser.add_argument("--coco-names", action="store_true", help="label out of COCO's 80 things, not the sets' own")
    parser.add_argument("--no-words", action="store_true", help="labels only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = open_model(options.model, device="cpu", quiet=True, say=lambda line: None)
    found = {name: _photos(options.data / name, options.subset) for name in options.sets.split(",")}
    results: dict[str, Any] = {}
    labelled = {name: found[name] for name in options.label_sets.split(",") if name in found}
    if labelled:
        coco = known("coco")
        things = tuple(name for name, thing in zip(coco.names, coco.things, strict=True) if thing)
        results["labels"] = labels(model, labelled, options.clicks, things if options.coco_names else None)
    results["words"] = {} if options.no_words else {name: words(model, listed) for name, listed in found.items()}
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for name, row in results.get("labels", {}).items():
        print(
            f"{name:8s} labels of {row['objects']} objects out of {row['names']} names: clicked {row['clicked']:.3f}"
            f" (IoU {row['iou']:.3f}), true mask {row['true mask']:.3f}, most frequent {row['frequent']:.3f},"
            f" at random {row['random']:.3f}"
        )
    for name, row in results["words"].items():
        print(
            f"{name:8s} things {row['things']:.3f}"
            f" ({row['things asked']} phrases; whole photo {row['things whole']:.3f}),"
            f" stuff {row['stuff']:.3f} ({row['stuff asked']}; {row['stuff whole']:.3f}),"
            f" absent names empty {row['absent empty']:.3f} ({row['absent asked']}), unknown names {row['unknown']}"
        )


def labels(
    model: Any, sets: dict[str, list[Photo]], clicks: int, offered: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """Top-1 accuracy of the labels of clicked objects, by set, out of `offered` or of all names that the sets show."""
    things = {name: [(p, _names(p)) for p in listed] for name, listed in sets.items()}
    classes = offered or sorted(
        {label for listed in things.values() for _, names in listed for label in names.values()}
    )
    results = {}
    for name, listed in things.items():
        right: Counter[str] = Counter()
        truth_of: Counter[str] = Counter()
        ious = []
        for photo, names in listed:
            for sample in folder_samples([photo]):
                label = names.get(int(sample.target))
                if label is None:
                    continue
                encoded = model.encode([sample.image])[0]
                truth_of[label] += 1
                asks = {
                    "true mask": Ask(mask=encode(sample.truth == 1), classes=tuple(classes)),
                    "clicked": _clicked(model, encoded, sample, clicks, tuple(classes)),
                }
                for kind, ask in asks.items():
                    answer = model.decode(encoded, [ask])[0]
                    right[kind] += bool(len(answer)) and answer.labels[0] == label
                    if kind == "clicked":
                        ious.append(_iou(answer.dense(0) if len(answer) else None, sample.truth))
        count = sum(truth_of.values())
        results[name] = {
            "objects": count,
            "names": len(classes),
            "iou": float(np.mean(ious)),
            "frequent": truth_of.most_common(1)[0][1] / count,
            "random": 1 / len(classes),
            **{kind: right[kind] / count for kind in ("clicked", "true mask")},
        }
    return results


def words(model: Any, listed: list[Photo]) -> dict[str, Any]:
    """Mean IoU of the answers to class names, and how often a name that is not there is answered by nothing."""
    everything = sorted({o.name for p in listed for o in p.objects or () if o.name})
    ious: dict[str, list[float]] = defaultdict(list)
    empty: list[bool] = []
    unknown = 0
    rng = random.Random(0)
    for photo in listed:
        ids, pixels = photo.ids(), photo.pixels()
        encoded = model.encode([Image(pixels=pixels, size=pixels.shape[:2], name=photo.name)])[0]
        named = defaultdict(list)
        for o in photo.objects or ():
            if o.name and (ids == o.id).any():
                named[o.name].append(o)
        if not photo.complete:
            continue
        for name, objects in named.items():
            truth = np.isin(ids, [o.id for o in objects]).astype(np.int8)
            truth[ids == IGNORED] = IGNORE
            try:
                answer = model.decode(encoded, [Ask(text=name)])[0]
            except UsageError:
                unknown += 1
                continue
            kind = "things" if objects[0].thing else "stuff"
            ious[kind].append(_iou(answer.dense(0) if len(answer) else None, truth))
            ious[f"{kind} whole"].append(_iou(np.ones(ids.shape, np.bool_), truth))
        things = sorted({o.name for p in listed for o in p.objects or () if o.name and o.thing} - set(named))
        for name in rng.sample(things, min(ABSENT, len(things))):
            try:
                empty.append(not len(model.decode(encoded, [Ask(text=name)])[0]))
            except UsageError:
                continue
    nan = float("nan")
    figures = {
        k: float(np.mean(ious[k])) if ious[k] else nan for k in ("things", "things whole", "stuff", "stuff whole")
    }
    return {
        **figures,
        "things asked": len(ious["things"]),
        "stuff asked": len(ious["stuff"]),
        "absent empty": float(np.mean(empty)) if empty else nan,
        "absent asked": len(empty),
        "names": len(everything),
        "unknown": unknown,
    }


def _clicked(model: Any, encoded: Any, sample: Any, count: int, classes: tuple[str, ...]) -> Ask:
    """An ask with so many clicks by RITM's rule, each after the last answer."""
    choose = ritm(sample.truth)
    shown = np.zeros(sample.truth.shape, np.bool_)
    clicks: list[Click] = []
    ask = Ask(classes=classes)
    for number in range(count):
        click = choose(shown, clicks)
        if click is None:
            break
        clicks.append(click)
        ask = replace(ask, points=tuple(Point(c.x, c.y, c.positive) for c in clicks))
        if number + 1 < count:
            answer = model.decode(encoded, [ask])[0]
            shown = answer.dense(0) if len(answer) else np.zeros_like(shown)
            ask = replace(ask, previous=answer.masks[0] if len(answer) else None)
    return ask


def _iou(answer: np.ndarray | None, truth: np.ndarray) -> float:
    if answer is None:
        return 0.0
    counted = truth != IGNORE
    both = (answer & (truth == 1)).sum()
    return float(both / max(1, ((answer | (truth == 1)) & counted).sum()))


def _names(photo: Photo) -> dict[int, str]:
    return {o.id: o.name for o in click_targets(photo, photo.ids()) if o.name}


def _photos(folder: Path, subset: int | None) -> list[Photo]:
    listed = list(photos(folder))
    if subset is not None and subset < len(listed):
        listed = random.Random(0).sample(listed, subset)
    return listed


if __name__ == "__main__":
    main()

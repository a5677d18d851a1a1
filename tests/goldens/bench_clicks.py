"""Click goldens: RITM's and SEEM's next click, NoC of whole runs, and the traps of float32 comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from segcli.bench.clicking import ClickSample, click_loop
from segcli.core.image import Image
from segcli.metrics import seem_clicks
from segcli.metrics.clicks import Click, click_iou, next_click, noc
from tests.goldens.bench_common import Difference, gap, load_json, same, unpacked
from tests.goldens.contract import Golden


def ritm(golden: Golden) -> Iterator[Difference]:
    arrays = np.load(golden.directory / "clicks_ritm.npz")
    for case in load_json(golden, "clicks_ritm.json"):
        truth, prediction = arrays[f"{case['id']}_gt"], arrays[f"{case['id']}_pr"].astype(bool)
        click = next_click(truth, prediction, [tuple(c) for c in case["clicked"]])
        expected = Click(*case["click"], positive=case["positive"])
        yield f"{case['name']}: {click} is not {expected}", same(click == expected, True), "exact"
        yield f"{case['name']} IoU", gap(click_iou(truth, prediction), case["iou"]), "exact"


def seem(golden: Golden) -> Iterator[Difference]:
    arrays = np.load(golden.directory / "clicks_seem.npz")
    for case in load_json(golden, "clicks_seem.json"):
        n, h, w = case["n"], case["h"], case["w"]
        shape = (n, *case["padded"])
        stored = arrays[f"{case['id']}_gt"]
        targets = np.zeros(shape, bool)
        targets[:, :h, :w] = stored.reshape(n, h, w) if stored.dtype == bool else unpacked(stored, (n, h, w))
        marks = {True: np.zeros(shape, bool), False: np.zeros(shape, bool)}
        for k in range(n):
            first = seem_clicks.mark((h, w), seem_clicks.first_click(targets[k, :h, :w]))
            yield f"{case['name']} first", same(first, unpacked(arrays[f"{case['id']}_first"], (n, h, w))[k]), "exact"
            marks[True][k, :h, :w] = first
        for step in range(case["steps"]):
            predictions = unpacked(arrays[f"{case['id']}_pred{step}"], shape)
            for k in range(n):
                click = seem_clicks.next_click(targets[k], predictions[k], marks[True][k] | marks[False][k])
                if click is not None:
                    marks[click.positive][k] |= seem_clicks.mark(shape[1:], click)
            for sign, name in ((True, "pos"), (False, "neg")):
                expected = unpacked(arrays[f"{case['id']}_{name}{step}"], shape)
                yield f"{case['name']} step {step} {name}", same(marks[sign], expected), "exact"


def noc_runs(golden: Golden) -> Iterator[Difference]:
    arrays = np.load(golden.directory / "noc_gt.npz")
    for run in load_json(golden, "noc_runs.json"):
        where = f"{run['predictor']} K={run['max_clicks']} target={run['target']}"
        curves = []
        for recorded in run["images"]:
            truth = arrays[recorded["image"]]
            image = Image(np.zeros((*truth.shape, 3), np.uint8), truth.shape)
            answer = _toy(run["predictor"], truth)
            sample = ClickSample(image, "1", truth)
            least = run["min_clicks"]
            clicks, ious, *_ = click_loop(sample, answer, run["max_clicks"], run["target"], min_clicks=least)
            yield (
                f"{where} {recorded['image']} clicks",
                same([tuple(map(int, c)) for c in clicks], [tuple(c) for c in recorded["clicks"]]),
                "exact",
            )
            yield f"{where} {recorded['image']} IoUs", same(np.float32(ious), np.float32(recorded["ious_f32"])), "exact"
            curves.append(ious)
        for k, threshold in enumerate(run["thresholds"]):
            value = noc(curves, threshold, run["max_clicks"])
            yield f"{where} NoC@{threshold:.2f}", gap(value.mean, run["noc"][k]), ""
            yield f"{where} std@{threshold:.2f}", gap(value.std, run["noc_std"][k]), ""
            yield f"{where} at max@{threshold:.2f}", gap(value.at_max, run["ge_max"][k]), "exact"


def noc_traps(golden: Golden) -> Iterator[Difference]:
    traps = load_json(golden, "noc_traps.json")
    for expected in traps["ritm"]:
        for k, threshold in enumerate(traps["thresholds"]):
            value = noc(traps["ious_f32"], threshold, expected["max_clicks"])
            where = f"K={expected['max_clicks']} @{threshold:.2f}"
            yield f"{where} NoC", gap(value.mean, expected["noc"][k]), ""
            yield f"{where} std", gap(value.std, expected["std"][k]), ""
            yield f"{where} at max", gap(value.at_max, expected["ge_max"][k]), "exact"
    curves = traps["seem"]["ious_f32"]
    for name, expected in traps["seem"]["result"].items():
        if name == "iou_max_iter":
            yield name, gap(np.mean(np.float32([c[0] for c in curves])), expected), "iou_max_iter"
        else:
            yield f"SEEM NoC@{name}", gap(noc(curves, float(name), len(curves[0])).mean, expected), ""


def _toy(name: str, truth: np.ndarray) -> Callable[[Sequence[Click], np.ndarray | None], np.ndarray]:
    """The predictors that the manifest describes: each click paints a disc, or the truth inside of a disc."""
    radii = {"grow": lambda i: 3 + 2 * (i % 6), "fixed": lambda i: 7, "shrink": lambda i: max(1, 14 - i)}
    fixes = name.startswith("fix_")
    radius = (lambda i: int(name[4:])) if fixes else radii[name]
    rows, columns = np.indices(truth.shape)

    def answer(clicks: Sequence[Click], previous: np.ndarray | None) -> np.ndarray:
        mask = np.zeros(truth.shape, bool) if previous is None else previous.copy()
        last = clicks[-1]
        disc = (rows - last.y) ** 2 + (columns - last.x) ** 2 <= radius(len(clicks) - 1) ** 2
        mask[disc] = (truth == 1)[disc] if fixes else last.positive
        return mask

    return answer

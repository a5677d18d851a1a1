"""Video goldens: J and F of single frames, whole sequences by three rules, the DAVIS folder layout, decay."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from segcli.bench.vos import Sequence, score_davis, score_growing, vos_benchmark_table, vos_summary
from segcli.core.errors import SegError
from segcli.datasets.video import davis_sequences
from segcli.metrics.boundary import boundary_map, boundary_radius, frame_score
from segcli.metrics.video import statistics
from tests.goldens.bench_common import Difference, gap, load_json, same, unpacked
from tests.goldens.contract import Golden

FIELDS = {"M": "mean", "R": "recall", "D": "decay"}


def frames(golden: Golden) -> Iterator[Difference]:
    arrays = np.load(golden.directory / "jf_frames.npz")
    recorded = load_json(golden, "jf_frames.json")
    for case in recorded["frames"]:
        masks = {
            kind: unpacked(arrays[f"{case['id']}_{kind}"], (case["h"], case["w"]))
            for kind in ("gt", "pr", "void", "gtb")
            if f"{case['id']}_{kind}" in arrays
        }
        score = frame_score(masks["gt"], masks["pr"], masks.get("void"))
        yield f"{case['name']} J", gap(score.j, case["J"]), "exact"
        yield f"{case['name']} F", gap(score.f, case["F"]), "exact"
        yield f"{case['name']} radius", gap(boundary_radius(case["h"], case["w"]), case["radius"]), "exact"
        if "gtb" in masks:
            yield f"{case['name']} boundary", same(boundary_map(masks["gt"]), masks["gtb"]), "exact"
        if "vos_J100" in case and "void" not in masks:
            yield f"{case['name']} vos J", gap(100 * score.j, case["vos_J100"]), "exact"
            yield f"{case['name']} vos F", gap(100 * score.f, case["vos_F100"]), "exact"
    for size, radius in recorded["radius"].items():
        height, width = map(int, size.split("x"))
        yield f"radius of {size}", gap(boundary_radius(height, width), radius), "exact"


def sequences(golden: Golden) -> Iterator[Difference]:
    arrays = np.load(golden.directory / "davis_sequences.npz")
    recorded = load_json(golden, "davis_sequences.json")
    done: dict[str, Any] = {}
    for name, tasks in recorded.items():
        if name.startswith("_"):
            continue
        sequence = Sequence.of_arrays(name, arrays[f"{name}_gt"], arrays[f"{name}_pr"])
        for task, expected in tasks.items():
            try:
                result = score_davis(sequence, unsupervised=task == "unsupervised")
            except SegError:
                yield f"{name} {task} refused", same(isinstance(expected, str), True), "exact"
                continue
            if isinstance(expected, str):
                yield f"{name} {task} not refused ({expected})", float("inf"), "exact"
                continue
            yield from _per_object(f"{name} {task}", result, expected)
            if task == "semi-supervised":
                done[name] = result
    everything = recorded.get("_global_semi", {"sequences": list(done)})
    summary = vos_summary([done[n] for n in everything["sequences"]])
    for key, value in everything.items():
        if key != "sequences":
            yield f"global {key}", gap(summary[key], value), ""
    if "_vos_benchmark" in recorded:
        yield from _growing(arrays, recorded["_vos_benchmark"])


def _per_object(where: str, result: Any, expected: dict[str, Any]) -> Iterator[Difference]:
    for metric, values in (("J", np.array(result.j)), ("F", np.array(result.f))):
        theirs = np.array(expected[f"{metric}_frames"], float)
        yield f"{where} {metric} shape", same(values.shape, theirs.shape), "exact"
        if values.shape == theirs.shape:
            yield f"{where} {metric} frames", float(np.abs(values - theirs).max(initial=0)), ""
        for short, field in FIELDS.items():
            mine = [getattr(statistics(row), field) for row in values]
            for a, b in zip(mine, expected[f"{metric}_{short}"], strict=True):
                yield f"{where} {metric}_{short}", gap(a, b), ""


def _growing(arrays: Any, expected: dict[str, Any]) -> Iterator[Difference]:
    results = {}
    for key, labels in expected["per_video"].items():
        name, mode = key.split("|")
        sequence = Sequence.of_arrays(name, arrays[f"{name}_gt"], arrays[f"{name}_pr"])
        result = score_growing(sequence, skip_ends=mode == "skip")
        if mode == "skip":
            results[name] = result
        yield f"{key} labels", same([str(k) for k in result.labels], list(labels)), "exact"
        for label, (j, f) in zip(result.labels, zip(result.j_means, result.f_means, strict=True), strict=True):
            theirs = labels.get(str(label), [None, None])
            yield f"{key} {label} J", gap(100 * j, theirs[0]), ""
            yield f"{key} {label} F", gap(100 * f, theirs[1]), ""
    summary = vos_summary(list(results.values()))
    for name, mine in (("global_J", "J-Mean"), ("global_F", "F-Mean"), ("global_JF", "J&F-Mean")):
        yield name, gap(100 * summary[mine], expected[name]), ""
    yield "results_csv", same(vos_benchmark_table(list(results.values())), expected["results_csv"]), "exact"


def tree(golden: Golden) -> Iterator[Difference]:
    recorded = load_json(golden, "davis_sequences.json")
    with TemporaryDirectory() as folder:
        with zipfile.ZipFile(golden.directory / "davis_tree.zip") as archive:
            archive.extractall(folder)
        root, results = Path(folder, "DAVIS"), Path(folder, "results")
        for unsupervised, task in ((False, "semi-supervised"), (True, "unsupervised")):
            names = sorted(p.name for p in results.iterdir())
            for found in davis_sequences(root, results=results, names=names, unsupervised=unsupervised):
                sequence = Sequence.of_files(found)
                expected = recorded[found.name][task]
                yield from _per_object(f"{found.name} {task}", score_davis(sequence, unsupervised), expected)


def decay(golden: Golden) -> Iterator[Difference]:
    for k, case in enumerate(load_json(golden, "db_statistics.json")):
        result = statistics(np.array(case["values"], float))
        for short, field in FIELDS.items():
            yield f"case {k} ({len(case['values'])} frames) {short}", gap(getattr(result, field), case[short]), ""

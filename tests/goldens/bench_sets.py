"""Goldens of scores over a set: panoptic, semantic, instance, referring, few-shot, and those of closed servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from segcli.bench.vos import Sequence, score_youtube, youtube_summary
from segcli.core.errors import ItemError
from segcli.datasets.coco import read_panoptic_png
from segcli.metrics.coco import average_precision
from segcli.metrics.fewshot import (
    CLASSES,
    EpisodeCounts,
    coco_episodes,
    episode_counts,
    fewshot_scores,
    fss_episodes,
    pascal_episodes,
)
from segcli.metrics.panoptic import PanopticCounts, Quality, image_counts, segments
from segcli.metrics.referring import (
    Grefer,
    best_candidates,
    grefer_scores,
    group_scores,
    overlap,
    psalm_scores,
    seem_scores,
    union,
)
from segcli.metrics.relation import relation_score
from segcli.metrics.semantic import confusion, semantic_scores
from tests.goldens.bench_common import Difference, gap, load_json, same, unpacked
from tests.goldens.contract import Golden


def panoptic(golden: Golden) -> Iterator[Difference]:
    folder = golden.directory / "panoptic"
    truth, results, expected = (load_json(golden, f"panoptic/{n}.json") for n in ("gt", "pr", "expected"))
    total = PanopticCounts({c["id"]: bool(c["isthing"]) for c in truth["categories"]})
    entries = [{a["image_id"]: a for a in d["annotations"]} for d in (truth, results)]
    for image in truth["images"]:
        true, predicted = (e[image["id"]] for e in entries)
        colours = [read_panoptic_png(folder / part / e["file_name"]) for part, e in (("gt", true), ("pr", predicted))]
        counts = image_counts(
            colours[0],
            segments(true["segments_info"]),
            colours[1],
            segments(predicted["segments_info"]),
            total.isthing,
        )
        total.add(counts)
        yield from _counts(str(image["id"]), counts, expected["per_image"][str(image["id"])])
    yield from _counts("total", total.counts, expected["total"])
    for name, things in (("All", None), ("Things", True), ("Stuff", False)):
        yield from _quality(name, total.mean(things), expected["result"][name])
    for category, quality in total.per_category().items():
        if str(category) in expected["result"]["per_class"]:
            yield from _quality(str(category), quality, expected["result"]["per_class"][str(category)])
    yield from _broken(golden, truth, entries, set(expected.get("errors", ())))


def _counts(where: str, mine: dict[int, Any], theirs: dict[str, list[float]]) -> Iterator[Difference]:
    for category in {*map(str, mine), *theirs}:
        c = mine.get(int(category))
        values = (0, 0, 0, 0.0) if c is None else (c.tp, c.fp, c.fn, c.iou)
        recorded = theirs.get(category, [0, 0, 0, 0.0])
        yield f"{where}, category {category} counts", same(values[:3], recorded[:3]), "exact"
        yield f"{where}, category {category} IoU", gap(values[3], recorded[3]), ""


def _quality(where: str, mine: Quality, theirs: dict[str, float]) -> Iterator[Difference]:
    for name, value in theirs.items():
        yield f"{where} {name}", gap(getattr(mine, name), value), ""


def _broken(golden: Golden, truth: Any, entries: list[Any], kinds: set[str]) -> Iterator[Difference]:
    """The three ways in which a prediction can contradict its PNG must be refused."""
    true, predicted = (e["perfect"] for e in entries)
    colours = read_panoptic_png(golden.directory / "panoptic" / "gt" / true["file_name"])
    shown = read_panoptic_png(golden.directory / "panoptic" / "pr" / predicted["file_name"])
    info = predicted["segments_info"]
    cases = {
        "pred_id_in_png_not_json": info[1:],
        "pred_id_in_json_not_png": [*info, {"id": 123456, "category_id": info[0]["category_id"]}],
        "unknown_category": [{**info[0], "category_id": 9999}, *info[1:]],
    }
    for name in sorted(kinds & cases.keys()):
        try:
            image_counts(
                colours,
                segments(true["segments_info"]),
                shown,
                segments(cases[name]),
                [c["id"] for c in truth["categories"]],
            )
        except ItemError:
            yield name, 0.0, "exact"
        else:
            yield f"{name} is not refused", float("inf"), "exact"


def semantic(golden: Golden) -> Iterator[Difference]:
    arrays, recorded = np.load(golden.directory / "semseg.npz"), load_json(golden, "semseg.json")
    classes = recorded["num_classes"]
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for k in sorted({name.split("_")[0] for name in arrays}, key=int):
        counts += confusion(arrays[f"{k}_gt"], arrays[f"{k}_pr"], classes, recorded["ignore"])
    yield "confusion", same(counts, recorded["confusion"]), "exact"
    scores = semantic_scores(counts)
    names = {"mIoU": scores.miou, "mACC": scores.macc, "pACC": scores.pacc, "fwIoU": scores.fwiou}
    for name, value in recorded["result"].items():
        if "-k" in name:
            kind, k = name.split("-k")
            yield name, gap((scores.iou if kind == "IoU" else scores.acc)[int(k)], value), ""
        else:
            yield name, gap(names[name], value), ""


def instances(golden: Golden) -> Iterator[Difference]:
    truth, results = load_json(golden, "coco_ap_gt.json"), load_json(golden, "coco_ap_dt.json")
    for kind, expected in load_json(golden, "coco_ap_expected.json").items():
        score = average_precision(truth, results, kind)
        for (name, mine), theirs in zip(score.stats.items(), expected["stats"], strict=True):
            yield f"{kind} {name}", gap(mine, theirs), ""
        for category, theirs in expected["per_category_AP"].items():
            yield f"{kind} category {category}", gap(score.per_category[int(category)], theirs), ""
        valid = score.precision[score.precision > -1]
        yield f"{kind} precision entries", gap(valid.size, expected["precision_count"]), "exact"
        yield f"{kind} precision sum", gap(valid.sum() / valid.size, expected["precision_sum"] / valid.size), ""


def referring(golden: Golden) -> Iterator[Difference]:
    arrays, recorded = np.load(golden.directory / "referring.npz"), load_json(golden, "referring.json")
    truth, prediction = arrays["gt"].astype(bool), arrays["pr"].astype(bool)
    plain = [overlap(t, p) for t, p in zip(truth, prediction, strict=True)]
    mine = seem_scores(plain)
    for name, value in recorded["seem"].items():
        yield f"seem {name}", gap(mine[name], value) / max(1.0, abs(value)), "seem"
    mine = psalm_scores(plain)
    yield "psalm cIoU", gap(mine["cIoU"], recorded["psalm"]["ciou"]), "psalm"
    yield "psalm gIoU", gap(mine["gIoU"], recorded["psalm"]["giou"]), "psalm"
    samples = [
        Grefer(overlap(t & (not none), p), bool(none), bool(says))
        for t, p, none, says in zip(truth, prediction, recorded["no_target"], recorded["pred_nt"], strict=True)
    ]
    targets = [s for s in samples if not s.no_target]
    mixed = [("refcoco" if not s.no_target and k % 3 == 0 else "grefcoco", s) for k, s in enumerate(samples)]
    groups = {
        "rela_all": {"grefcoco": samples},
        "rela_mixed": {
            "refcoco": [s for source, s in mixed if source == "refcoco"],
            "grefcoco": [s for source, s in mixed if source == "grefcoco"],
            "full": samples,
        },
        "rela_targets_only": {"refcoco": targets},
        "rela_only_correct_no_target": {"grefcoco": [s for s in samples if s.no_target and s.says_none]},
        "rela_no_target_wrong": {"grefcoco": [s for s in samples if s.no_target and not s.says_none]},
    }
    for group, sources in groups.items():
        if group not in recorded:
            continue
        for source, chosen in sources.items():
            scores = grefer_scores(chosen)
            if isinstance(recorded[group], str):  # the official tool divides by zero here; ours says NaN
                yield f"{group} NaN", same(any(np.isnan(v) for v in scores.values()), True), "exact"
                continue
            for name, value in recorded[group][source].items():
                yield f"{group} {source} {name}", gap(scores[name], value), "rela"


def fewshot(golden: Golden) -> Iterator[Difference]:
    arrays, recorded = dict(np.load(golden.directory / "fewshot.npz")), load_json(golden, "fewshot.json")
    for case, expected in recorded.items():
        episodes: list[tuple[int, EpisodeCounts]] = []
        if "counts" in expected:
            for row in arrays[expected["counts"].split()[0]]:
                episodes.append((int(row[0]), EpisodeCounts(*(int(v) for v in row[1:]))))
        for k, (cls, *theirs) in enumerate(expected.get("episodes", [])):
            ignore = arrays.get(f"{case}_{k}_ignore")
            counts = episode_counts(arrays[f"{case}_{k}_gt"], arrays[f"{case}_{k}_pr"], ignore)
            yield f"{case} episode {k}", same(counts, theirs), "exact"
            episodes.append((int(cls), counts))
        scores = fewshot_scores(episodes, expected["class_ids"], CLASSES[expected["benchmark"]])
        yield f"{case} mIoU", gap(scores.miou, expected["mIoU"]), ""
        yield f"{case} FB-IoU", gap(scores.fb_iou, expected["FB_IoU"]), ""


def episodes(golden: Golden) -> Iterator[Difference]:
    """The drawn lists are contained for synthetic sets; for PASCAL only what does not need the official list."""
    recorded = load_json(golden, "fewshot_episodes.json")
    for name, expected in recorded.items():
        if name.startswith("fold") and isinstance(expected, dict):
            queries = [query for query, _ in expected["first"]]
            yield f"{name} queries", same(queries, [i % expected["n"] for i in range(len(queries))]), "exact"
            yield f"{name} query 999", same(expected["at_999"][0], 999 % expected["n"]), "exact"
        elif "list" in expected:
            entries = [(line.split("__")[0], int(line.split("__")[1]) - 1) for line in expected["list"]]
            mine = [
                [entries[e.query][0], [entries[s][0] for s in e.supports], e.cls]
                for e in pascal_episodes(entries, expected["shot"], len(expected["episodes"]))
            ]
            yield name, same(json.dumps(mine), json.dumps(expected["episodes"])), "exact"
        elif "lists" in expected:
            lists = {int(k): v for k, v in expected["lists"].items()}
            drawn = coco_episodes(lists, expected["class_ids"], expected["shot"], len(expected["episodes"]))
            mine = [[e.cls, e.query, list(e.supports)] for e in drawn]
            yield name, same(json.dumps(mine), json.dumps(expected["episodes"])), "exact"
        elif "images" in expected:
            classes: dict[str, list[str]] = {}
            for image in expected["images"]:
                classes.setdefault(image.split("/")[-2], []).append(image.split("/")[-1].removesuffix(".jpg"))
            first = min(e[2] for e in expected["episodes"])
            order = list(classes)
            drawn = fss_episodes([(first + k, classes[c]) for k, c in enumerate(order)], 1)
            mine = [
                [
                    f"{order[e.cls - first]}/{e.query}.jpg",
                    [f"{order[e.cls - first]}/{s}.jpg" for s in e.supports],
                    e.cls,
                ]
                for e in drawn
            ]
            yield name, same(json.dumps(mine), json.dumps(expected["episodes"])), "exact"


def derived(golden: Golden) -> Iterator[Difference]:
    arrays, recorded = np.load(golden.directory / "derived.npz"), load_json(golden, "derived.json")
    yield from _youtube(arrays, recorded["youtube_vos"])
    ego = recorded["ego_exo"]
    shape = (ego["h"], ego["w"])
    ious = []
    for case in ego["frames"]:
        score = relation_score(*(unpacked(arrays[f"ego_{case['id']}_{k}"], shape) for k in ("gt", "pr")))
        ious.append(score.iou)
        for field in ("iou", "contour", "location"):
            yield f"ego {case['id']} {field}", gap(getattr(score, field), case[field]), ""
    yield "ego mean IoU", gap(np.mean(ious), ego["mean_iou"]), ""
    ores = recorded["ores_oracle"]
    shape = (ores["h"], ores["w"])
    overlaps = []
    for case in ores["samples"]:
        targets, candidates = (
            list(unpacked(arrays[f"ores_{case['id']}_{k}"], (case[f"n_{k}"], *shape)))
            for k in ("targets", "candidates")
        )
        chosen = best_candidates(targets, candidates)
        yield f"ores {case['id']} chosen", same(chosen, case["selected"]), "exact"
        answer = union([candidates[k] for k in chosen if k >= 0], shape)
        overlaps.append(overlap(union(targets, shape), answer))
        yield f"ores {case['id']} pixels", same(overlaps[-1], (case["I"], case["U"])), "exact"
    scores = group_scores(overlaps)
    for name in ("cIoU", "gIoU"):
        yield f"ores {name}", gap(scores[name], ores[name]), ""


def _youtube(arrays: Any, recorded: dict[str, Any]) -> Iterator[Difference]:
    results = []
    for k, (name, meta) in enumerate(recorded["meta"]["videos"].items()):
        truth, prediction = arrays[f"yt_{k}_gt"], arrays[f"yt_{k}_pr"]
        frames = [f"{5 * t:05d}" for t in range(len(truth))]
        results.append(score_youtube(Sequence.of_arrays(name, truth, prediction, frames, meta)))
    by_object = {
        (r.name, str(k)): (j, f) for r in results for k, j, f in zip(r.labels, r.j_means, r.f_means, strict=True)
    }
    for row in recorded["per_object"]:
        j, f = by_object[row["video"], row["object"]]
        yield f"{row['video']} {row['object']} J", gap(j, row["J"]), ""
        yield f"{row['video']} {row['object']} F", gap(f, row["F"]), ""
    for name, value in youtube_summary(results, recorded["seen_categories"]).items():
        yield f"youtube {name}", gap(value, recorded[name]), ""

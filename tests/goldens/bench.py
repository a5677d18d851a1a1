"""Goldens of the field's official evaluation tools: every count, click and score of `segcli.metrics` against them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tests.goldens import bench_clicks, bench_readers, bench_sets, bench_video
from tests.goldens.contract import Golden, Outcome, Runner

# First file of an entry -> check. A check yields (what, difference, kind of tolerance): see `outcome`.
CHECKS: dict[str, Callable[[Golden], Iterable[tuple[str, float, str]]]] = {
    "clicks_ritm.npz": bench_clicks.ritm,
    "clicks_seem.npz": bench_clicks.seem,
    "noc_gt.npz": bench_clicks.noc_runs,
    "noc_traps.json": bench_clicks.noc_traps,
    "jf_frames.npz": bench_video.frames,
    "davis_sequences.npz": bench_video.sequences,
    "davis_tree.zip": bench_video.tree,
    "db_statistics.json": bench_video.decay,
    "panoptic": bench_sets.panoptic,
    "semseg.npz": bench_sets.semantic,
    "coco_ap_gt.json": bench_sets.instances,
    "referring.npz": bench_sets.referring,
    "fewshot.npz": bench_sets.fewshot,
    "fewshot_episodes.json": bench_sets.episodes,
    "derived.npz": bench_sets.derived,
    "readers": bench_readers.readers,
}


def runner_for(golden: Golden) -> Runner | None:
    """The check of an entry whose first file is known here and lies beside the manifest."""
    first = first_file(golden)
    if first not in CHECKS or not (golden.directory / first).exists():
        return None
    return lambda g: outcome(g, CHECKS[first](g))


def first_file(golden: Golden) -> str:
    """The file (or folder) that an entry's `file` text names first."""
    return re.split(r"[ /]", str(golden.entry.get("file", golden.name)))[0]


def tolerances(golden: Golden) -> dict[str, float]:
    """Tolerances of the manifest's text: the first number, and one for each word that stands before a number.

    "exact" alone is 0; "seem 1e-5 relative, rela 1e-10" gives {"": 1e-5, "seem": 1e-5, "rela": 1e-10}.
    """
    text = str(golden.entry["tolerance"])
    found = {word: float(number) for word, number in re.findall(r"([A-Za-z_]+) (\d\S*e-\d+)", text)}
    numbers = re.findall(r"\d\S*e-\d+", text)
    return {"exact": 0.0, "": float(numbers[0]) if numbers else 0.0, **found}


def outcome(golden: Golden, differences: Iterable[tuple[str, float, str]]) -> Outcome:
    """Passed when every difference is within its kind of tolerance; names the one that exceeds it most, else counts."""
    limits = tolerances(golden)
    count, worst, failed = 0, 0.0, ""
    excess = -1.0
    for name, difference, kind in differences:
        count += 1
        limit = limits.get(kind, limits[""])
        worst = max(worst, difference)
        if not difference <= limit and (difference != difference or difference - limit > excess):
            excess, failed = difference - limit, f"{name}: difference {difference:.3g}, tolerance {limit:.3g}"
    if failed:
        return Outcome(False, failed)
    return Outcome(count > 0, f"{count} values, max difference {worst:.3g}")

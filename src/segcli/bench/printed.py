"""What the papers print for a data set, to stand beside a result."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from importlib.resources import files

# Layouts of seg -> how the papers call the data.
_DATASETS = {
    "pascal": "PascalVOC",
    "davis2017": "DAVIS ?-?(20)?17",
    "youtube-vos": "YouTube-VOS 2018",
    "mose": "MOSE",
    "ade20k": "ADE20K",
    "pascal-5i": "PASCAL-5i",
    "coco-20i": "COCO-20i",
    "fss-1000": "FSS-1000",
    "refcoco": "RefCOCO",
    "refcoco+": "RefCOCO\\+",
    "refcocog": "RefCOCOg",
    "grefcoco": "gRefCOCO",
    "coco-panoptic": "COCO( panoptic)?",
    "maskgroups": "MaskGroups-HQ",
    "ego-exo": "Ego-Exo4D correspondence, ego query",
    "exo-ego": "Ego-Exo4D correspondence, exo query",
}


def printed_rows(layout: str, metrics: Iterable[str]) -> list[dict[str, str]]:
    """Rows of the papers for the layout's data set and for metrics of these names, in the order of the papers."""
    if layout not in _DATASETS:
        return []
    wanted = [re.compile(rf"(\d+-)?{re.escape(_plain(m))}") for m in metrics]
    lines = (files("segcli.bench") / "printed.csv").read_text(encoding="utf-8").splitlines()
    return [
        row
        for row in csv.DictReader(lines)
        if re.fullmatch(_DATASETS[layout], row["dataset"]) and any(w.fullmatch(_plain(row["metric"])) for w in wanted)
    ]


def _plain(metric: str) -> str:
    """Papers write NoC90 and J&F where seg writes NoC@90 and J&F-Mean."""
    return metric.replace("@", "").replace("-Mean", "").replace("_seen", "s").replace("_unseen", "u")

"""Reader goldens: tiny folders in the layouts of interactive, few-shot and referring sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segcli.core.errors import SegError
from segcli.datasets.fewshot import coco_class, fss_mask, pascal_class
from segcli.datasets.interactive import open_interactive
from segcli.datasets.pickles import read_plain_pickle
from segcli.datasets.referring import grefcoco, read_refs
from segcli.metrics.seem_clicks import clicking_mask
from tests.goldens.bench_common import Difference, load_json, same
from tests.goldens.contract import Golden


def readers(golden: Golden) -> Iterator[Difference]:
    folder = golden.directory / "readers"
    arrays = dict(np.load(folder / "expected.npz"))
    expected = load_json(golden, "readers/expected.json")
    yield from _interactive(folder, arrays, expected)
    yield from _fewshot(folder, arrays)
    for name in (n for n in arrays if n.startswith("seem_cubic_") and n != "seem_cubic_in"):
        size = arrays[name].shape
        yield name, same(clicking_mask(arrays["seem_cubic_in"] != 0, size), arrays[name]), "exact"
    if (folder / "grefcoco").is_dir():
        yield from _grefcoco(folder / "grefcoco", arrays, expected)
    yield from _pickles(folder, expected)


def _grefcoco(folder: Path, arrays: dict[str, Any], expected: dict[str, Any]) -> Iterator[Difference]:
    refs = json.loads((folder / "grefs(unc).json").read_text(encoding="utf-8"))
    for sentence in (s for split in sorted({r["split"] for r in refs}) for s in grefcoco(folder, split)):
        name = f"grefcoco_ref{sentence.ref_id}"
        yield name, same(sentence.mask(), arrays[name]), "exact"
        yield f"{name} no target", same(not sentence.annotations, expected[f"{name}_empty"]), "exact"


def _interactive(folder: Path, arrays: dict[str, Any], expected: dict[str, Any]) -> Iterator[Difference]:
    found = {
        layout: [
            (photo.name, *target) for photo in open_interactive(folder / where, layout) for target in photo.targets()
        ]
        for layout, where in (
            ("grabcut", "grabcut"),
            ("davis345", "davis345"),
            ("pascal", "pascal"),
            ("pascal-test", "pascal"),
            ("sbd", "sbd"),
        )
        if (folder / where).is_dir()
    }
    stems = {
        "grabcut": "grabcut_",
        "davis345": "davis345_",
        "pascal": "pascal_val_obj",
        "pascal-test": "pascal_test_",
        "sbd": "sbd_",
    }
    for layout, targets in found.items():
        # Numbered arrays in the order of their numbers, the others in that of their names: the readers' order.
        names = [n for n in arrays if n.startswith(stems[layout])]
        names.sort(key=lambda n, stem=stems[layout]: (int(n[len(stem) :]) if n[len(stem) :].isdigit() else 0, n))
        yield f"{layout} count", same(len(targets), len(names)), "exact"
        for name, (_, _, truth) in zip(names, targets, strict=False):
            yield name, same(truth.astype(np.int32), arrays[name]), "exact"
    if "pascal" in found:
        greys = [int(target) for _, target, _ in found["pascal"]]
        yield "pascal greys", same(greys, expected["pascal_val_object_grey_ids"]), "exact"
    if "sbd" in found:
        samples = [[name, int(target)] for name, target, _ in found["sbd"]]
        yield "sbd samples", same(samples == expected["sbd_samples"], True), "exact"


def _fewshot(folder: Path, arrays: dict[str, Any]) -> Iterator[Difference]:
    """Names of the recorded arrays say what was asked: `p5i_mask_class5_40x40`, `coco20i_class2_40x40`."""
    for name, theirs in arrays.items():
        cls = int(name.split("class")[1].split("_")[0]) if "class" in name else 0
        if name.startswith("p5i_mask"):
            yield name, same(pascal_class(arrays["p5i_in"], cls, theirs.shape).mask, theirs), "exact"
        elif name.startswith("p5i_ignore"):
            yield name, same(pascal_class(arrays["p5i_in"], cls, theirs.shape).ignore, theirs), "exact"
        elif name.startswith("coco20i_class"):
            yield name, same(coco_class(arrays["coco20i_in"], cls, theirs.shape).mask, theirs), "exact"
        elif name == "fss_mask":
            yield name, same(fss_mask(folder / "fss.png").mask, theirs), "exact"


def _pickles(folder: Path, expected: dict[str, Any]) -> Iterator[Difference]:
    for path in sorted(folder.glob("*.p")):
        if "refused" in path.name:
            try:
                read_refs(path)
            except SegError:
                yield path.name, 0.0, "exact"
            else:
                yield f"{path.name} is not refused", float("inf"), "exact"
            continue
        refs = read_plain_pickle(path)
        if path.name in expected:
            yield path.name, same(refs == expected[path.name], True), "exact"
        else:
            yield path.name, same(refs == expected[path.stem], True), "exact"

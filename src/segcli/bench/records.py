"""What a measurement yields: a record an item, a summary, and the document that is written from them."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
_PACKAGES = ("segcli", "numpy", "pillow", "pycocotools", "scipy")


@dataclass(frozen=True)
class Record:
    """One measured item. All of it is JSON, so that an interrupted run can be taken up again.

    values: what the summary is made of. score: one number in [0, 1] that orders items from worst to best, or None.
    digest: of the annotation that was read; all of them make the fingerprint of the data.
    aside: kept in the journal for pictures, not in the written document. seconds: time spent, not compared by anything.
    """

    name: str
    digest: str
    values: dict[str, Any]
    score: float | None = None
    warnings: tuple[str, ...] = ()
    aside: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """Metrics by name; rows of the table by item; curves: title -> line -> values; notes say what a number hides."""

    metrics: dict[str, float]
    rows: tuple[dict[str, Any], ...] = ()
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Measure(Protocol):
    """A protocol applied to some data: what its items are, how one is measured, how they are summed up."""

    @property
    def name(self) -> str:
        """The protocol's word on the command line."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that changes numbers, as JSON."""
        ...

    def items(self) -> Sequence[str]:
        """Names of the items, in order."""
        ...

    def measure(self, item: str) -> Record:
        """Measure one. Raises ItemError."""
        ...

    def summarise(self, records: Sequence[Record]) -> Summary:
        """All records in the order of `items`. Raises UsageError when there is nothing to sum up."""
        ...

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """What the item looks like, uint8 [H, W, 3] with truth and answer drawn in, or None."""
        ...


@runtime_checkable
class ReadsAhead(Protocol):
    """A measure that can read an item before it is measured, in another thread."""

    def ahead(self, item: str) -> None:
        """Read the item and keep it until `measure`. What goes wrong here goes wrong again there."""
        ...


@dataclass(frozen=True)
class Origin:
    """Which model, or whose results, and on what."""

    data: str
    layout: str
    split: str
    model: str | None = None
    revision: str | None = None
    results: str | None = None
    seed: int = 0
    subset: int | None = None


def document(measure: Measure, origin: Origin, records: Sequence[Record], summary: Summary) -> dict[str, Any]:
    """The whole result as JSON; two runs differ in `seconds` only."""
    seconds: dict[str, float] = {}
    for record in records:
        for name, value in record.seconds.items():
            seconds[name] = seconds.get(name, 0.0) + value
    return {
        "seg_bench": SCHEMA,
        "protocol": measure.name,
        "settings": measure.settings,
        "data": {
            "path": origin.data,
            "layout": origin.layout,
            "split": origin.split,
            "items": len(records),
            "fingerprint": fingerprint(records),
        },
        "model": {"name": origin.model, "revision": origin.revision} if origin.model else None,
        "results": origin.results,
        "seed": origin.seed,
        "subset": origin.subset,
        "versions": versions(),
        "metrics": {name: _plain(value) for name, value in summary.metrics.items()},
        "warnings": [w for r in records for w in r.warnings] + list(summary.notes),
        "items": [{name: _plain(value) for name, value in row.items()} for row in summary.rows],
        "curves": {t: {k: [_plain(v) for v in c] for k, c in lines.items()} for t, lines in summary.curves.items()},
        "seconds": seconds,
    }


def fingerprint(records: Iterable[Record]) -> str:
    """16 hex digits over names and annotations of the items, whatever their order."""
    whole = hashlib.sha256()
    for name, digest in sorted((r.name, r.digest) for r in records):
        whole.update(f"{name}\0{digest}\0".encode())
    return whole.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions that numbers may depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def digest_files(paths: Iterable[Path]) -> str:
    """Hash of files' bytes, for `Record.digest`."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(path.read_bytes())
    return whole.hexdigest()


def digest_arrays(arrays: Iterable[NDArray[Any]]) -> str:
    """Hash of arrays' shapes and bytes, for `Record.digest`."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.shape}{array.dtype}".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def digest_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Hash of a JSON value, for `Record.digest`."""
    import json

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """NaN is not JSON: null says that there is no number."""
    if isinstance(value, float) and value != value:
        return None
    return value

"""From records to everything that was asked for: document, checks, files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcli.bench.checks import Check, Requirement, check, compare, read_baseline
from segcli.bench.draw import as_uri
from segcli.bench.page import page
from segcli.bench.printed import printed_rows
from segcli.bench.records import Measure, Origin, Record, document
from segcli.bench.show import as_csv, junit, number, table
from segcli.core.errors import StorageError
from segcli.io.atomic import write

CASES = 4


@dataclass(frozen=True)
class Wanted:
    """Files to write (None: not wanted), requirements, and an earlier result to compare with."""

    csv: Path | None = None
    junit: Path | None = None
    report: Path | None = None
    requirements: tuple[Requirement, ...] = ()
    baseline: Path | None = None
    tolerance: float = 0.0


@dataclass(frozen=True)
class Delivered:
    """The document, its text for people, and the checks."""

    document: dict[str, Any]
    text: str
    checks: tuple[Check, ...]

    @property
    def missed(self) -> list[Check]:
        """Requirements that are not met."""
        return [c for c in self.checks if not c.passed]


def deliver(measure: Measure, origin: Origin, records: Sequence[Record], wanted: Wanted) -> Delivered:
    """Sum up, check, and write the files. Raises UsageError or StorageError before anything is written in part."""
    summary = measure.summarise(records)
    result = document(measure, origin, records, summary)
    checks = check(wanted.requirements, result["metrics"])
    if wanted.baseline is not None:
        checks += compare(read_baseline(wanted.baseline), result, wanted.tolerance)
    printed = printed_rows(origin.layout, result["metrics"])
    if wanted.csv is not None:
        _write(wanted.csv, as_csv(result))
    if wanted.junit is not None:
        _write(wanted.junit, junit(result, checks))
    if wanted.report is not None:
        _write(wanted.report, page(result, checks, printed, _cases(measure, records)))
    return Delivered(result, table(result, printed, checks), tuple(checks))


def as_json(result: dict[str, Any]) -> str:
    """The document as text; the same result gives the same bytes, apart from `seconds`."""
    return json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _cases(measure: Measure, records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """The worst and the best items that have a picture."""
    ranked = sorted((r for r in records if r.score is not None), key=lambda r: (r.score or 0.0, r.name))
    low = ranked[: min(CASES, (len(ranked) + 1) // 2)]
    high = [r for r in ranked[::-1][:CASES] if r not in low]
    found = []
    for word, chosen in (("worst", low), ("best", high)):
        for record in chosen:
            picture = measure.picture(record)
            if picture is not None:
                found.append((word, f"{record.name}: {number(record.score)}", as_uri(picture)))
    return found


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent}: can't be made ({error.strerror})") from None
    write(path, text.encode("utf-8"))

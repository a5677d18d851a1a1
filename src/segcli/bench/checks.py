"""Requirements of a CI job: `NoC@90<=3.5`, and no regression against an earlier result."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segcli.core.errors import StorageError, UsageError

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
}
_LESS_IS_BETTER = re.compile(r"NoC|Decay|seconds|location|^>=")


class Check(NamedTuple):
    """One requirement: what was asked, whether it is met, and the numbers."""

    name: str
    passed: bool
    detail: str


class Requirement(NamedTuple):
    """A metric, a comparison and a bound."""

    metric: str
    sign: str
    bound: float


def parse(text: str) -> Requirement:
    """`NoC@90<=3.5`. Raises UsageError."""
    # From the right: a metric's own name may begin with >= ("samples at the last click").
    found = re.fullmatch(r"\s*(.+?)\s*(<=|>=|==|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*", text)
    try:
        if found is None:
            raise ValueError
        return Requirement(found[1], found[2], float(found[3]))
    except ValueError:
        raise UsageError(f"--require {text}: not understood; type for example --require 'NoC@90<=3.5'") from None


def check(requirements: Sequence[Requirement], metrics: Mapping[str, float | None]) -> list[Check]:
    """Each requirement against the metrics. A metric without a number meets nothing. Raises UsageError."""
    done = []
    for r in requirements:
        if r.metric not in metrics:
            raise UsageError(f"--require {r.metric}: no such metric; there are {', '.join(metrics)}")
        value = metrics[r.metric]
        met = value is not None and value == value and _COMPARE[r.sign](value, r.bound)
        done.append(Check(f"{r.metric}{r.sign}{r.bound:g}", met, f"{r.metric} is {_number(value)}"))
    return done


def compare(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float) -> list[Check]:
    """Each metric that both documents have: not worse than before by more than `tolerance` (in the metric's unit).

    Raises UsageError when they measure different things.
    """
    for field in ("protocol", "settings"):
        if old.get(field) != new[field]:
            raise UsageError(f"--baseline: has another {field} ({old.get(field)}, now {new[field]})")
    if old["data"]["fingerprint"] != new["data"]["fingerprint"]:
        raise UsageError("--baseline: was measured on other data (the fingerprints differ)")
    done = []
    for name, before in old["metrics"].items():
        now = new["metrics"].get(name)
        if before is None or name not in new["metrics"]:
            continue
        less = bool(_LESS_IS_BETTER.search(name))
        kept = now is not None and ((now - before) if less else (before - now)) <= tolerance
        done.append(Check(f"{name} against the baseline", kept, f"{_number(before)} before, {_number(now)} now"))
    return done


def read_baseline(path: Path) -> dict[str, Any]:
    """An earlier `--json`. Raises StorageError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not {"metrics", "protocol", "data"} <= content.keys():
            raise ValueError("it is no result of seg bench --json")
    except OSError as error:
        raise StorageError(f"{path}: can't be read ({error.strerror})") from None
    except ValueError as error:
        raise StorageError(f"{path}: can't be used as a baseline: {error}") from None
    return content


def _number(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{value:.6g}"

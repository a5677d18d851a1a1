"""A result as a table for people, as CSV, and as JUnit XML for any CI."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from segcli.bench.checks import Check


def table(document: Mapping[str, Any], printed: Sequence[Mapping[str, str]] = (), checks: Sequence[Check] = ()) -> str:
    """Metrics one a line, then what papers print for the same data, warnings, provenance and checks."""
    lines = [f"{headline(document)}", ""]
    width = max(len(k) for k in document["metrics"])
    lines += [f"  {name:<{width}}  {number(value)}" for name, value in document["metrics"].items()]
    near = _headline_rows(printed)
    if near:
        lines += ["", f"printed in the papers (percent, or clicks; all {len(printed)} rows are in --report):"]
        lines += [
            f"  {r['metric']:<10} {r['value']:>7}  {r['method']}  ({r['source']}, table {r['table']}, {r['dataset']})"
            for r in near
        ]
    if document["seconds"]:
        lines += ["", f"seconds: {seconds(document)}"]
    if document["warnings"]:
        lines += ["", *(f"warning: {w}" for w in document["warnings"])]
    if checks:
        lines += ["", *(f"{'met' if c.passed else 'NOT MET':<8}{c.name} ({c.detail})" for c in checks)]
    return "\n".join([*lines, "", provenance(document)]) + "\n"


def _headline_rows(printed: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Rows of the first metric that papers print, without their ablations."""
    whole = [r for r in printed if not re.match(r"[-+]|Baseline", r["method"]) and "=" not in r["method"]]
    first = {r["metric"] for r in whole[:1]}
    rows = {r["method"]: r for r in whole if r["metric"] in first}
    return list(rows.values())[:10]


def headline(document: Mapping[str, Any]) -> str:
    """Protocol and what was measured."""
    who = document["model"]["name"] if document["model"] else document["results"]
    data = document["data"]
    split = f", {data['split']}" if data["split"] else ""
    return f"{document['protocol']}: {who} on {data['path']} ({data['layout']}{split}), {data['items']} items"


def provenance(document: Mapping[str, Any]) -> str:
    """What a number depends on, in a line."""
    model = document["model"]
    parts = [f"data {document['data']['fingerprint']}", f"seed {document['seed']}"]
    if document["subset"] is not None:
        parts.append(f"subset {document['subset']}")
    if model:
        parts.append(f"model {model['name']} {model['revision']}")
    parts += [f"{k} {v}" for k, v in document["settings"].items() if v not in (None, [], {})]
    parts += [f"{k} {v}" for k, v in document["versions"].items()]
    return "; ".join(parts)


def seconds(document: Mapping[str, Any]) -> str:
    """Where the time went; for clicks also how long a person waits for an answer."""
    parts = [f"{name} {value:.2f}" for name, value in document["seconds"].items()]
    clicks = sum(int(row["clicks"]) for row in document["items"] if "clicks" in row)
    if clicks and "clicking" in document["seconds"]:
        parts.append(f"{document['seconds']['clicking'] / clicks:.3f} a click")
    return ", ".join(parts)


def as_csv(document: Mapping[str, Any]) -> str:
    """A row an item."""
    rows = document["items"]
    out = io.StringIO()
    if rows:
        columns = list(dict.fromkeys(k for row in rows for k in row))
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def junit(document: Mapping[str, Any], checks: Sequence[Check]) -> str:
    """One test case a requirement; without requirements one that says that the measurement ended."""
    shown = list(checks) or [Check("measured", True, "")]
    failed = sum(not c.passed for c in shown)
    suite = quoteattr(f"seg bench {document['protocol']}")
    properties = [("headline", headline(document)), ("provenance", provenance(document))]
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines += [f'<testsuite name={suite} tests="{len(shown)}" failures="{failed}">', "  <properties>"]
    lines += [f"    <property name={quoteattr(k)} value={quoteattr(v)}/>" for k, v in properties]
    lines.append("  </properties>")
    for c in shown:
        case = f"  <testcase classname={suite} name={quoteattr(c.name)}"
        if c.passed:
            lines.append(f"{case}/>")
        else:
            lines.append(f"{case}><failure message={quoteattr(c.detail)}>{escape(c.detail)}</failure></testcase>")
    return "\n".join([*lines, "</testsuite>", ""])


def number(value: float | None) -> str:
    """Four digits after the point for small numbers, two for percent."""
    if value is None:
        return "undefined"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"

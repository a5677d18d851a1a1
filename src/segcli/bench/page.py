"""The report: one self-contained HTML page with figures, curves, worst and best cases, and where it all comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from segcli.bench.checks import Check
from segcli.bench.show import headline, number

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #66707c; --line: #d9dee4; --ground: #fff; --blue: #2b6cb0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ebef; --soft: #98a2ad; --line: #333b44; --ground: #14181c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 60rem;
  margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.35rem; margin-bottom: .2rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top; }
tr { border-bottom: 1px solid var(--line); } td.n { text-align: right; font-variant-numeric: tabular-nums; }
.soft { color: var(--soft); } .bad { color: #c53030; font-weight: 600; } .good { color: #2f855a; font-weight: 600; }
svg { max-width: 100%; height: auto; } figure { margin: 0 0 1rem; } figure img { width: 100%; max-width: 40rem; }
figcaption { color: var(--soft); font-size: .9rem; } .cases { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); } details { margin-top: .6rem; }
"""
_COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#718096")
_LINES = 12  # more curves than this can't be told apart; the lowest ones are kept


def page(
    document: Mapping[str, Any],
    checks: Sequence[Check] = (),
    printed: Sequence[Mapping[str, str]] = (),
    cases: Sequence[tuple[str, str, str]] = (),
) -> str:
    """The page. cases: (what it is, caption, data URI of the picture), worst ones first."""
    title = f"seg bench {document['protocol']}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(headline(document))}</p>',
        _checks(checks),
        "<h2>Figures</h2>",
        _rows([(name, number(value)) for name, value in document["metrics"].items()]),
    ]
    parts += [f'<p class="bad">Warning: {escape(w)}</p>' for w in document["warnings"]]
    for name, lines in document["curves"].items():
        parts += [f"<h2>{escape(name)}</h2>", chart(lines, name)]
    if cases:
        figures = "".join(
            f'<figure><img src="{uri}" alt="{escape(what)}: {escape(caption)}">'
            f"<figcaption><b>{escape(what)}</b> {escape(caption)}</figcaption></figure>"
            for what, caption, uri in cases
        )
        legend = "Left the truth outlined, right what is right (blue), missed (yellow) and wrong (red)."
        parts += [
            "<h2>Worst and best cases</h2>",
            f'<p class="soft">{legend}</p>',
            f'<div class="cases">{figures}</div>',
        ]
    if printed:
        parts += ["<h2>Printed in the papers</h2>", _printed(printed)]
    parts += ["<h2>Provenance</h2>", _rows(_provenance(document)), "</body></html>", ""]
    return "\n".join(p for p in parts if p)


def chart(lines: Mapping[str, Sequence[float | None]], label: str) -> str:
    """Curves with values in [0, 1] as inline SVG; at most twelve, the ones with the lowest means."""
    shown = sorted(lines.items(), key=lambda item: _mean(item[1]))[:_LINES]
    width, height, left, top = 720, 260, 40, 10
    inner_w, inner_h = width - left - 150, height - top - 30
    longest = max((len(v) for _, v in shown), default=1)

    def x(k: int) -> float:
        return left + inner_w * (k / (longest - 1) if longest > 1 else 0.5)

    def y(v: float) -> float:
        return top + inner_h * (1 - min(1.0, max(0.0, v)))

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}" font-size="11">']
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<line x1="{left}" x2="{left + inner_w}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="currentColor" '
            f'opacity=".15"/><text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end" fill="currentColor">'
            f"{tick:g}</text>"
        )
    step = max(1, -(-longest // 10))
    for k in range(0, longest, step):
        parts.append(f'<text x="{x(k):.1f}" y="{height - 10}" text-anchor="middle" fill="currentColor">{k + 1}</text>')
    for index, (name, values) in enumerate(shown):
        colour = _COLOURS[index % len(_COLOURS)]
        dash = "" if index < len(_COLOURS) else ' stroke-dasharray="5 3"'
        points = " ".join(f"{x(k):.1f},{y(v):.1f}" for k, v in enumerate(values) if v is not None)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if len(values) <= 30:
            parts += [
                f'<circle cx="{x(k):.1f}" cy="{y(v):.1f}" r="3" fill="{colour}"><title>{escape(name)}, {k + 1}: '
                f"{v:.3f}</title></circle>"
                for k, v in enumerate(values)
                if v is not None
            ]
        row = top + 12 + 18 * index
        parts.append(
            f'<line x1="{left + inner_w + 14}" x2="{left + inner_w + 32}" y1="{row - 4}" y2="{row - 4}" '
            f'stroke="{colour}" stroke-width="2"{dash}/><text x="{left + inner_w + 38}" y="{row}" '
            f'fill="currentColor">{escape(name[:18])}</text>'
        )
    note = f"<p class=soft>The {_LINES} lowest of {len(lines)} are drawn.</p>" if len(lines) > _LINES else ""
    return "".join(parts) + "</svg>" + note


def _checks(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    rows = "".join(
        f'<tr><td class="{"good" if c.passed else "bad"}">{"met" if c.passed else "not met"}</td>'
        f"<td>{escape(c.name)}</td><td>{escape(c.detail)}</td></tr>"
        for c in checks
    )
    return f"<h2>Requirements</h2><table>{rows}</table>"


def _rows(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f'<tr><th>{escape(k)}</th><td class="n">{escape(v)}</td></tr>' for k, v in rows)
    return f"<table>{cells}</table>"


def _printed(printed: Sequence[Mapping[str, str]]) -> str:
    keys = ("metric", "value", "method", "dataset", "split", "source", "table")
    head = "".join(f"<th>{k}</th>" for k in keys)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(r[k]))}</td>" for k in keys) + "</tr>" for r in printed)
    summary = f"<summary>{len(printed)} rows, other models in their own runs</summary>"
    return f"<details>{summary}<table><tr>{head}</tr>{body}</table></details>"


def _provenance(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, model = document["data"], document["model"]
    rows = [(f"data {k}", str(v)) for k, v in data.items() if v != ""]
    rows += [(f"model {k}", str(v)) for k, v in (model or {}).items()]
    if document["results"]:
        rows.append(("results", str(document["results"])))
    rows += [("seed", str(document["seed"])), ("subset", str(document["subset"] or "all"))]
    rows += [(k, str(v)) for k, v in document["settings"].items()]
    rows += [(f"{k} version", v) for k, v in document["versions"].items()]
    return rows + [(f"seconds, {k}", f"{v:.1f}") for k, v in document["seconds"].items()]


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else 0.0

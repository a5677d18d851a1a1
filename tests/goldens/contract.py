"""What a golden is, and what a system's module gives the runner.

A golden directory holds `manifest.json` and the recorded files. Each system has one module beside this one with

    def runner_for(golden: Golden) -> Runner | None

which returns the function that checks the golden, or None if the golden is not of its kind. A runner builds the
model from what the entry and the recorded weights say (never from sizes written in code), runs it on the recorded
inputs and compares with the recorded outputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Golden:
    """One entry of a manifest: its name, the directory it stands in, and what the manifest says about it."""

    name: str
    directory: Path
    entry: dict[str, Any]

    @property
    def path(self) -> Path:
        """The recorded file of this golden (entries without `file` are named after their file)."""
        return self.directory / str(self.entry.get("file", self.name))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The whole manifest, for entries that refer to each other (shared weights)."""
        content: dict[str, Any] = json.loads((self.directory / "manifest.json").read_text(encoding="utf-8"))
        return content


@dataclass(frozen=True)
class Outcome:
    """Whether a golden agrees, and the largest difference in words: `max difference 1.2e-06, tolerance 2e-04`."""

    passed: bool
    detail: str


Runner = Callable[[Golden], Outcome]


def within(differences: Iterable[tuple[str, float]], tolerance: float) -> Outcome:
    """Outcome of many comparisons against one tolerance; the worst one is named. A nan never passes."""
    worst_name, worst = "nothing compared", float("nan")
    for name, difference in differences:
        if not difference <= worst:  # also replaces the initial nan, and keeps a nan once seen
            if worst != worst and worst_name != "nothing compared":
                continue
            worst_name, worst = name, difference
    return Outcome(worst <= tolerance, f"max difference {worst:.3g} ({worst_name}), tolerance {tolerance:.3g}")

"""`python -m tests.goldens DIR`: run every golden of DIR that is built here, a line each."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from tests.goldens.contract import Golden, Outcome, Runner

SYSTEMS = ("seem", "seggpt", "psalm", "ras", "bench")


def read_manifest(directory: Path) -> list[Golden]:
    """All goldens of a directory, in the manifest's order.

    The recorders wrote different layouts: `goldens` or `files` (name -> entry), or `cases` (a list whose entries
    name their file). Raises ValueError for a manifest with none of them.
    """
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    for field in ("goldens", "files", "cases"):
        if field in manifest:
            return [Golden(name, directory, entry) for name, entry in _named(manifest[field])]
    raise ValueError(f"{directory / 'manifest.json'}: none of 'goldens', 'files', 'cases' is in it")


def _named(entries: dict[str, dict[str, Any]] | list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(entries, dict):
        return list(entries.items())
    return [(str(entry.get("name", entry.get("file", number))), entry) for number, entry in enumerate(entries)]


def find_runner(golden: Golden) -> Runner | None:
    """The first system's runner that knows this golden."""
    for system in SYSTEMS:
        if importlib.util.find_spec(f"tests.goldens.{system}") is None:
            continue
        runner: Runner | None = importlib.import_module(f"tests.goldens.{system}").runner_for(golden)
        if runner is not None:
            return runner
    return None


def run(golden: Golden) -> Outcome | None:
    """Run one golden, None if nobody knows it. An exception is a failed golden, not the end of the run."""
    try:
        runner = find_runner(golden)
        return None if runner is None else runner(golden)
    except Exception as error:
        return Outcome(False, f"{type(error).__name__}: {' '.join(str(error).split())}")


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each golden, those not built, and 'N passed, M failed'; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.goldens", description=__doc__)
    parser.add_argument("directory", type=Path, help="directory with manifest.json")
    parser.add_argument("-k", metavar="TEXT", default="", help="only goldens whose name contains TEXT")
    options = parser.parse_args(arguments)
    passed = failed = 0
    not_built: list[str] = []
    for golden in read_manifest(options.directory):
        if options.k not in golden.name:
            continue
        outcome = run(golden)
        if outcome is None:
            not_built.append(golden.name)
            print(f"{golden.name}: not built", flush=True)
            continue
        passed += outcome.passed
        failed += not outcome.passed
        print(f"{golden.name}: {outcome.detail}: {'ok' if outcome.passed else 'FAIL'}", flush=True)
    if not_built:
        print(f"not built: {', '.join(not_built)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

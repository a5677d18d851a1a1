"""Goldens of SEEM, recorded with the released code."""

from __future__ import annotations

import importlib

from tests.goldens.contract import Golden, Runner

KINDS = {
    "pixdec": "pixel_decoder",
    "dec": "decoder",
    "backbone": "backbone",
    "text": "text",
    "post": "post",
    "refer": "referring",
    "click": "click",
    "e2e": "end_to_end",
    "loss": "loss",
}


def runner_for(golden: Golden) -> Runner | None:
    """The runner of the entry's kind; other systems' entries have no such kind."""
    module = KINDS.get(str(golden.entry.get("kind")))
    if module is None:
        return None
    runner: Runner = importlib.import_module(f"tests.goldens.seem_kinds.{module}").run
    return runner

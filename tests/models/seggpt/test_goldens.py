"""Every recorded SegGPT golden, by the same runner as `python -m tests.goldens`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.goldens.__main__ import read_manifest
from tests.goldens.contract import Golden
from tests.goldens.seggpt import runner_for

GOLDENS = read_manifest(Path(__file__).parents[2] / "goldens" / "data" / "seggpt")


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_the_published_numbers_are_reproduced(golden: Golden):
    runner = runner_for(golden)
    assert runner is not None
    outcome = runner(golden)
    assert outcome.passed, outcome.detail

"""Each recorded output of the field's official tools, reproduced."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.goldens.__main__ import find_runner, read_manifest

FOLDER = Path(__file__).parents[1] / "goldens" / "data" / "bench"
GOLDENS = read_manifest(FOLDER)


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda g: g.name.split()[0])
def test_scores_equal_the_official_tool(golden):
    runner = find_runner(golden)
    assert runner is not None, "every entry of the manifest has a check"
    outcome = runner(golden)
    assert outcome.passed, outcome.detail

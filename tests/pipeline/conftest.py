from __future__ import annotations

from pathlib import Path

import pytest
from tests.pipeline import fake


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Eight photos, some in a directory below."""
    fake.photos(tmp_path / "in", 8)
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"

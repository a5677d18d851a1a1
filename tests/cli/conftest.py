"""Fixtures of the command line's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from .support import PLUGIN, Here, Seg, make_photo


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PYTHONPATH where the plug-in is installed."""
    from safetensors.numpy import save_file

    site = tmp_path_factory.mktemp("site")
    shutil.copytree(PLUGIN, site / "segdiscs", ignore=shutil.ignore_patterns("__pycache__"))
    save_file({"radius": np.array([20.0], np.float32)}, site / "segdiscs" / "discs.safetensors")
    toml = (site / "segdiscs" / "weights.toml").read_text()
    (site / "segdiscs" / "weights.toml").write_text(toml.replace("FOLDER", str(site / "segdiscs")))
    info = site / "segdiscs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: segdiscs\nVersion: 1\n")
    points = (
        "discs = segdiscs:build",
        *(f"{name} = segdiscs.{name}:build" for name in ("shades", "colours", "mortal")),
    )
    (info / "entry_points.txt").write_text("\n".join(["[seg.models]", *points, ""]))
    return site


@pytest.fixture
def seg(tmp_path: Path, site: Path) -> Seg:
    """`seg` in an empty directory."""
    return Seg(tmp_path, site)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of 120 x 90 pixels in the directory where `seg` runs."""
    return make_photo(tmp_path / "photo.png")


@pytest.fixture
def here(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Here:
    """`seg` in an empty directory, in this process."""
    for key, value in Seg(tmp_path, site).environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    return Here(tmp_path, monkeypatch, capfdbinary)

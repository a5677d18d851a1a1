"""A hub on the loopback, and a home of our own for every cache, note and configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from segcli.registry.web import Patience
from segcli.registry.weights import Entry, File

from .hub_server import Hub

HURRY = Patience(tries=5, pause=0.0, timeout=5.0, longest=5.0, sleep=lambda seconds: None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; nothing of the user's is read or written."""
    home = tmp_path / "home"
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, below in (
        ("HOME", ""),
        ("HF_HOME", "hf"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_CACHE_HOME", "cache"),
        ("XDG_STATE_HOME", "state"),
        ("SEG_CACHE", "seg-cache"),
        ("SEG_STATE", "seg-state"),
    ):
        monkeypatch.setenv(variable, str(home / below))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    (home / "config" / "seg").mkdir(parents=True)
    return home


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub that HF_ENDPOINT names."""
    hub = Hub()
    hub.start()
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    yield hub
    hub.stop()


def entry(file: File, **values: object) -> Entry:
    """An entry of one file of org/model."""
    given = {"hub": "org/model", "licence": "mit", "accepts": frozenset({"point"}), **values}
    return Entry(name="test.one", system="seem", config="nano", keys="seg", files=(file,), **given)  # type: ignore[arg-type]

"""`python -m tests.goldens DIR`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.goldens import __main__ as command
from tests.goldens.contract import Golden, Outcome, within


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    entries = {name: {"file": f"{name}.safetensors"} for name in ("good", "bad", "crash", "unknown", "broken")}
    (tmp_path / "manifest.json").write_text(json.dumps({"goldens": entries}))

    def crash(golden: Golden) -> Outcome:
        raise RuntimeError("two\nlines")

    runners = {
        "good": lambda golden: Outcome(True, "max difference 0"),
        "bad": lambda golden: Outcome(False, "max difference 1"),
        "crash": crash,
        "unknown": None,
    }
    monkeypatch.setattr(command, "find_runner", lambda golden: runners[golden.name])
    return tmp_path


def test_each_golden_has_a_line_and_the_last_one_counts(directory: Path, capsys: pytest.CaptureFixture[str]):
    assert command.main([str(directory)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "good: max difference 0: ok",
        "bad: max difference 1: FAIL",
        "crash: RuntimeError: two lines: FAIL",
        "unknown: not built",
        "broken: KeyError: 'broken': FAIL",
        "not built: unknown",
        "1 passed, 3 failed",
    ]


def test_goldens_that_nobody_knows_fail_nothing_and_pass_nothing(directory: Path, capsys: pytest.CaptureFixture[str]):
    assert command.main([str(directory), "-k", "unknown"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 0 failed"


@pytest.mark.parametrize(
    ("manifest", "names"),
    [
        ({"goldens": {"a": {}, "b": {}}}, ["a", "b"]),
        ({"files": {"a.safetensors": {}}}, ["a.safetensors"]),
        ({"cases": [{"file": "x.npz"}, {"name": "y"}, {}]}, ["x.npz", "y", "2"]),
    ],
)
def test_every_layout_of_manifests_is_read(tmp_path: Path, manifest, names: list[str]):
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert [golden.name for golden in command.read_manifest(tmp_path)] == names


def test_a_manifest_without_goldens_is_refused(tmp_path: Path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="none of 'goldens'"):
        command.read_manifest(tmp_path)


def test_the_worst_difference_decides_and_nan_or_nothing_never_passes():
    nan = float("nan")
    assert within([("a", 0.1), ("b", 0.3), ("c", 0.2)], 0.3) == Outcome(True, "max difference 0.3 (b), tolerance 0.3")
    assert not within([("a", 0.1), ("b", 0.4)], 0.3).passed
    for values in ([], [("a", nan)], [("a", nan), ("b", 0.0)], [("a", 0.0), ("b", nan), ("c", 0.1)]):
        assert not within(values, 1.0).passed

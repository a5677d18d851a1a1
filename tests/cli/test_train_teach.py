"""`seg train teach`: from photos without masks to a training that takes them as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from segcli.cli.app import main
from segcli.datasets import folders
from tests.train.test_run import PLAN

from .support import PHOTOS


def seg(*words: str | Path) -> subprocess.CompletedProcess[str]:
    typed = [sys.executable, "-m", "segcli", "train", *map(str, words)]
    return subprocess.run(typed, capture_output=True, text=True, timeout=240, check=False)


def test_photos_are_masked_once_and_training_takes_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "taught"
    words = ["teach", PHOTOS / "chelsea.jpg", PHOTOS / "coffee.jpg", "--out", out, "--grid", "3", "--device", "cpu"]
    first = seg(*words)
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{out}\n"
    assert "2 photo(s) masked" in first.stderr
    taught = list(folders.photos(out))
    assert [one.name for one in taught] == ["chelsea", "coffee"]
    assert all(one.objects for one in taught)
    again = seg(*words)
    assert "0 photo(s) masked, 2 were there" in again.stderr
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    run = tmp_path / "run"
    main(["train", "seem", "--data", str(out), "--config", str(plan), "--out", str(run), "--device", "cpu"])
    assert capsys.readouterr().out.strip() == str(run / "seem-nano.safetensors")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--unsure", "0.9"], "--unsure 0.9: is not LOW,HIGH; type for example --unsure 0.2,0.8"),
        (["--unsure", "0.6,0.9"], "--unsure 0.6,0.9: a half must lie between the two"),
        (["--unsure", "0.2,1.2"], "--unsure 1.2: is not a number from 0 to 1"),
        (["--score", "2"], "--score 2: is not a number from 0 to 1"),
        (["--stability", "x"], "--stability x: is not a number from 0 to 1"),
        (["--grid", "0"], "--grid 0: is not a whole number from 1 on"),
        (["--crops", "3"], "--crops 3: parts get too small"),
        (["-m", "seggpt-nano"], "-m: seggpt-nano does not take prompts of the kind point"),
        (["no-such.jpg"], "no-such.jpg: no such file or directory"),
        (["--device", "gpu"], "--device gpu: unknown"),
    ],
)
def test_what_can_not_be_meant_is_refused_in_a_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = [] if words[0].startswith("no-such") else [str(PHOTOS / "chelsea.jpg")]
    with pytest.raises(SystemExit) as left:
        main(["train", "teach", *photo, "--out", str(tmp_path / "taught"), *words])
    error = capsys.readouterr().err
    assert left.value.code in (2, 4)
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "taught").exists()

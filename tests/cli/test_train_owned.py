"""One training at a time writes to a folder; whatever ends it gives the folder free."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segcli.cli.app import main
from segcli.cli.trainoptions import owned
from segcli.core.errors import StorageError

CONFIGS = Path(__file__).parents[2] / "configs"
PLANS = {
    "seem": "seem-nano",
    "words": "seem-nano-words",
    "seggpt": "seggpt-nano",
    "psalm": "psalm-nano",
    "ras": "ras-nano",
    "vos": "vos-nano",
}
HOLD = """
import sys, time
from pathlib import Path
from segcli.cli.trainoptions import owned
with owned(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("verb", PLANS)
def test_a_second_training_of_the_same_folder_is_refused_and_changes_nothing(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    plan = CONFIGS / f"{PLANS[verb]}.toml"
    with owned(out):
        before = sorted(out.rglob("*"))
        with pytest.raises(SystemExit) as left:
            main(["train", verb, "--data", str(tmp_path), "--config", str(plan), "--out", str(out), "--device", "cpu"])
        assert left.value.code == 4
        said = capsys.readouterr().err
        assert f"{out}: another seg process is writing to it" in said
        assert said.count("\n") == 1
        assert sorted(out.rglob("*")) == before


def test_a_folder_is_free_again_after_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StorageError, match="another seg process"), owned(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    with owned(tmp_path):
        pass


def test_processes_of_one_torchrun_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with owned(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with owned(tmp_path):
            pass

"""The real `seg` in a process of its own, with a small model that a plug-in brings.

The plug-in's model needs no training: it answers with a disc around each click and with each box, so that tests know
every pixel of the answer beforehand.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.schema import check_line

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
PLUGIN = Path(__file__).parent / "plugin"


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def lines(self) -> list[Any]:
        """stdout as JSON lines. Those of a seg stream are held against its schema on the way."""
        lines = [json.loads(line) for line in self.stdout.splitlines()]
        for line in lines:
            if isinstance(line, dict) and "seg" in line:
                check_line(line)
        return lines


@dataclass(frozen=True)
class Seg:
    """Runs `seg` in `cwd`, with the plug-in's model as `discs`."""

    cwd: Path
    site: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SEG_", "_SEG", "COLUMNS"))}
        return {
            **inherited,
            "PYTHONPATH": str(self.site),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "100",
            "XDG_CONFIG_HOME": str(self.site / "config"),
            "XDG_CACHE_HOME": str(self.site / "cache"),
        }

    def __call__(
        self, *arguments: str | Path, stdin: bytes = b"", model: str | None = "discs", **environment: str
    ) -> Ran:
        typed = [str(argument) for argument in arguments]
        if model is not None and typed[:1] == ["point"]:
            typed += ["-m", model]
        done = subprocess.run(
            [sys.executable, "-m", "segcli", *typed],
            input=stdin,
            capture_output=True,
            cwd=self.cwd,
            env={**self.environment, **environment},
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr.decode())

    def start(self, *arguments: str | Path, **more: Any) -> subprocess.Popen[bytes]:
        """The same without waiting for its end."""
        typed = [str(argument) for argument in arguments]
        return subprocess.Popen(
            [sys.executable, "-m", "segcli", *typed, "-m", "discs"], cwd=self.cwd, env=self.environment, **more
        )


@dataclass(frozen=True)
class Here:
    """Runs `seg` in this process, which spares the imports; the plug-in's model that knows colours is its default."""

    cwd: Path
    patch: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[bytes]

    def __call__(self, *arguments: str | Path, stdin: bytes = b"", model: str | None = "colours") -> Ran:
        from segcli.cli.app import main

        typed = [*map(str, arguments), *(() if model is None else ("-m", model))]
        self.patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self.captured.readouterr()
        code: Any = 0
        try:
            main(typed)
        except SystemExit as left:
            code = left.code
        out, err = self.captured.readouterr()
        return Ran(int(code or 0), out, err.decode())


def make_photo(path: Path, size: tuple[int, int] = (120, 90), colour: tuple[int, int, int] = (90, 120, 60)) -> Path:
    """A photo (width, height) of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, colour).save(path)
    return path


def read_mask(path: Path) -> np.ndarray:
    """A mask file as bool [H, W]."""
    with PIL.Image.open(path) as file:
        return np.asarray(file.convert("L")) > 127

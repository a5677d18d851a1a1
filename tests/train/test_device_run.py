"""`seg train seem` on views that are made on the device: it learns, goes on where it stopped, and repeats itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train import drawn

from segcli.core.errors import UsageError
from segcli.train import loop
from segcli.train.packing import pack
from segcli.train.plan import read_plan
from segcli.train.run import run_plan

PLAN = """
[model]
dim = 32
heads = 2
encoder_layers = 1
encoder_ffn = 32
widths = [8, 8, 8]

[[legs]]
name = "clicks"
decoder = false
view = { side = 64, targets = 2, min_area = 0.01, paste = 0.5 }
recipe = { photos_a_step = 2, detail = false, rounds = 2, again = 0.5, first = 0.2 }
loop = { steps = 20, lr = 0.01, warmup = 2, save_every = 10, validate_every = 100, log_every = 1, accumulate = 1 }
device_views = { stretch = 0.1, feather = 0.5, colour = { jpeg = 0.3 }, granularity = { touching = 0.2, piece = 0.2 } }
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A pack of three drawn photos, a plan, and a backbone of random weights."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "plan.toml").write_text(PLAN)
    packed = pack([drawn.photos(folder / "data")], folder / "photos.pack", 80, 2**20)
    return packed.path, folder / "plan.toml", drawn.backbone(folder / "lite0.safetensors")


def run(given: tuple[Path, Path, Path], out: Path) -> dict[str, torch.Tensor]:
    data, plan, backbone = given
    return load_file(run_plan(read_plan(plan), [data], out, backbone, say=lambda line: None))


@pytest.fixture(scope="module")
def whole(given: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("whole")
    return out, run(given, out)


def test_it_learns(whole: tuple[Path, dict]) -> None:
    log = [json.loads(line) for line in (whole[0] / "clicks" / "log.jsonl").read_text().splitlines()]
    dice = [line["dice"] for line in log if "dice" in line]
    assert len(dice) == 20
    assert np.mean(dice[-6:]) < 0.9 * np.mean(dice[:6])


def test_the_same_plan_gives_the_same_weights_also_when_it_was_stopped(
    given: tuple[Path, Path, Path], whole: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    real = loop._save

    def save_then_stop(*arguments, **more):
        real(*arguments, **more)
        if arguments[4] == 10:
            raise StoppedError

    monkeypatch.setattr(loop, "_save", save_then_stop)
    with pytest.raises(StoppedError):
        run(given, tmp_path)
    monkeypatch.undo()
    resumed = run(given, tmp_path)
    assert resumed.keys() == whole[1].keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole[1].items())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{ jepg = 1 }", "leg 1: device_views: unknown jepg"),
        ("{ colour = { blurr = 1 } }", "device_views: colour: unknown blurr"),
        ("{ colour = { quality = [95, 30] } }", "is no range"),
        ("{ granularity = { touching = 0.8, alike = 0.3 } }", "more than 1 together"),
    ],
)
def test_a_wrong_word_about_views_is_named(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f'[[legs]]\nname = "a"\ndevice_views = {row}\n')
    with pytest.raises(UsageError, match=words):
        read_plan(path)


def test_views_are_made_on_the_cpu_unless_a_leg_says_otherwise(tmp_path: Path) -> None:
    plan = read_plan(Path(__file__).parents[2] / "configs" / "seem-nano.toml")
    assert all(leg.device_views is None for leg in plan.legs)
    path = tmp_path / "plan.toml"
    path.write_text('[[legs]]\nname = "a"\ndevice_views = { colour = { quality = [20, 60] } }\n')
    leg = read_plan(path).legs[0]
    assert leg.device_views is not None
    assert leg.device_views.colour.quality == (20, 60)

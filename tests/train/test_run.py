"""`seg train seem` end to end, on photos drawn for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train import drawn

from segcli.core.ask import Ask, Point
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.image import Image
from segcli.train.plan import read_plan
from segcli.train.run import run_plan
from segcli.train.state import load_state

PLAN = """
[model]
dim = 32
heads = 2
encoder_layers = 1
encoder_ffn = 32
widths = [8, 16, 16]
decoder_layers = 1
queries = 4

[[legs]]
name = "clicks"
decoder = false
view = { side = 64, targets = 2 }
recipe = { photos_a_step = 2, detail = false }
loop = { steps = 2, validate_every = 2, log_every = 1 }

[[legs]]
name = "detail"
parts = ["detail."]
view = { side = 64 }
recipe = { photos_a_step = 1, rounds = 2 }
loop = { steps = 1, log_every = 1 }
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return drawn.photos(tmp_path / "data")


def seg(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "segcli", *map(str, words)], capture_output=True, text=True, timeout=240, check=False
    )


def test_a_plan_trains_to_a_checkpoint_that_answers_clicks(data: Path, tmp_path: Path) -> None:
    plan, out, backbone = tmp_path / "plan.toml", tmp_path / "run", tmp_path / "lite0.safetensors"
    plan.write_text(PLAN)
    drawn.backbone(backbone)
    done = seg("train", "seem", "--data", data, "--config", plan, "--out", out, "--backbone", backbone)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "seem-nano.safetensors")
    assert (out / "clicks" / "pictures" / "000002.png").exists()

    import json

    from safetensors import safe_open

    from segcli.models.seem.predictor import build

    with safe_open(out / "seem-nano.safetensors", "pt") as own, safe_open(backbone, "pt") as shared:
        config = json.loads(own.metadata()["seg.config"])
        tensors = {k: f.get_tensor(k).float() for f in (own, shared) for k in f.keys()}  # noqa: SIM118
    model = build(
        config, tensors, keys="seg", name="new", revision="0", device=torch.device("cpu"), dtype=torch.float32, seed=0
    )
    clicks = load_state(out / "clicks" / "state.pt")["average"]
    kept = "click_path.stem4.weight"
    assert torch.equal(tensors[kept], clicks[kept].half().float())  # the detail leg left it alone
    (encoded,) = model.encode([Image(np.zeros((40, 50, 3), np.uint8), (40, 50))])
    assert model.decode(encoded, [Ask(points=(Point(5, 5),))])[0].size == (40, 50)


def test_a_tuned_backbone_leaves_the_shared_one_alone_and_comes_with_the_checkpoint(data: Path, tmp_path: Path) -> None:
    plan, out, backbone = tmp_path / "plan.toml", tmp_path / "run", tmp_path / "lite0.safetensors"
    start = {name.removeprefix("backbone."): tensor for name, tensor in load_file(drawn.backbone(backbone)).items()}
    tuned = PLAN.replace("[model]", "[model]\ntuned = true", 1)
    leg = 'decoder = false\nbackbone = 0.1\nfrozen = ["click_backbone.stem."]'
    plan.write_text(tuned.replace("decoder = false", leg, 1))
    done = seg("train", "seem", "--data", data, "--config", plan, "--out", out, "--backbone", backbone)
    assert done.returncode == 0, done.stderr
    written = load_file(out / "seem-nano.safetensors")
    assert not any(name.startswith("backbone.") for name in written)
    moved = [n for n, t in start.items() if not torch.equal(written[f"click_backbone.{n}"], t.half())]
    assert len(moved) > len(start) / 2
    assert not any(name.startswith("stem.") for name in moved)  # frozen
    legs = [load_state(out / leg / "state.pt")["average"] for leg in ("clicks", "detail")]
    assert any(name.startswith("click_backbone.") for name in legs[0])
    assert all(name.startswith("detail.") for name in legs[1])


def test_a_leg_can_end_in_the_mean_of_its_weights_and_an_earlier_legs(data: Path, tmp_path: Path) -> None:
    plan, out, backbone = tmp_path / "plan.toml", tmp_path / "run", tmp_path / "lite0.safetensors"
    drawn.backbone(backbone)
    first = PLAN.split('[[legs]]\nname = "detail"')[0]
    second = "[[legs]]" + first.split("[[legs]]")[1].replace('"clicks"', '"more"\nmean_with = "clicks"')
    plan.write_text(first + second)
    done = seg("train", "seem", "--data", data, "--config", plan, "--out", out, "--backbone", backbone)
    assert done.returncode == 0, done.stderr
    clicks, more = (load_state(out / leg / "state.pt")["average"] for leg in ("clicks", "more"))
    written = load_file(out / "seem-nano.safetensors")
    name = "click_path.stem4.weight"
    assert not torch.equal(clicks[name], more[name])
    assert torch.equal(written[name], ((clicks[name] + more[name]) / 2).half())


def test_a_part_that_the_model_does_not_have_is_named_before_anything_is_trained(data: Path, tmp_path: Path) -> None:
    plan, out, backbone = tmp_path / "plan.toml", tmp_path / "run", tmp_path / "lite0.safetensors"
    drawn.backbone(backbone)
    plan.write_text(PLAN.replace("decoder = false", 'decoder = false\nfrozen = ["click_backbone."]', 1))
    done = seg("train", "seem", "--data", data, "--config", plan, "--out", out, "--backbone", backbone)
    assert done.returncode == 2
    assert "leg clicks: no parameter begins with click_backbone.;" in done.stderr.splitlines()[-1]
    assert not (out / "clicks" / "log.jsonl").exists()


def test_a_folder_without_pairs_is_named(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    done = seg("train", "seem", "--data", tmp_path, "--config", plan, "--out", tmp_path / "run")
    assert done.returncode == 4
    assert str(tmp_path) in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model]\ncolour = 3", "unknown colour"),
        ("seed = 1", "no \\[\\[legs\\]\\]"),
        ("[[legs]]\nname = 'a'\nloop = { stps = 3 }", "leg 1: loop: unknown stps"),
        ("[[legs]]\nsteps = 3", "leg 1: unknown steps"),
        ("[[legs]]\ndecoder = true", "leg 1: has no name"),
        ("[[legs]]\nname = 'a'\nparts = 'detail.'", "leg 1: parts is no list of names"),
        ("[[legs]]\nname = 'a'\nmean_with = 'b'", "leg 1: mean_with = 'b': no leg before it"),
        ("[[legs]]\nname = 'a'\nfrozen = [1]", "leg 1: frozen is no list of names"),
        ("[[legs", "is not TOML"),
        ("seed = 'a'\n[[legs]]\nname = 'a'", "seed = 'a': type a whole number"),
        ("[model]\ndim = '32'", "model: dim = '32': type a whole number"),
        ("[[legs]]\nname = 'a'\nloop = { steps = 'four' }", "leg 1: loop: steps = 'four': type a whole number"),
        ("[[legs]]\nname = 'a'\nloop = { steps = -1 }", "steps = -1: type a number from 0 on"),
        ("[[legs]]\nname = 'a'\nloop = { save_every = 0 }", "save_every = 0: type 1 or more"),
        ("[[legs]]\nname = 'a'\nloop = { lr = nan }", "lr = nan: type a number above 0"),
        ("[[legs]]\nname = 'a'\nloop = { average = 1 }", "average = 1: type a number below 1"),
        ("[[legs]]\nname = 'a'\nrecipe = { photos_a_step = 0 }", "photos_a_step = 0: type 1 or more"),
        ("[[legs]]\nname = 'a'\nrecipe = { view = { side = 64 } }", "recipe: view: a table does not belong here"),
        ("[[legs]]\nname = 'a'\nview = { side = 100 }", "side = 100: type a multiple of 32"),
        ("[[legs]]\nname = 'a'\ndecoder = 'no'", "decoder = 'no': type true or false"),
        ("[[legs]]\nname = 'a'\n[[legs]]\nname = 'a'", "leg 2: name = 'a': another leg is called so"),
        ("[[legs]]\nname = '../a'", "leg 1: name = '../a': names a folder of --out"),
    ],
)
def test_a_plan_that_is_wrong_says_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_plan(path)


@pytest.mark.parametrize("sizes", ["dim = 33", "dim = 0", "backbone = 'lite9'", "widths = [8]", "heads = 3"])
def test_sizes_that_no_network_can_have_are_refused_before_a_photo_is_read(tmp_path: Path, sizes: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f"[model]\n{sizes}\n[[legs]]\nname = 'a'\n")
    with pytest.raises(UsageError, match=r"leg a: \[model\]: no network can have these sizes"):
        run_plan(read_plan(path), [tmp_path / "no photos"], tmp_path / "out", tmp_path / "no backbone")


@pytest.mark.parametrize("content", [None, b"no tensors at all"])
def test_weights_to_begin_from_that_can_not_be_read_are_named(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    start = tmp_path / "start.safetensors"
    if content is not None:
        start.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"start.safetensors: "):
        run_plan(read_plan(tmp_path / "plan.toml"), [], tmp_path / "out", tmp_path / "no backbone", start=start)


def test_the_plan_of_the_bundled_checkpoint_can_be_read() -> None:
    plan = read_plan(Path(__file__).parents[2] / "configs" / "seem-nano.toml")
    assert plan.legs[-1].parts == ("detail.",)

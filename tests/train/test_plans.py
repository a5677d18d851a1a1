"""Every plan of configs/ runs by `seg train`, goes on after a stop, and leaves a checkpoint that opens."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from segcli.cli.app import main
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.layers.propagation.propagator import Propagator
from segcli.registry.load import open_model
from segcli.registry.places import BUNDLED
from segcli.train import psalm_nano, ras, seggpt, seggpt_nano, vos, words
from segcli.train.tables import filled, read_table
from segcli.train.vos import VosPlan, read_clips

CONFIGS = Path(__file__).parents[2] / "configs"
LOOP = {
    "steps": 1,
    "warmup": 1,
    "log_every": 1,
    "save_every": 1,
    "validate_every": 9,
    "autocast": False,
    "average": 0.5,
}


def written(value: object) -> str:
    """A value in TOML; tables inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {written(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(written(part) for part in value) + "]"
    return json.dumps(value)


def small(name: str, steps: int) -> dict[str, Any]:
    """A plan of configs/ at a size that a test can run: its own words, fewer and smaller of everything."""
    plan = tomllib.loads((CONFIGS / f"{name}.toml").read_text())
    loop = LOOP | {"steps": steps}
    if name == "seem-nano":
        for leg in plan["legs"]:
            leg["recipe"] |= {"photos_a_step": 1, "rounds": 1}
            leg["view"] = leg.get("view", {}) | {"side": 64, "targets": 1}
            leg["loop"] |= loop
        return plan
    for leg in {"loop", "compare", "detail"} & set(plan):
        plan[leg] |= loop
    more: dict[str, dict[str, Any]] = {
        "seem-nano-words": {
            "bank": plan.get("bank", {}) | {"wholes": 1, "most": 1, "side": 64},
            "recipe": {"batch": 2},
        },
        "seggpt-nano": {
            "model": {"preset": "nano", "side": 64},
            "views": {"side": 64, "recoloured": 1, "crops": 0, "zooms": 1},
            "recipe": {"hold_out": 4, "validated": 1, "draw": {"classes": 2, "photos": 3, "queries": 1, "twins": 1}},
        },
        "seggpt-vit-l": {
            "model": {"preset": "tiny"},
            "loop": plan.get("loop", {}) | {"accumulate": 1},
            "sources": [{"name": "drawn", "kind": "instance"}],
        },
        "psalm-nano": {"batch": 2, "zooms": 0, "lessons": {"listing": [3, 3]}, "loss": {"points": 32}},
        "ras-nano": {"recipe": plan.get("recipe", {}) | {"batch": 2, "views": 0, "copies": 0, "naming": 3, "folds": 2}},
        "vos-nano": {"recipe": plan.get("recipe", {}) | {"scenes": 1, "objects": 1}},
    }
    return plan | more[name]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of a cat and a dog, both blocks, on grass."""
    root = tmp_path_factory.mktemp("data") / "drawn"
    rng, lines = np.random.default_rng(0), []
    for number in range(8):
        ids = np.full((96, 128), 3, np.uint8)
        for value, left in ((1, 5), (2, 70)):
            y, x = rng.integers(0, 40), left + rng.integers(0, 15)
            ids[y : y + 45, x : x + 38] = value
        pixels = np.array([(0, 0, 0), (200, 40, 30), (40, 60, 210), (60, 150, 50)], np.uint8)[ids]
        pixels += rng.integers(0, 30, pixels.shape, dtype=np.uint8)
        for part, picture in (("images", pixels), ("masks", ids)):
            (root / part).mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(picture).save(root / part / f"{number}.png")
        named = zip((1, 2, 3), ("cat", "dog", "grass"), (True, True, False), strict=True)
        objects = [{"id": i, "class": name, "thing": thing} for i, name, thing in named]
        files = {"image": f"images/{number}.png", "mask": f"masks/{number}.png"}
        lines.append(json.dumps(files | {"objects": objects, "complete": True, "stuff_labelled": True}))
    (root / "objects.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objects that move through five frames, and a sequence that the plan leaves out."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("drawn", "libby"):
        for t in range(5):
            ids = np.zeros((60, 100), np.uint8)
            ids[10:30, 5 + 8 * t : 35 + 8 * t], ids[40:55, 50 - 5 * t : 75 - 5 * t], ids[:2] = 1, 2, 255
            pixels = np.array([(90, 90, 90), (200, 40, 30), (40, 60, 210)], np.uint8)[np.where(ids == 255, 0, ids)]
            for part, picture in (("frames", pixels), ("masks", ids)):
                (root / name / part).mkdir(parents=True, exist_ok=True)
                Pillow.fromarray(picture).save(root / name / part / f"{t:05d}.png")
    return root


Trained = Callable[..., Path]


@pytest.fixture
def trained(tmp_path: Path, data: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> Trained:
    """Runs a small plan by `seg train VERB`; returns the checkpoint that it names."""

    def run(verb: str, name: str, steps: int, *more: str | Path) -> Path:
        plan = tmp_path / f"{name}.toml"
        plan.write_text("\n".join(f"{key} = {written(value)}" for key, value in small(name, steps).items()))
        films = ["--videos", str(videos)] if verb == "vos" else []
        words = ["train", verb, "--data", str(data), *films, "--config", str(plan), "--out", str(tmp_path / "run")]
        capsys.readouterr()
        main([*words, "--device", "cpu", "--threads", "1", *map(str, more)])
        return Path(capsys.readouterr().out.strip())

    return run


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("seem", "seem-nano"),
        ("words", "seem-nano-words"),
        ("seggpt", "seggpt-nano"),
        ("seggpt", "seggpt-vit-l"),
        ("psalm", "psalm-nano"),
        ("ras", "ras-nano"),
        ("vos", "vos-nano"),
    ],
)
def test_a_plan_runs_goes_on_and_leaves_a_checkpoint_that_opens(trained: Trained, verb: str, name: str) -> None:
    first = trained(verb, name, 1)
    before = first.read_bytes()
    assert trained(verb, name, 2) == first
    logs = [path.read_text().splitlines() for path in first.parent.rglob("log.jsonl")]
    assert logs
    for lines in logs:
        assert [line["step"] for line in map(json.loads, lines) if "validation" not in line] == [1, 2]
    assert first.read_bytes() != before
    model = open_model(str(first), device="cpu", dtype="fp32", say=lambda line: None)
    assert model.encode([Image(np.zeros((40, 50, 3), np.uint8), (40, 50))])
    if verb == "vos":  # the bundled seem-nano with this tracker
        assert isinstance(model.tracker(), Propagator)  # type: ignore[attr-defined]


def test_all_plans_of_configs_are_run_above() -> None:
    run = test_a_plan_runs_goes_on_and_leaves_a_checkpoint_that_opens.pytestmark[0].args[1]
    assert {name for _, name in run} == {path.stem for path in CONFIGS.glob("*.toml")}


@pytest.mark.parametrize(
    ("verb", "name", "start"),
    [
        ("seggpt", "seggpt-nano", None),
        ("psalm", "psalm-nano", "psalm-nano"),
        ("vos", "vos-nano", BUNDLED / "vos-nano.safetensors"),
    ],
)
def test_a_run_begins_with_the_weights_that_are_given(
    trained: Trained, tmp_path: Path, verb: str, name: str, start: str | Path | None
) -> None:
    from safetensors.torch import load_file

    if start is None:  # the bundled seggpt-nano looks at larger photos than the small plan does
        left = trained(verb, name, 1)
        start = left.rename(tmp_path / "start.safetensors")
        (tmp_path / "run").rename(tmp_path / "before")
    else:
        left = BUNDLED / f"{name}.safetensors"
    begun = load_file(trained(verb, name, 0, "--start", start))
    before = load_file(start if isinstance(start, Path) else left)
    assert set(begun) == set(before)
    moved = [k for k in begun if (begun[k].float() - before[k].float()).abs().max() > 2e-3]
    assert not moved


def test_every_object_of_a_sequence_is_a_clip_and_left_out_ones_are_not_read(videos: Path) -> None:
    clips = read_clips([videos], ["libby"])
    assert len(clips) == 2
    assert [int(clip.masks[0].sum()) for clip in clips] == [20 * 30, 15 * 25]
    assert len(read_clips([videos])) == 4


@pytest.mark.parametrize(("read", "like"), [(words.read_plan, "seem-nano-words"), (vos.read_plan, "vos-nano")])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wheels = 4", "unknown wheels; it may say .*loop.*seed"),
        ("[loop]\nstps = 3", "loop: unknown stps; it may say .*steps"),
        ("[recipe]\nwheels = 4", "recipe: unknown wheels"),
        ("[loop]\nsteps = 'many'", "loop: steps = 'many': type a whole number"),
        ("[loop]\nsteps = true", "loop: steps = True: type a whole number"),
        ("seed = 0.5", "seed = 0.5: type a whole number"),
        ("loop = 3", "loop: is 3; it is a table of"),
        ("[loop", "is not TOML"),
    ],
)
def test_a_plan_says_what_is_wrong_in_it(
    tmp_path: Path, read: Callable[[Path], object], like: str, text: str, said: str
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(text)
    with pytest.raises(UsageError, match=said):
        read(plan)
    with pytest.raises(UsageError, match=f"no-plan.toml: can't be read: no such file or directory; see configs/{like}"):
        read(tmp_path / "no-plan.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[recipe]\nhold_out = 0", "hold_out = 0: type 2 or more"),
        ("[views]\nside = 100", "side = 100: type a multiple of 32"),
        ("[views]\ncrops = 'a'", "views: crops = 'a': type a whole number"),
        ("[recipe.draw]\nphotos = 0", "recipe.draw: photos = 0: type 1 or more"),
        ("[compare]\nlr = 'fast'", "compare: lr = 'fast': type a number"),
        ("seed = -1", "seed = -1: type a number from 0 on"),
    ],
)
def test_a_plan_of_seggpt_nano_says_what_can_not_be_meant(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        seggpt_nano.read_plan(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch = 'two'", "batch = 'two': type a whole number"),
        ("[[sources]]\nkind = 'semantic'", "sources: has no name"),
        ("[view]\nflipped = -1", "flipped = -1: type a number from 0 on"),
        ("[model]\npreset = 'vit-l'\nwidth = 'large'", "model: "),
    ],
)
def test_a_plan_of_the_published_seggpt_says_what_can_not_be_meant(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        seggpt.read_plan(path)


def test_plans_of_other_members_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown left_out, recipe"):
        psalm_nano.read_plan(CONFIGS / "vos-nano.toml")
    with pytest.raises(UsageError, match="unknown batch, lessons, loss, zooms"):
        ras.read_plan(CONFIGS / "psalm-nano.toml")


def test_numbers_without_a_point_stand_for_numbers_with_one(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("clip = 3\n")
    plan = VosPlan()
    assert filled(plan.loop, read_table(tmp_path / "plan.toml", ""), "plan").clip == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["psalm", "--out", "x"], "--config FILE.toml for the nano member, or --stage 1 or 2"),
        (["psalm", "--out", "x", "--config", "a.toml", "--stage", "2"], "--stage is for the published stages"),
        (["psalm", "--out", "x", "--config", "a.toml"], "--data is missing"),
        (["psalm", "--out", "x", "--config", "a.toml", "--data", "nowhere"], "nowhere: no such folder"),
        (["psalm", "--out", "x", "--stage", "2", "--start", "y", "--backbone", "z"], "--backbone is for the nano"),
        (["vos", "--data", ".", "--out", "x", "--config", "a.toml"], "a.toml: can't be read"),
        (["vos", "--data", ".", "--videos", "no", "--out", "x", "--config", "a.toml"], "no: no such folder"),
        (["words", "--data", ".", "--out", "x", "--config", "a.toml"], "a.toml: can't be read"),
        (["seggpt", "--data", ".", "--out", "x", "--config", "a.toml"], "a.toml: can't be read"),
        (
            ["seggpt", "--data", ".", "--out", "x", "--bank", "b", "--config", str(CONFIGS / "seggpt-vit-l.toml")],
            "--bank and --backbone are for the nano member",
        ),
        (
            ["words", "--data", ".", "--out", "x", "--config", str(CONFIGS / "seem-nano-words.toml"), "--start", "y"],
            "y: can't be read",
        ),
        (
            [*["words", "--data", ".", "--out", "x", "--config", str(CONFIGS / "seem-nano-words.toml")],
             *["--start", str(BUNDLED / "seggpt-nano.safetensors")]],
            "is no seem-nano that `seg train seem` wrote",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_trained_is_refused_in_a_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["train", *words])
    error = capsys.readouterr().err
    assert left.value.code in (2, 4, 5)
    assert said in error
    assert error.count("\n") == 1

"""SegGPT's recipe: what pairs show, how a run goes, what a plan may say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from segcli.core.errors import CheckpointError, StorageError, UsageError
from segcli.datasets import folders
from segcli.models.seggpt.config import PRESETS
from segcli.models.seggpt.keys import key_table
from segcli.models.seggpt.model import SegGPT
from segcli.registry.local import entry_of_file
from segcli.registry.writer import save
from segcli.train import loop
from segcli.train.loop import LoopConfig
from segcli.train.seggpt import SegGPTPlan, Weighed, layer_groups, read_plan, run_plan
from segcli.train.seggpt import build as build_model
from segcli.train.seggpt_pairs import PairConfig, PairSampler, Source
from segcli.train.seggpt_views import LabelledPhoto, ViewConfig, random_box, stitched, view

TINY = replace(PRESETS["tiny"], depth=4, skips_after=(2, 3), drop_path=0.2)
LOOP = LoopConfig(steps=30, lr=3e-3, warmup=2, average=0.5, autocast=False, log_every=1, save_every=5)


def folder(root: Path, count: int = 6) -> Path:
    """Photos of a cat (red, left or right) on grass (green), the rest unknown; two cats in the even ones."""
    lines = []
    for number in range(count):
        ids = np.zeros((48, 60), np.uint8)
        ids[30:], ids[:3] = 1, 255
        ids[8:26, 3 + 2 * number : 21 + 2 * number] = 2
        if number % 2 == 0:
            ids[10:24, 44:58] = 5
        pixels = np.random.default_rng(number).integers(0, 60, (48, 60, 3), dtype=np.uint8)
        pixels[ids == 1, 1] += 150
        pixels[(ids == 2) | (ids == 5), 0] += 180
        for sub, picture in (("images", pixels), ("masks", ids)):
            (root / sub).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(picture).save(root / sub / f"{number}.png")
        objects = [{"id": 1, "class": "grass", "thing": False}, {"id": 2, "class": "cat", "thing": True}]
        objects += [{"id": 5, "class": "cat", "thing": True}] if number % 2 == 0 else []
        lines.append(json.dumps({"image": f"images/{number}.png", "mask": f"masks/{number}.png", "objects": objects}))
    (root / "objects.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    folder(root / "pets")
    return root


def sampler(data: Path, kind: str = "semantic", **config: object) -> PairSampler:
    source = Source("pets", kind, tuple(folders.photos(data / "pets")))
    return PairSampler([source], TINY.side, TINY.grid, PairConfig(**config))


def canvases(sampler: PairSampler, count: int = 12) -> list:
    return [sampler.draw(np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("kind", ["semantic", "instance"])
def test_both_halves_share_one_colour_map(data: Path, kind: str):
    still = ViewConfig(jittered=0.0, scale=(0.9999, 1.0))
    for canvas in canvases(sampler(data, kind, view=still, half_mask=1.0, mixed=0.0)):
        halves = np.split(canvas.target, 2)
        colors = [{tuple(c) for c in half.reshape(-1, 3).tolist()} - {(0, 0, 0)} for half in halves]
        assert colors[0] == colors[1]
        assert colors[0]
        if kind == "semantic":  # one colour for all cats, which are red, and one for grass, which is green
            for half, photo in zip(halves, np.split(canvas.photo, 2), strict=True):
                for color in colors[0]:
                    mean = photo[(half == color).all(-1)].mean(0)
                    assert mean[0] > 90 or mean[1] > 90
                    assert min(mean[0], mean[1]) < 90


def test_objects_of_one_class_have_colours_of_their_own_in_instance_pairs(data: Path):
    counts = [
        len({tuple(c) for c in canvas.target.reshape(-1, 3).tolist()} - {(0, 0, 0)})
        for canvas in canvases(sampler(data, "instance", half_mask=1.0, mixed=0.0), 30)
    ]
    assert max(counts) == 2


def test_a_half_mask_hides_the_lower_half_and_blocks_hide_half_of_all(data: Path):
    rows, columns = TINY.grid
    for canvas in canvases(sampler(data, half_mask=1.0)):
        assert not canvas.hidden[: rows // 2].any()
        assert canvas.hidden[rows // 2 :].all()
    for canvas in canvases(sampler(data, half_mask=0.0)):
        assert canvas.hidden.sum() == rows * columns // 2
        assert canvas.hidden[: rows // 2].any()


def test_what_nobody_knows_is_not_valid_and_is_never_coloured(data: Path):
    found = canvases(sampler(data, view=ViewConfig(scale=(0.9999, 1.0)), mixed=0.0))
    assert any((~canvas.valid).any() for canvas in found)
    assert all(not canvas.target[~canvas.valid].any() for canvas in found)


def test_the_colours_are_drawn_anew_for_each_pair_and_the_same_seed_draws_the_same(data: Path):
    draws = sampler(data)
    first, again, other = (draws.draw(np.random.default_rng(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.target, again.target)
    np.testing.assert_array_equal(first.photo, again.photo)
    assert (first.target != other.target).any()


def test_weights_say_how_often_a_source_is_drawn(data: Path):
    photos = tuple(folders.photos(data / "pets"))
    sources = [Source("pets", "semantic", photos, 0.75), Source("pets", "instance", photos, 0.25)]
    both = PairSampler(sources, TINY.side, TINY.grid, PairConfig())
    kinds = [canvas.kind for canvas in canvases(both, 80)]
    assert 8 < sum(kinds) < 32
    with pytest.raises(UsageError, match="weights of the data"):
        PairSampler([replace(sources[0], weight=-1.0)], TINY.side, TINY.grid, PairConfig())


def test_photos_with_nothing_marked_are_refused(tmp_path: Path):
    for sub in ("images", "masks"):
        (tmp_path / "bare" / sub).mkdir(parents=True)
        PIL.Image.new("L", (20, 20)).save(tmp_path / "bare" / sub / "a.png")
    with pytest.raises(StorageError, match="bare: no photo has anything marked"):
        PairSampler([Source("bare", "semantic", tuple(folders.photos(tmp_path / "bare")))], 32, TINY.grid, PairConfig())


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.floats(0.05, 1.0), st.integers(0, 2**32 - 1))
def test_a_random_part_lies_inside(height: int, width: int, share: float, seed: int):
    box = random_box((height, width), (share, 1.0), (0.75, 4 / 3), np.random.default_rng(seed))
    assert 0 <= box[0] < box[2] <= width
    assert 0 <= box[1] < box[3] <= height


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_view_keeps_photo_and_codes_together(seed: int):
    codes = np.random.default_rng(seed).integers(0, 3, (5, 6)).repeat(9, 0).repeat(8, 1).astype(np.int32)
    photo = LabelledPhoto((codes[..., None] * 100).repeat(3, -1).astype(np.uint8), codes)
    seen = view(photo, 64, ViewConfig(jittered=0.0), np.random.default_rng(seed), whole=False)
    away = np.abs(seen.pixels[..., 0] / 100 - seen.codes)
    assert seen.codes.shape == (64, 64)
    assert (away > 0.5).mean() < 0.12  # borders only: the photo is resized smoothly, codes are not


def test_mix_context_stitches_four_photos_as_quarters():
    photos = [LabelledPhoto(np.full((8, 8, 3), n, np.uint8), np.full((8, 8), n, np.int32)) for n in range(4)]
    whole = stitched(photos, 8)
    np.testing.assert_array_equal(whole.codes[::4, ::4], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(whole.codes, np.array([[0, 1], [2, 3]]).repeat(4, 0).repeat(4, 1))


def plan(**changes: object) -> SegGPTPlan:
    return replace(SegGPTPlan(TINY, PairConfig(), LOOP, (Weighed("pets"), Weighed("pets", "instance", 0.5))), **changes)


def test_training_lowers_the_loss_and_its_checkpoint_answers(data: Path, tmp_path: Path):
    path = run_plan(plan(layer_decay=1.0), [data], tmp_path / "run", say=lambda line: None)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-8:]) < 0.95 * np.mean(losses[:8])
    entry = entry_of_file(path)
    assert (entry.system, entry.accepts) == ("seggpt", frozenset({"examples", "video"}))
    from segcli.models.seggpt.predictor import build

    predictor = build(entry.config, load_file(path), keys=entry.keys, name="own", revision="0")
    assert predictor.engine.model.config == TINY
    begun = build_model(plan(), str(path))
    for name, value in load_file(path).items():
        torch.testing.assert_close(begun.state_dict()[name], value, atol=0, rtol=0)
    assert all(parameter.requires_grad for parameter in begun.parameters())


def test_training_begins_from_painter_which_knows_no_kinds_and_from_nothing_less(tmp_path: Path):
    weights = {theirs: torch.full(v.shape, 0.5) for theirs, v in published(build_model(plan(), None)).items()}
    for lacking, said in (
        (("type_token_cls", "type_token_ins"), ""),
        (("mask_token",), "1 missing: embedding.mask_to"),
    ):
        kept = {key: value for key, value in weights.items() if key not in lacking}
        described = {"seg.system": "seggpt", "seg.config": "tiny", "seg.accepts": "examples", "seg.keys": "original"}
        save(tmp_path / "painter.safetensors", kept, described)
        if said:
            with pytest.raises(CheckpointError, match=said):
                build_model(plan(), str(tmp_path / "painter.safetensors"))
            continue
        begun = build_model(plan(), str(tmp_path / "painter.safetensors")).state_dict()
        assert (begun["embedding.mask_token"] == 0.5).all()
        assert 0 < begun["embedding.instance_token"].abs().mean() < 0.1


def published(model: SegGPT) -> dict[str, torch.Tensor]:
    """The model's tensors under the original release's names."""
    own = model.state_dict()
    return {theirs: own[ours] for theirs, ours in key_table("original", model.config.depth).items()}


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(data: Path, tmp_path: Path):
    short = plan(loop=replace(LOOP, steps=8, save_every=3, accumulate=2), batch=1)
    whole = run_plan(short, [data], tmp_path / "whole", say=lambda line: None)
    real = loop._save

    def save_then_stop(*arguments: object) -> None:
        real(*arguments)
        if arguments[4] == 6:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "_save", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            run_plan(short, [data], tmp_path / "stopped", say=lambda line: None)
    stopped = run_plan(short, [data], tmp_path / "stopped", say=lambda line: None)
    for name, value in load_file(whole).items():
        torch.testing.assert_close(load_file(stopped)[name], value, atol=0, rtol=0)


def test_blocks_near_the_input_learn_slower_and_positions_do_not_decay():
    model = SegGPT(TINY)
    groups = layer_groups(list(model.named_parameters()), 0.05, depth=TINY.depth, layer_decay=0.5)
    of = {id(p): g for g in groups for p in g["params"]}
    named = {name: of[id(parameter)] for name, parameter in model.named_parameters()}
    assert len(of) == len(named)
    scales = {"embedding.patch.weight": 0, "blocks.0.mlp.expand.weight": 1, "blocks.3.mlp.expand.weight": 4}
    for name, layer in (scales | {"embedding.mask_token": 5, "decoder.head.weight": 5}).items():
        assert named[name]["scale"] == 0.5 ** (5 - layer)
        assert named[name]["weight_decay"] == 0.05
    for name in ("embedding.positions", "blocks.1.norm1.weight", "decoder.head.bias"):
        assert named[name]["weight_decay"] == 0


def test_the_plan_that_is_shipped_says_what_was_published():
    shipped = read_plan(Path(__file__).parents[2] / "configs" / "seggpt-vit-l.toml")
    assert shipped.model == PRESETS["vit-l"]
    assert round(sum(source.weight for source in shipped.sources), 2) == 0.99
    assert (shipped.loop.steps, shipped.loop.warmup, shipped.batch * shipped.loop.accumulate) == (9000, 1800, 2048)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model]\npreset = 'vit-h'", "no SegGPT of size 'vit-h'"),
        ("[loop]\nsteps_ = 3", "unknown steps_"),
        ("[[sources]]\nname = 'a'\nkind = 'video'", "type semantic or instance"),
        ("batch = ", "is not TOML"),
    ],
)
def test_a_word_that_a_plan_does_not_know_is_named(tmp_path: Path, text: str, said: str):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_plan(path)


def test_a_source_that_the_data_lacks_is_named(data: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="cars: the plan names it, --data has only pets"):
        run_plan(plan(sources=(Weighed("cars"),)), [data], tmp_path, say=lambda line: None)

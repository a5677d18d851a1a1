"""Training of seggpt-nano: episodes, losses, and a run from photos to a checkpoint that opens."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file
from tests.models.seggpt.nano_scenes import BALL, BOX, scene

from segcli.core.ask import Ask
from segcli.core.errors import StorageError, UsageError
from segcli.models.seggpt.nano import NanoConfig, SegGPTNano
from segcli.registry.load import open_model
from segcli.registry.places import BUNDLED
from segcli.train.loop import LoopConfig
from segcli.train.seggpt_nano import EpisodeValidation, NanoPlan, Recipe, Trainee, read_plan, train
from segcli.train.seggpt_nano_data import Bank, Draw, Episodes, Question, Target, _append, fixed_episodes, make_bank
from segcli.train.seggpt_nano_views import ViewPlan, draw_view, draw_zoom
from segcli.train.state import load_state

PLAN = NanoPlan(
    model=NanoConfig(side=64, hidden=16, embed=8, blocks=1, widths=(16, 16, 8)),
    views=ViewPlan(side=64, recoloured=1, crops=1, zooms=1),
    recipe=Recipe(draw=Draw(classes=2, photos=3, queries=2, twins=1), hold_out=4, smoothing=0.1, validated=4),
    compare=LoopConfig(steps=3, save_every=3, validate_every=3, log_every=1, autocast=False),
    detail=LoopConfig(steps=2, save_every=2, validate_every=2, log_every=1, autocast=False),
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn photos with a ball and a box each."""
    root = tmp_path_factory.mktemp("drawn") / "scenes"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    lines = []
    for number in range(8):
        drawn = scene(number, (96, 128))
        Pillow.fromarray(drawn.photo.pixels).save(root / "images" / f"{number}.png")
        Pillow.fromarray(drawn.ids).save(root / "masks" / f"{number}.png")
        objects = [{"id": BALL, "class": "ball", "thing": True}, {"id": BOX, "class": "box", "thing": True}]
        lines.append(
            {"image": f"images/{number}.png", "mask": f"masks/{number}.png", "objects": objects, "complete": True}
        )
    (root / "objects.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return root


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    return train(PLAN, [photos], out, BUNDLED / "lite0.safetensors", say=lambda line: None)


def episodes_of(trained: Path, without: frozenset[str] = frozenset()) -> Episodes:
    return Episodes(Bank(trained.parent / "bank"), range(8), without, PLAN.recipe.draw)


def test_a_run_ends_in_a_checkpoint_that_opens_and_answers(trained: Path) -> None:
    model = open_model(str(trained), device="cpu", dtype="fp32", say=lambda line: None)
    example, query = scene(1), scene(2)
    model.learn([example])  # type: ignore[attr-defined]
    (encoded,) = model.encode([query.photo])
    (prediction,) = model.decode(encoded, [Ask()])
    assert prediction.size == (240, 320)


def test_the_checkpoint_holds_neither_the_backbone_nor_the_names_of_classes(trained: Path) -> None:
    keys = set(load_file(trained))
    assert keys
    assert not [k for k in keys if k.startswith("backbone.") or "names" in k]


def test_the_second_leg_trains_the_refinement_alone(trained: Path) -> None:
    legs = [load_state(trained.parent / leg / "state.pt")["average"] for leg in ("compare", "detail")]
    assert legs[0]
    assert legs[1]
    assert not set(legs[0]) & set(legs[1])
    assert all(".decoder." in name for name in legs[1])


def test_a_finished_run_is_not_run_again(trained: Path, photos: Path) -> None:
    before = trained.read_bytes()
    train(PLAN, [photos], trained.parent, BUNDLED / "lite0.safetensors", say=lambda line: None)
    assert trained.read_bytes() == before


def test_an_example_is_never_the_photo_that_is_asked_about_unless_it_is_its_twin(trained: Path) -> None:
    source = episodes_of(trained)
    stream = source.stream(seed=0)
    for _ in range(5):
        batch = next(stream)
        photos_of = [round(float(batch.levels["res5"][t].sum()), 3) for t in range(len(batch.masks))]
        for question in batch.questions:
            assert question.query not in question.examples
            if question.kind == "semantic":
                assert all(photos_of[e] != photos_of[question.query] for e in question.examples)


def test_the_same_seed_draws_the_same_episodes(trained: Path) -> None:
    one, other = (next(episodes_of(trained).stream(seed=3)) for _ in range(2))
    assert one.questions == other.questions
    assert torch.equal(one.masks, other.masks)
    assert torch.equal(one.labels, other.labels)


def test_a_class_held_out_is_neither_asked_about_nor_named(trained: Path) -> None:
    source = episodes_of(trained, without=frozenset({"box"}))
    assert source.classes == ["ball"]
    box = source.names.index("box")
    targets = [Target(0, (BALL,)), Target(source.bank.plan.count, (BALL,))]
    assert not bool((source.collate(targets, [Question(0, (1,), "semantic")]).labels == box).any())
    assert fixed_episodes(source, ["box"], 1, 4, seed=0) == []


def test_the_first_view_is_the_photo_as_it_is_and_others_keep_pixels_and_ids_together() -> None:
    drawn, plan = scene(1, (96, 128)), ViewPlan(side=64, recoloured=1, crops=2)
    rng = np.random.default_rng(0)
    whole, ids = draw_view(drawn.photo.pixels, drawn.ids, plan, 0, rng)
    expected = Pillow.fromarray(drawn.photo.pixels).resize((64, 64), Pillow.Resampling.BILINEAR)
    assert np.array_equal(whole, np.asarray(expected))
    assert set(np.unique(ids)) == {0, BALL, BOX}
    for number in (1, 2, 3):
        pixels, ids = draw_view(drawn.photo.pixels, drawn.ids, plan, number, rng)
        red = pixels[..., 0].astype(int) - pixels[..., 2] > 60  # the ball's darker stripes
        near_ball = np.kron(ids == BALL, np.ones((2, 2), np.bool_))
        if near_ball.any() and red.any():
            assert (red & near_ball).sum() > 0.7 * red.sum()


def test_a_zoom_shows_a_marked_object_larger_and_keeps_pixels_and_ids_together() -> None:
    drawn, plan = scene(1, (96, 128)), ViewPlan(side=64)
    larger = 0
    for seed in range(12):
        pixels, ids = draw_zoom(drawn.photo.pixels, drawn.ids, plan, np.random.default_rng(seed))
        assert (pixels.shape, ids.shape) == ((64, 64, 3), (32, 32))
        larger += max((ids == n).mean() / (drawn.ids == n).mean() for n in (BALL, BOX)) > 1.2
        red = pixels[..., 0].astype(int) - pixels[..., 2] > 80  # the ball's darker stripes
        if red.any():
            assert (red & np.kron(ids == BALL, np.ones((2, 2), np.bool_))).sum() > 0.7 * red.sum()
    assert larger >= 10


def test_a_zoom_at_a_photo_without_objects_stays_within_it() -> None:
    drawn = scene(1, (96, 128), objects=())
    pixels, ids = draw_zoom(drawn.photo.pixels, drawn.ids, ViewPlan(side=64), np.random.default_rng(0))
    assert pixels.shape == (64, 64, 3)
    assert not ids.any()


def test_a_pasted_block_brings_its_cells_and_its_objects(trained: Path) -> None:
    plain = episodes_of(trained)
    pasting = Episodes(plain.bank, range(8), frozenset(), replace(PLAN.recipe.draw, pasted=1.0))
    targets = [Target(plain.bank.row(p, 0), plain.ids_of(p, "ball"), "ball") for p in range(8)]
    before, after = (e.collate(targets, [], np.random.default_rng(0)) for e in (plain, pasting))
    moved = 0
    for t in range(8):
        changed = (before.levels["res5"][t] != after.levels["res5"][t]).any(0)  # [2, 2]
        fine = np.kron(changed.numpy(), np.ones((8, 8), np.bool_))
        assert torch.equal(before.masks[t][~fine], after.masks[t][~fine])
        if not changed.any():
            continue
        moved += 1
        givers = [
            o for o in range(8) if torch.equal(after.levels["res2"][t][:, fine], before.levels["res2"][o][:, fine])
        ]
        assert len(givers) == 1
        assert torch.equal(after.masks[t][fine], before.masks[givers[0]][fine])
    assert moved >= 3


def test_data_with_fewer_classes_than_the_plan_draws_is_trained_on(tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "balls"
    shutil.copytree(photos, root)
    lines = [json.loads(line) for line in (root / "objects.jsonl").read_text().splitlines()]
    for line in lines:
        line["objects"] = line["objects"][:1]
    (root / "objects.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    bank = make_bank([root], tmp_path / "bank", PLAN.views, SegGPTNano(PLAN.model).backbone)
    batch = next(Episodes(bank, range(8), frozenset(), PLAN.recipe.draw).stream(0))
    assert {q.kind for q in batch.questions} == {"semantic", "instance"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_bank_that_finds_no_room_is_said_with_the_reason() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(StorageError, match="no space left on the disk"):  # noqa: PTH123
        _append(full, np.zeros(4))


def test_data_without_a_named_class_is_refused_in_a_line(tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "unnamed"
    shutil.copytree(photos, root)
    (root / "objects.jsonl").unlink()
    with pytest.raises(StorageError, match="no class is named in two photos"):
        train(PLAN, [root], tmp_path / "run", BUNDLED / "lite0.safetensors", say=lambda line: None)


def test_an_absent_class_is_asked_about_in_a_photo_that_does_not_show_it(tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "apart"
    shutil.copytree(photos, root)
    lines = [json.loads(line) for line in (root / "objects.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):  # the ball alone in one half of the photos, the box alone in the other
        line["objects"] = [line["objects"][number % 2]]
    (root / "objects.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    bank = make_bank([root], tmp_path / "bank", PLAN.views, SegGPTNano(PLAN.model).backbone)
    batch = next(Episodes(bank, range(8), frozenset(), replace(PLAN.recipe.draw, absent=1.0, twins=0)).stream(0))
    empty = [q for q in batch.questions if not batch.masks[q.query].any()]
    assert empty
    for question in empty:
        assert all(bool(batch.masks[e].any()) for e in question.examples)


def test_nobody_asks_about_a_class_that_a_photos_source_never_names(tmp_path: Path, photos: Path) -> None:
    for number, name in enumerate(("balls", "boxes")):  # each source names one class, whatever its photos show
        shutil.copytree(photos, tmp_path / "apart" / name)
        lines = [json.loads(line) for line in (photos / "objects.jsonl").read_text().splitlines()]
        for line in lines:
            line["objects"] = [line["objects"][number]]
        (tmp_path / "apart" / name / "objects.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    bank = make_bank([tmp_path / "apart"], tmp_path / "bank", PLAN.views, SegGPTNano(PLAN.model).backbone)
    source = Episodes(bank, range(16), frozenset(), replace(PLAN.recipe.draw, absent=1.0, twins=0))
    batch = next(source.stream(0))
    assert source.classes == ["ball", "box"]
    assert all(bool(batch.masks[q.query].any()) for q in batch.questions)


def test_questions_come_with_as_many_examples_as_the_plan_says(trained: Path) -> None:
    plain = episodes_of(trained)
    for shares, wanted in (({"single": 1.0}, 1), ({"single": 0.0, "all_shown": 1.0}, PLAN.recipe.draw.photos - 1)):
        draw = replace(PLAN.recipe.draw, twins=0, **shares)
        batch = next(Episodes(plain.bank, range(8), frozenset(), draw).stream(0))
        assert {len(q.examples) for q in batch.questions} == {wanted}


def test_only_losses_of_overlap_count_as_overlap_does() -> None:
    weighed = Recipe(overlap=2.0).weighed({"bce": torch.tensor(3.0), "first-dice": torch.tensor(0.5)})
    assert {name: float(value) for name, value in weighed.items()} == {"bce": 3.0, "first-dice": 1.0}


def test_fewer_examples_are_the_first_ones_of_more(trained: Path) -> None:
    source = episodes_of(trained)
    one, five = (fixed_episodes(source, source.classes, shots, 4, seed=0) for shots in (1, 5))
    assert [e.targets[:2] for e in five] == [e.targets for e in one]
    assert all(len(e.question.examples) == 5 for e in five)


def test_the_lean_makes_up_for_a_network_that_marks_too_little(trained: Path) -> None:
    source = episodes_of(trained)
    validate = EpisodeValidation({"all": fixed_episodes(source, source.classes, 1, 6, seed=0)})
    trainee = Trainee(SegGPTNano(replace(PLAN.model, lean=-3.0)), torch.ones(2))
    before = validate(trainee, 0)["all"]
    lean = validate.lean(trainee.network)
    assert lean > 0
    trainee.network.config = replace(PLAN.model, lean=lean - 3.0)
    assert validate(trainee, 0)["all"] > before


def test_a_run_can_begin_with_the_weights_of_another(trained: Path, photos: Path, tmp_path: Path) -> None:
    still = replace(PLAN, compare=replace(PLAN.compare, steps=0), detail=replace(PLAN.detail, steps=0))
    bank, start = trained.parent / "bank", str(trained.parent / "compare" / "state.pt")
    begun = train(
        still, [photos], tmp_path, BUNDLED / "lite0.safetensors", bank=bank, start=start, say=lambda line: None
    )
    one, other = load_file(begun), load_file(trained)
    assert torch.equal(one["embedding.enter.weight"], other["embedding.enter.weight"])
    assert not torch.equal(one["decoder.fine.first.weight"], other["decoder.fine.first.weight"])


def test_a_folder_without_a_bank_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no bank"):
        Bank(tmp_path)


def test_the_bundled_plan_can_be_read() -> None:
    plan = read_plan(Path(__file__).parents[2] / "configs" / "seggpt-nano.toml")
    assert plan.views.side == plan.model.side == 320
    assert plan.compare.steps > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [("[model]\nwide = 3", "unknown wide"), ("sed = 1", "unknown sed"), ("[recipe", "is not TOML")],
)
def test_a_plan_with_an_unknown_word_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_plan(tmp_path / "plan.toml")

"""Tuning a prompt on plain folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.models.seggpt.conftest import golden, load_model

from segcli.core.errors import UsageError
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.predictor import SegGPTPredictor
from segcli.registry.tuned import read_card, read_prompt
from segcli.train.loop import LoopConfig
from segcli.train.prompt import TuningPlan, mean_iou, tune
from segcli.train.prompt_data import read_lessons, richest
from segcli.train.state import load_state

LOOP = LoopConfig(steps=10, lr=0.05, warmup=0, weight_decay=0.0, clip=1.0, average=0.5, autocast=False, log_every=1)


def folder(root: Path, *, named: bool = False, count: int = 5) -> Path:
    """Photos with a bright square (3, "cat") and a strip (7, "sky"); the n-th has its own place for the square."""
    lines = []
    for number in range(count):
        ids = np.zeros((40, 48), np.uint8)
        ids[10:26, 4 + 3 * number : 20 + 3 * number], ids[34:] = 3, 7
        if number == 3:
            ids[ids == 3] = 0
        pixels = np.random.default_rng(number).integers(0, 90, (40, 48, 3), dtype=np.uint8)
        pixels[ids == 3] += 120
        for sub, picture in (("images", pixels), ("masks", ids)):
            (root / sub).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(picture).save(root / sub / f"{number}.png")
        objects = [{"id": i, "class": c, "thing": c == "cat"} for i, c in ((3, "cat"), (7, "sky")) if (ids == i).any()]
        lines.append(json.dumps({"image": f"images/{number}.png", "mask": f"masks/{number}.png", "objects": objects}))
    if named:
        (root / "objects.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def predictor() -> SegGPTPredictor:
    model = load_model(golden("c_full_single")).requires_grad_(False)
    return SegGPTPredictor(InContext(model), "seggpt.tiny", "12ab")


def test_masks_without_names_are_learned_by_their_ids(tmp_path: Path):
    lessons = read_lessons([folder(tmp_path)], "semantic", [], hold_out=4)
    assert dict(lessons.task.names) == {3: None, 7: None}
    assert [photo.name for photo in lessons.kept] == ["3"]
    example = lessons.read(lessons.learned[0])
    assert set(np.unique(example.ids)) == {0, 3, 7}
    assert example.instances is None


def test_a_class_takes_the_photos_that_show_it_and_becomes_id_1(tmp_path: Path):
    lessons = read_lessons([folder(tmp_path, named=True)], "semantic", ["cat"], hold_out=0)
    assert dict(lessons.task.names) == {1: "cat"}
    assert [photo.name for photo in lessons.learned] == ["0", "1", "2", "4"]
    assert set(np.unique(lessons.read(lessons.learned[1]).ids)) == {0, 1}
    with pytest.raises(UsageError, match="--class dog: no photo has it; those there are: cat, sky"):
        read_lessons([tmp_path], "semantic", ["dog"], hold_out=0)


def test_a_panoptic_task_knows_things_and_their_instances(tmp_path: Path):
    lessons = read_lessons([folder(tmp_path, named=True)], "panoptic", [], hold_out=0)
    assert (dict(lessons.task.names), lessons.task.things) == ({1: "cat", 2: "sky"}, {1})
    example = lessons.read(lessons.learned[0])
    assert example.instances is not None
    assert set(np.unique(example.instances)) == {0, 3}
    with pytest.raises(UsageError, match="--kind panoptic needs names of classes"):
        read_lessons([folder(tmp_path / "plain")], "panoptic", [], hold_out=0)


def test_it_begins_from_the_photo_that_shows_most(tmp_path: Path):
    lessons = read_lessons([folder(tmp_path)], "semantic", [], hold_out=0)
    assert [photo.name for photo in richest(lessons, 5)][-1] == "3"


def test_tuning_lowers_the_loss_writes_a_card_and_goes_on_where_it_was_stopped(
    tmp_path: Path, predictor: SegGPTPredictor
):
    lessons = read_lessons([folder(tmp_path / "data")], "semantic", [], hold_out=4)
    plan = TuningPlan(LOOP)
    whole = tune(predictor, lessons, plan, tmp_path / "whole.safetensors", device="cpu", say=lambda line: None)
    log = [json.loads(line) for line in (tmp_path / "whole.tuning" / "log.jsonl").read_text().splitlines()]
    assert np.mean([line["loss"] for line in log[-3:]]) < np.mean([line["loss"] for line in log[:3]])
    card = read_card(whole)
    assert (card.model, card.revision, card.steps, card.start) == ("seggpt.tiny", "12ab", 10, ("0",))
    assert card.data == lessons.fingerprint()
    assert set(card.figures) == {"iou_start", "iou_tuned"}
    fork = predictor.fork()
    fork.tune(read_prompt(whole), card.task)
    again = mean_iou(fork, [lessons.read(photo) for photo in lessons.kept], card.task)
    assert round(again, 4) == card.figures["iou_tuned"]

    stopped = tmp_path / "stopped.safetensors"
    state = tmp_path / "stopped.tuning" / "state.pt"
    import torch

    from segcli.train import loop

    class StoppedError(Exception):
        pass

    real = loop._save

    def save_then_stop(*arguments, **more):
        real(*arguments, **more)
        if arguments[4] == 4:
            raise StoppedError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "_save", save_then_stop)
        each = TuningPlan(LoopConfig(**{**LOOP.__dict__, "save_every": 2}))
        with pytest.raises(StoppedError):
            tune(predictor, lessons, each, stopped, device="cpu", say=lambda line: None)
    assert load_state(state)["step"] == 4
    tune(predictor, lessons, each, stopped, device="cpu", say=lambda line: None)
    for name, value in read_prompt(whole).items():
        torch.testing.assert_close(read_prompt(stopped)[name], value, atol=0, rtol=0)


def test_a_panoptic_prompt_is_tuned_for_classes_and_places_at_once(tmp_path: Path, predictor: SegGPTPredictor):
    lessons = read_lessons([folder(tmp_path / "data", named=True)], "panoptic", [], hold_out=4)
    two = TuningPlan(LoopConfig(**{**LOOP.__dict__, "steps": 2}))
    path = tune(predictor, lessons, two, tmp_path / "p.safetensors", device="cpu", say=lambda line: None)
    begun = predictor.tunable([lessons.read(richest(lessons, 1)[0])], lessons.task)
    tuned = read_prompt(path)
    assert set(tuned) == {"photo", "target", "places.photo", "places.target"}
    assert all((tuned[name] != value).any() for name, value in begun.items())
    assert read_card(path).task == lessons.task


def test_a_folder_of_another_run_is_refused(tmp_path: Path, predictor: SegGPTPredictor):
    lessons = read_lessons([folder(tmp_path / "data")], "semantic", [], hold_out=0)
    out = tmp_path / "p.safetensors"
    one = LoopConfig(**{**LOOP.__dict__, "steps": 1})
    tune(predictor, lessons, TuningPlan(one), out, device="cpu", say=lambda line: None)
    with pytest.raises(UsageError, match="was begun with another model, other photos or options"):
        tune(predictor, lessons, TuningPlan(LOOP), out, device="cpu", say=lambda line: None)


def test_a_card_names_the_model_that_a_prompt_is_for(tmp_path: Path, predictor: SegGPTPredictor):
    lessons = read_lessons([folder(tmp_path / "data")], "semantic", [], hold_out=0)
    one = LoopConfig(**{**LOOP.__dict__, "steps": 1})
    path = tune(predictor, lessons, TuningPlan(one), tmp_path / "p.safetensors", device="cpu", say=lambda line: None)
    card = read_card(path)
    card.check_model(path, "seggpt.tiny", "12ab")
    with pytest.raises(UsageError, match=r"is a prompt for seggpt\.tiny \(12ab\), not for other"):
        card.check_model(path, "other", "12ab")
    with pytest.raises(UsageError, match=r"is a prompt for seggpt\.tiny \(12ab\), this is seggpt\.tiny \(99\)"):
        card.check_model(path, "seggpt.tiny", "99")

"""Training of psalm-nano on drawn photos: its words, its lessons, and a run from photos to a member that opens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.ask import Ask, Point
from segcli.core.errors import StorageError, UsageError
from segcli.core.image import Image
from segcli.models.psalm.config import PRESETS
from segcli.models.psalm.predictor import PsalmPredictor
from segcli.models.psalm.prompts import class_ids
from segcli.registry.load import open_model
from segcli.registry.places import BUNDLED
from segcli.train.psalm_nano import read_plan, train_nano
from segcli.train.psalm_nano_data import NanoLessons, NanoSchool, mark
from segcli.train.psalm_nano_views import View, save
from segcli.train.psalm_nano_words import listed_forms, plain, talk, tokenizer

LITE = BUNDLED / "lite0.safetensors"
SIDE = PRESETS["lite0"].image_size


def view(seed: int) -> View:
    """Two dogs on grass; the encoder's maps are noise."""
    ids = np.full((SIDE, SIDE), 3, np.uint8)
    ids[20:60, 30:90] = 1
    ids[100 + seed : 180, 120:200] = 2
    maps = {"res4": torch.randn(112, 16, 16, generator=torch.Generator().manual_seed(seed))}
    return View(maps, ids, {1: "dog", 2: "dog", 3: "grass"}, {1: True, 2: True, 3: False}, True)


@pytest.fixture
def school() -> NanoSchool:
    words = tokenizer(["dog", "grass", "cat"])
    drawn = NanoSchool([view(0), view(5)], words, 64, NanoLessons(listing=(3, 3), panoptic=0.0))
    drawn.names.append("cat")
    return drawn


def test_classes_are_named_in_a_drawn_order_and_their_labels_go_back_to_the_lists(school: NanoSchool):
    lesson = school.classes(view(0), 3, np.random.default_rng(0))
    said = [list(piece.ids) for piece in lesson.pieces if piece.kind == "class"]
    assert said[int(lesson.shown_at[0])] == class_ids("grass", school.tokenizer)  # the largest area comes first
    assert said[int(lesson.shown_at[1])] == class_ids("dog", school.tokenizer)
    assert lesson.targets.labels.tolist() == [0, 1, 1]
    assert lesson.targets.masks.flatten(1).sum(1).tolist() == [(view(0).ids == n).sum() for n in (3, 1, 2)]


def test_a_phrase_means_everything_of_its_class(school: NanoSchool):
    areas = {float(school.sentence(view(0), np.random.default_rng(k)).targets.masks.sum()) for k in range(12)}
    assert areas == {float(np.isin(view(0).ids, (1, 2)).sum()), float((view(0).ids == 3).sum())}


def test_a_question_that_is_answered_yes_names_what_is_there():
    for seed in range(30):
        turn = talk(("dog", "grass"), ("dog", "cat")[seed % 2], np.random.default_rng(seed))
        assert turn.answer in (("yes.", "no.")[seed % 2], "dog, grass.")


@given(st.integers(0, 10_000))
def test_every_mark_touches_what_it_marks(seed: int):
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIDE, SIDE), np.bool_)
    top, left = (int(v) for v in rng.integers(0, SIDE - 12, 2))
    mask[top : top + 1 + seed % 12, left : left + 5] = True
    assert (mark(mask, rng) & mask).any()


def test_views_that_were_not_kept_to_the_end_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    save([view(0)], tmp_path / "views.pt")
    before = (tmp_path / "views.pt").read_bytes()
    monkeypatch.setattr(torch, "save", lambda views, path: (path.write_bytes(b"half"), killed()))
    with pytest.raises(KeyboardInterrupt):
        save([view(1)], tmp_path / "views.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["views.pt"]
    assert (tmp_path / "views.pt").read_bytes() == before


def test_views_that_find_no_room_are_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos\n3112768")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match=r"views.pt: can't be written .*; make room there"):
        save([view(0)], tmp_path / "views.pt")


def test_names_of_the_panoptic_list_are_known_in_both_forms():
    assert plain("floor-wood") == "wood floor"
    assert plain("sky-other-merged") == "sky"
    assert listed_forms()["window blind"] == "window-blind"
    assert tokenizer(["dog"]).strange("sky-other-merged and a blorp") == ["blorp"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nano")
    lines = []
    for k in range(2):
        ids = np.full((60, 80), 2, np.uint8)
        ids[10 : 40 + k, 20:60] = 1
        pixels = np.where((ids == 1)[..., None], (200, 30, 30), (40, 140, 40)).astype(np.uint8)
        for kind, array in (("images", pixels), ("masks", ids)):
            (root / kind).mkdir(exist_ok=True)
            PIL.Image.fromarray(array).save(root / kind / f"{k}.png")
        objects = [{"id": 1, "class": "square", "thing": True}, {"id": 2, "class": "grass", "thing": False}]
        line = {"image": f"images/{k}.png", "mask": f"masks/{k}.png", "objects": objects}
        lines.append(json.dumps({**line, "complete": True, "stuff_labelled": True}))
    (root / "objects.jsonl").write_text("\n".join(lines))
    return root


def test_a_short_run_makes_a_member_that_opens_and_refuses_words_it_never_saw(data: Path, tmp_path: Path):
    plan = tmp_path / "plan.toml"
    plan.write_text("batch = 2\nzooms = 1\n[lessons]\nlisting = [2, 2]\n[loss]\npoints = 32\n[loop]\nsteps = 3\n")
    path = train_nano(read_plan(plan), [data], tmp_path / "out", LITE, say=lambda line: None)
    opened = open_model(str(path), device="cpu", dtype="fp32", say=lambda line: None)
    assert isinstance(opened, PsalmPredictor)
    pixels = np.asarray(PIL.Image.open(data / "images" / "0.png"))
    seen = opened.encode([Image(pixels=pixels, size=pixels.shape[:2], name="0")])[0]
    assert opened.decode(seen, [Ask(points=(Point(40, 25),))])[0].size == (60, 80)
    with pytest.raises(UsageError, match=r"does not know the word 'sqare'.*square"):
        opened.decode(seen, [Ask(text="the sqare")])


def test_a_plan_with_a_word_that_nothing_reads_is_refused(tmp_path: Path):
    plan = tmp_path / "plan.toml"
    plan.write_text("[loop]\nstep = 3\n")
    with pytest.raises(UsageError, match="loop: unknown step; it may say"):
        read_plan(plan)

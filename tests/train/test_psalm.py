"""PSALM's two stages of training, on drawn photos and a tiny network."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL.Image
import pytest
import torch

from segcli.core.ask import Ask
from segcli.core.errors import StorageError, UsageError
from segcli.core.image import Image
from segcli.datasets import folders
from segcli.models.psalm.config import PRESETS, PsalmConfig
from segcli.models.psalm.decoder import StagePrediction
from segcli.models.psalm.layout import expand
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.prompts import IGNORED, sentence_ids, sentence_prompt
from segcli.models.psalm.tokenizer import FILES, Tokenizer, read_tokenizer
from segcli.registry.load import open_model
from segcli.train.psalm import LOOPS, PsalmObjective, PsalmRecipe, prepare
from segcli.train.psalm_data import (
    School,
    batches,
    class_source,
    read_talks,
    region_source,
    sentence_source,
    word_source,
)
from segcli.train.psalm_loss import PsalmLossConfig
from segcli.train.psalm_run import PsalmData, fresh, run_stage, sources_of
from segcli.train.state import load_state

TOKENIZER = Path(__file__).parents[1] / "goldens" / "data" / "psalm" / "prompts_tokenizer.json"
CONFIG = replace(PRESETS["nano"], image_size=128, planes=32)
LOSS = PsalmLossConfig(points=64)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return read_tokenizer({FILES[0]: TOKENIZER.read_bytes()}, "tiny")


@pytest.fixture(scope="module")
def school(tokenizer: Tokenizer) -> School:
    return School(CONFIG, tokenizer)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PsalmData:
    """Three photos of a red square and a blue disc on green, what they are called, and what is said about them."""
    root = tmp_path_factory.mktemp("psalm")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    rows, columns = np.mgrid[:40, :60]
    lines, talks, images, annotations, refs = [], [], [], [], []
    for k in range(3):
        ids = np.zeros((40, 60), np.uint8)
        ids[5 + k : 20 + k, 5:25] = 1
        ids[(rows - 25) ** 2 + (columns - 42 + k) ** 2 < 120] = 2
        photo = np.full((40, 60, 3), (40, 140, 40), np.uint8)
        photo[ids == 1], photo[ids == 2] = (200, 30, 30), (30, 30, 200)
        PIL.Image.fromarray(photo).save(root / "images" / f"{k}.png")
        PIL.Image.fromarray(ids).save(root / "masks" / f"{k}.png")
        objects = [{"id": 1, "class": "square", "thing": True}, {"id": 2, "class": "disc", "thing": True}]
        lines.append(json.dumps({"image": f"images/{k}.png", "mask": f"masks/{k}.png", "objects": objects}))
        said = [
            {"from": "human", "value": "What is it?\n<image>"},
            {"from": "gpt", "value": f"Shapes {k}."},
            {"from": "human", "value": "Really?"},
            {"from": "gpt", "value": "Yes."},
        ]
        talks.append({"id": k, "image": f"{k}.png", "conversations": said})
        images.append({"id": k, "file_name": f"{k}.png", "height": 40, "width": 60})
        box = [5, 5 + k, 25, 5 + k, 25, 20 + k, 5, 20 + k]
        annotations.append({"id": k, "image_id": k, "segmentation": [box], "iscrowd": 0, "category_id": 1})
        sentences = [{"sent_id": 2 * k + j, "sent": text} for j, text in enumerate(("red square", "the left one"))]
        refs.append({"ref_id": k, "ann_id": k, "image_id": k, "split": "train", "sentences": sentences})
    (root / "objects.jsonl").write_text("\n".join(lines))
    (root / "talks.json").write_text(json.dumps([*talks, {"id": "text only", "conversations": []}]))
    (root / "refer").mkdir()
    content = {"images": images, "annotations": annotations, "categories": []}
    (root / "refer" / "instances.json").write_text(json.dumps(content))
    (root / "refer" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    return PsalmData((root,), (root / "refer",), (root / "talks.json",), root / "images")


def photos(data: PsalmData) -> list[folders.Photo]:
    return list(folders.photos(data.folders[0]))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tiny(config: PsalmConfig = CONFIG) -> Psalm:
    torch.manual_seed(0)
    model = Psalm(config)
    torch.nn.init.normal_(model.mask_tokens, std=0.02)
    return model


def test_classes_are_shuffled_in_the_prompt_and_put_back_in_order(school: School, data: PsalmData):
    source = class_source(school, photos(data))
    orders = set()
    for seed in range(8):
        lesson = source(rng(seed))
        assert lesson is not None
        said = [school.tokenizer.decode(p.ids[:-1]) for p in lesson.pieces if p.kind == "class"]
        orders.add(tuple(said))
        assert [said[at] for at in lesson.shown_at.tolist()] == ["disc", "square", "background"]
        assert lesson.targets.labels.tolist() == [1, 0]  # the mask's ids 1 and 2: square and disc
    assert len(orders) == 2


def test_each_region_has_a_prompt_and_a_target_at_the_networks_size(school: School, data: PsalmData):
    lesson = region_source(school, photos(data))(rng(3))
    assert lesson is not None
    assert len(lesson.regions) == len(lesson.targets.masks) == sum(p.kind == "region" for p in lesson.pieces) == 2
    assert all(bool(region.any()) and region.shape == (128, 128) for region in lesson.regions)


def test_all_sentences_of_a_reference_are_one_prompt(school: School, data: PsalmData):
    lesson = sentence_source(school, data.refer[0], data.photos)(rng(0))
    assert lesson is not None
    words = next(p.ids for p in lesson.pieces if p.kind == "sentence")
    assert school.tokenizer.decode(words[:-1]) == " red square. the left one."
    assert lesson.targets.masks.shape == (1, 128, 128)


def test_answers_are_learned_and_nothing_else(school: School, data: PsalmData):
    lesson = word_source(school, read_talks(data.talks[0], data.photos))(rng(0))
    assert lesson is not None
    learned = lesson.labels[lesson.labels != IGNORED].tolist()
    assert school.tokenizer.decode(learned).replace(" ", "") in {f"Shapes{k}.Yes." for k in range(3)}
    assert learned.count(school.tokenizer.end) == 2


def test_a_caption_is_the_photo_and_the_words(school: School, data: PsalmData):
    lesson = word_source(school, read_talks(data.talks[0], data.photos), plain=True)(rng(0))
    assert lesson is not None
    assert [p.kind for p in lesson.pieces] == ["image", "text"]
    assert len(lesson.labels) == CONFIG.image_tokens + len(lesson.pieces[1].ids)


def test_the_same_seed_gives_the_same_lessons_and_every_kind_comes(school: School, data: PsalmData):
    sources = sources_of(school, data, stage=2)
    assert len(sources) == 4

    def kinds(stream: Iterator[list]) -> list[tuple]:
        return [(b[0].kind, *(float(x.pixels.sum()) for x in b)) for b in (next(stream) for _ in range(12))]

    first = kinds(batches(sources, 2, 5))
    assert kinds(batches(sources, 2, 5)) == first
    assert {each[0] for each in first} == {"classes", "regions", "sentence", "words"}


@pytest.mark.parametrize("decoupled", [True, False])
def test_every_kind_of_batch_has_finite_losses_whose_gradient_reaches_what_is_trained(
    school: School, data: PsalmData, decoupled: bool
):
    model = prepare(tiny(replace(CONFIG, decoupled=decoupled)), PsalmRecipe())
    objective = PsalmObjective(PsalmRecipe(loss=LOSS))
    model.train()
    for source in sources_of(school, data, stage=2):
        lessons = [lesson for seed in range(2) if (lesson := source(rng(seed))) is not None]
        model.zero_grad()
        losses = objective(model, lessons)
        assert all(bool(torch.isfinite(value)) for value in losses.values())
        torch.stack(list(losses.values())).sum().backward()
        assert model.swin.patch_embed.proj.weight.grad is None
        assert float(model.projector.fc.weight.grad.abs().sum()) > 0
        if lessons[0].kind == "words":
            assert set(losses) == {"loss_words"}
        else:
            assert len(losses) == 3 * (CONFIG.decoder.layers + 1)
            assert float(model.decoder.mask_embed.layers[0].weight.grad.abs().sum()) > 0


def test_a_batch_is_the_mean_of_its_lessons(school: School, data: PsalmData):
    """Shorter sequences are padded behind their end, where no position looks."""
    model = tiny().eval()
    source = word_source(school, read_talks(data.talks[0], data.photos))
    long, short = source(rng(0)), word_source(school, read_talks(data.talks[0], data.photos), plain=True)(rng(0))
    objective = PsalmObjective(PsalmRecipe(loss=LOSS))
    alone = [objective(model, [lesson])["loss_words"].item() for lesson in (long, short)]
    learned = [int((lesson.labels[1:] != IGNORED).sum()) for lesson in (long, short)]
    together = objective(model, [long, short])["loss_words"].item()
    assert together == pytest.approx(np.average(alone, weights=learned), abs=1e-5)


def test_sentences_of_different_lengths_share_a_batch(school: School, data: PsalmData):
    """What fills the shorter one up is no part of it: the queries get the same states as alone."""
    words = [sentence_ids([text], school.tokenizer) for text in ("red", "the large red square at the left")]
    lesson = sentence_source(school, data.refer[0], data.photos)(rng(0))
    long, short = (replace(lesson, pieces=expand(sentence_prompt(school.tokenizer), (), own)) for own in words[::-1])
    model, seen = tiny().eval(), []
    model.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[1:3]))
    for batch in ([long, short], [long], [short]):
        PsalmObjective(PsalmRecipe(loss=LOSS))(model, batch)
    for row in range(2):
        assert torch.allclose(seen[0][0][row], seen[1 + row][0][0], atol=1e-5)
        assert torch.allclose(seen[0][1].sentence[row], seen[1 + row][1].sentence[0], atol=1e-5)


def test_recomputed_layers_give_the_same_gradient(school: School, data: PsalmData):
    lesson = region_source(school, photos(data))(rng(3))
    grads = []
    for checkpointing in (False, True):
        recipe = PsalmRecipe(loss=LOSS, checkpointing=checkpointing)
        model = prepare(tiny(replace(CONFIG, swin=replace(CONFIG.swin, drop_path=0.0))), recipe).train()
        losses = PsalmObjective(recipe)(model, [lesson])
        torch.stack(list(losses.values())).sum().backward()
        grads.append(model.language.layers[0].mlp.fc1.weight.grad)
    assert torch.allclose(*grads, atol=1e-5)


def test_the_first_stage_trains_the_projector_alone():
    model = prepare(tiny(), PsalmRecipe(stage=1))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("projector.")}


def test_the_stages_are_the_published_ones():
    assert (LOOPS[1].steps, LOOPS[1].lr, LOOPS[1].warmup) == (4650, 2e-3, 140)
    assert (LOOPS[2].steps, LOOPS[2].lr, LOOPS[2].warmup) == (56_000, 4e-5, 1680)


def test_a_stage_goes_from_random_weights_to_a_file_that_opens_and_answers(data: PsalmData, tmp_path: Path):
    def leg(steps: int) -> Path:
        model, words = fresh("nano", TOKENIZER, 0)
        recipe = PsalmRecipe(loss=LOSS)
        return run_stage(model, words, data, recipe, tmp_path, steps=steps, lr=1e-3, batch=1, total=1, say=str)

    leg(1)
    path = leg(2)  # goes on where the first leg stopped
    state = load_state(tmp_path / "state.pt")
    assert state["step"] == 2
    model = open_model(str(path), device="cpu", say=lambda line: None)
    photo = Image(pixels=np.zeros((30, 40, 3), np.uint8), size=(30, 40))
    assert model.decode(model.encode([photo])[0], [Ask(text="a square")])[0].size == (30, 40)
    start, _ = fresh("nano", TOKENIZER, 0)
    assert torch.equal(model.model.swin.patch_embed.proj.weight, start.swin.patch_embed.proj.weight.half().float())
    assert not torch.equal(model.model.lm_head.weight, start.lm_head.weight.half().float())


def test_a_photo_without_targets_takes_the_same_draws_and_costs_no_mask():
    from segcli.train.points import SeededUniform
    from segcli.train.psalm_loss import PsalmLoss, Targets

    class Asked(SeededUniform):
        shapes: ClassVar[list[tuple[int, ...]]] = []

        def uniform(self, shape: tuple[int, ...]) -> torch.Tensor:
            self.shapes.append(shape)
            return super().uniform(shape)

    stage = StagePrediction(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 3))
    draws = Asked(0)
    losses = PsalmLoss(PsalmLossConfig(points=16), draws)([stage], [Targets(torch.zeros(0, 8, 8), torch.zeros(0))])
    assert float(losses["loss_mask"]) == float(losses["loss_dice"]) == 0
    assert draws.shapes == [(1, 16, 2), (0, 48, 2), (0, 4, 2)]


def test_a_query_that_nobody_matched_is_background(school: School):
    stage = StagePrediction(torch.zeros(1, 3, 8, 8), torch.tensor([[[9.0, 0, 0], [0, 0, 9], [0, 0, 9]]]))
    from segcli.train.points import SeededUniform
    from segcli.train.psalm_loss import PsalmLoss, Targets

    loss = PsalmLoss(PsalmLossConfig(points=16), SeededUniform(0))
    targets = Targets(torch.ones(1, 8, 8), torch.tensor([0]))
    right, matches = loss.with_matches([stage], [targets])
    assert matches[0][0][0].tolist() == [0]
    assert float(right["loss_class_name_class"]) < 0.01
    nothing = Targets(torch.zeros(0, 8, 8), torch.zeros(0, dtype=torch.long))
    assert all(bool(torch.isfinite(v)) for v in loss([stage], [nothing]).values())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not LLaVA's JSON"),
        ("[]", "no conversation about a photo"),
        ('[{"image": "a.jpg"}]', "not LLaVA's JSON"),
        ('[{"image": "a.jpg", "conversations": [{"from": "gpt", "value": "x"}]}]', "human, gpt"),
    ],
)
def test_a_broken_file_of_talks_is_named(tmp_path: Path, content: str, words: str):
    path = tmp_path / "talks.json"
    path.write_text(content)
    with pytest.raises(StorageError, match=words) as refused:
        read_talks(path, tmp_path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_without_data_says_what_to_type(school: School, stage: int):
    with pytest.raises(UsageError, match="give --"):
        sources_of(school, PsalmData(), stage)


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        (["--stage", "3", "--start", "x"], 2, "--stage 3"),
        (["--stage", "2"], 2, "--start NAME"),
        (["--stage", "2", "--config", "nano"], 2, "--tokenizer FILE"),
        (["--stage", "2", "--start", "x", "--lr", "-1"], 2, "--lr -1"),
        (["--stage", "2", "--start", "x", "--data", "nowhere"], 4, "nowhere: no such folder"),
        (["--stage", "2", "--start", "x", "--talks", "nothing.json"], 4, "nothing.json: no such file"),
        (["--stage", "2", "--start", "psalm.tyni"], 2, "psalm.tyni"),
        (["--stage", "2", "--config", "nano", "--tokenizer", str(TOKENIZER)], 2, "give --data DIR"),
        (["--stage", "1", "--config", "nano", "--tokenizer", str(TOKENIZER)], 2, "give --talks FILE.json"),
        (["--stage", "2", "--start", "seem-nano"], 2, "is no PSALM"),
    ],
)
def test_what_seg_train_psalm_cannot_do_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: list[str],
    code: int,
    words: str,
):
    from segcli.cli.app import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["train", "psalm", "--out", "run", *typed])
    said = capsys.readouterr().err
    assert left.value.code == code
    assert words in said
    assert "Traceback" not in said

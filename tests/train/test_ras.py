"""Training RAS: the nano member on drawn photos, and the published stages on tiny models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from segcli.core.ask import Ask
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.image import Image
from segcli.core.rle import encode, iou
from segcli.datasets.folders import photos
from segcli.models.ras.config import EncoderConfig, LanguageConfig, RasConfig
from segcli.models.ras.model import Ras
from segcli.models.ras.predictor import RasPredictor
from segcli.registry.load import open_model
from segcli.train import ras_stages
from segcli.train.groups import from_instances, write
from segcli.train.groups_rules import Meant
from segcli.train.loop import LoopConfig
from segcli.train.ras import (
    RasRecipe,
    accuracy,
    export,
    fold,
    loss_of,
    moments,
    read_plan,
    sample,
    standardised,
    tokenizer,
)
from segcli.train.ras_names import labels_of, learn
from segcli.train.ras_run import Files, run_stage
from segcli.train.ras_samples import draw, plural
from segcli.train.ras_scenes import mirrored, objects_of, scene_of
from segcli.train.ras_start import assemble
from segcli.train.ras_views import view
from segcli.train.ras_warm import go_on

CPU = torch.device("cpu")
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14, "intermediate_size": 32}


def draw_photo(folder: Path, name: str, blocks: list[tuple[int, int, int, str]]) -> None:
    """Blocks x, y, id and class on grey, with their list."""
    pixels, ids = np.full((60, 80, 3), 128, np.uint8), np.zeros((60, 80), np.uint8)
    for x, y, number, word in blocks:
        pixels[y : y + 16, x : x + 16] = (220, 20, 20) if word == "cup" else (20, 40, 220)
        ids[y : y + 16, x : x + 16] = number
    for part, picture in (("images", pixels), ("masks", ids)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(picture).save(folder / part / f"{name}.png")
    line = {
        "image": f"images/{name}.png", "mask": f"masks/{name}.png", "complete": True,
        "objects": [{"id": number, "class": word, "thing": True} for _, _, number, word in blocks],
    }  # fmt: skip
    with (folder / "objects.jsonl").open("a") as lines:
        lines.write(json.dumps(line) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "blocks"
    draw_photo(root, "a", [(4, 4, 1, "cup"), (50, 6, 2, "dog"), (20, 40, 3, "cup")])
    return root


def predictor(**changes: object) -> RasPredictor:
    torch.manual_seed(0)
    words = tokenizer(["cup", "dog"], 300)
    language = LanguageConfig(hidden=32, layers=2, heads=4, ffn=64, vocabulary=len(words), context=600)
    config = RasConfig(
        (EncoderConfig("colours", 16),), language, positions=8, position_side=8, geometry=True, visual_tokens=False,
        template="plain", **changes,  # type: ignore[arg-type]
    )  # fmt: skip
    return RasPredictor(Ras(config), words, "tiny", "0", CPU, lambda line: None)


def scene(folder: Path, model: RasPredictor):
    (photo,) = photos(folder)
    rng = np.random.default_rng(0)
    found = scene_of(model, photo.pixels(), objects_of(photo, photo.pixels(), photo.ids(), rng))
    assert found is not None
    return found


def test_objects_know_their_colour_neighbours_and_whole(folder: Path) -> None:
    draw_photo(folder, "b", [(4, 4, 1, "cup"), (20, 4, 2, "dog")])
    _, photo = photos(folder)
    found = objects_of(photo, photo.pixels(), photo.ids(), np.random.default_rng(0))
    assert found.colours == ("red", "blue")
    assert found.categories == ("cup", "dog")
    assert found.touching.tolist() == [[False, True], [True, False]]
    assert found.purity.shape == (len(found.extra), 2)
    assert (found.purity <= 1).all()


def test_a_mirrored_scene_has_its_places_mirrored_and_looks_the_same(folder: Path) -> None:
    model = predictor()
    one = scene(folder, model)
    other = mirrored(model, one)
    seen = one.features.shape[1] - model.model.place_width
    torch.testing.assert_close(other.features[:, :seen], one.features[:, :seen])
    assert [box[0] for box in other.objects.boxes] == [80 - box[2] for box in one.objects.boxes]
    assert (other.features[:, seen:] - one.features[:, seen:]).abs().max() > 0.1


def test_every_drawn_sentence_means_objects_of_the_photo(folder: Path) -> None:
    objects = scene(folder, predictor()).objects
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(300):
        meant = draw(objects, rng, ["cup", "dog", "sheep"])
        kinds.add(meant.kind)
        assert meant.sentence.count("<mask-ref>") == len(meant.references)
        assert set(meant.targets) <= {0, 1, 2}
        assert "{" not in meant.sentence
        if meant.kind == "absent":
            assert "sheep" in meant.sentence
            assert not meant.targets
        if meant.kind == "same class":
            assert meant.references[0] in meant.targets
    assert {"class", "same class", "colour", "position", "position of", "size", "on", "combined"} <= kinds
    assert {draw(objects, rng, [], first=1).kind for _ in range(20)} == {"position"}


@pytest.mark.parametrize(
    ("word", "several"), [("dog", "dogs"), ("bus", "buses"), ("person", "people"), ("couch", "couches")]
)
def test_nouns_have_their_plural(word: str, several: str) -> None:
    assert plural(word) == several


def test_folding_takes_the_scale_of_features_into_the_projector(folder: Path) -> None:
    model = predictor()
    raw = scene(folder, model)
    mean, deviation = moments([raw])
    (normal,) = standardised([raw], mean, deviation)
    with torch.no_grad():
        expected = model.model.mask_projector(normal.features)
        fold(model.model, mean, deviation)
        torch.testing.assert_close(model.model.mask_projector(raw.features), expected, atol=1e-4, rtol=1e-4)


def test_going_on_keeps_what_was_known_of_features_and_words(folder: Path) -> None:
    old, new = predictor(), predictor(names=3, relations=True)
    with torch.no_grad():
        for parameter in old.model.parameters():
            parameter.add_(0.01)
    raw = scene(folder, old)
    mean, deviation = moments([raw])
    (normal,) = standardised([raw], mean, deviation)
    go_on(new.model, old.model, mean, deviation)
    with torch.no_grad():
        expected = old.model.mask_projector(raw.features)
        torch.testing.assert_close(new.model.mask_projector(normal.features), expected, atol=1e-3, rtol=1e-3)
    assert torch.equal(new.model.classifier[0].weight, old.model.classifier[0].weight)
    assert new.model.matches is not None
    assert not new.model.matches.pair[-1].weight.any()
    with pytest.raises(CheckpointError, match="--start"):
        go_on(predictor(pre_tokens="none").model, old.model, mean, deviation)


def test_candidates_that_are_half_an_object_count_for_nothing(folder: Path) -> None:
    model = predictor()
    found = scene(folder, model)
    rng = np.random.default_rng(1)
    drawn = sample(found, draw(found.objects, rng, []), model.words, RasRecipe(extra=1.0), "plain", rng)
    assert len(drawn.labels) == len(found.features) + len(found.extra)
    assert set(drawn.labels.tolist()) <= {-1.0, 0.0, 1.0}
    with torch.no_grad():
        losses = loss_of(model.model, [drawn], 2.0)
        drawn.labels[drawn.labels < 0] = -1.0
        torch.testing.assert_close(loss_of(model.model, [drawn], 2.0)["selection"], losses["selection"])


def test_worn_copies_are_near_their_objects_and_change_nothing_else(folder: Path) -> None:
    (photo,) = photos(folder)
    plain, more = (
        objects_of(photo, photo.pixels(), photo.ids(), np.random.default_rng(0), copies) for copies in (0, 2)
    )
    assert more.masks == plain.masks
    assert more.extra[: len(plain.extra)] == plain.extra
    copies = more.extra[len(plain.extra) :]
    assert len(copies) == 2
    for copy in copies:
        assert 0.4 < iou([copy], more.masks).max() < 1


def test_a_largest_object_is_always_among_the_candidates(folder: Path) -> None:
    found = scene(folder, predictor())
    rng = np.random.default_rng(0)
    words = tokenizer(["cup"], 300)
    for target in range(3):
        meant = Meant("superlative", "largest", (), (target,))
        assert sample(found, meant, words, RasRecipe(most=1, extra=0), "plain", rng).labels.sum() == 1


def test_views_keep_photo_and_ids_together(folder: Path) -> None:
    (photo,) = photos(folder)
    rng = np.random.default_rng(0)
    for _ in range(10):
        pixels, ids = view(photo.pixels(), photo.ids(), rng)
        assert pixels.shape[:2] == ids.shape
        assert pixels.dtype == ids.dtype == np.uint8
        red = (pixels[..., 0].astype(int) - pixels[..., 2]) > 60
        assert (red == np.isin(ids, (1, 3))).mean() > 0.95


def test_heads_are_asked_about_photos_that_they_were_not_trained_on(folder: Path) -> None:
    model = predictor(names=3)
    raw = scene(folder, model)
    scenes = [replace(raw, photo=n) for n in range(4)]
    assert model.model.names is not None
    assert labels_of(raw, ["cup", "dog"])[:3].tolist() == [0, 1, 0]
    heard: list[str] = []
    chances = learn(model.model.names, scenes, ["cup", "dog"], folds=2, steps=40, noise=0.1, say=heard.append)
    assert [tuple(c.shape) for c in chances] == [(3 + len(raw.extra), 3)] * 4
    assert [int(c) for c in chances[0][:3].argmax(1)] == [0, 1, 0]
    assert "1.000 right" in heard[0]
    torch.testing.assert_close(chances[0], chances[2])
    assert not torch.equal(chances[0], chances[1])


def test_names_reach_the_words_of_a_trained_checkpoint(folder: Path, tmp_path: Path) -> None:
    model = predictor(names=3, relations=True)
    raw = scene(folder, model)
    drawn = sample(
        raw, Meant("class", "all cups", (), (0, 2)), model.words, RasRecipe(extra=0), "plain", np.random.default_rng(0)
    )
    assert set(accuracy(model.model, [drawn])) == {"candidates", "groups", "cIoU", "class"}
    path = export(model.model, model.words, tmp_path / "named.safetensors", shared="")
    again = open_model(str(path), device="cpu", say=lambda line: None)
    assert isinstance(again, RasPredictor)
    assert again.model.names is not None
    assert model.model.names is not None
    assert torch.equal(again.model.names.ids, model.model.names.ids)
    (photo,) = photos(folder)
    (encoded,) = again.encode([Image(photo.pixels(), raw.objects.size)])
    ask = Ask(text="all cups", candidates=raw.objects.masks, threshold=0.0)
    assert len(again.decode(encoded, [ask])[0]) == 3


def test_a_sentence_is_learnt(folder: Path) -> None:
    model = predictor(decoding_attention="set", pre_tokens="added")
    raw = scene(folder, model)
    (normal,) = standardised([raw], *moments([raw]))
    rng = np.random.default_rng(0)
    recipe = RasRecipe(extra=0.0)
    optimiser = torch.optim.AdamW(model.model.parameters(), lr=3e-3)
    seen = []
    for _ in range(60):
        batch = [
            sample(normal, draw(normal.objects, rng, [], first=1), model.words, recipe, "plain", rng) for _ in range(8)
        ]
        loss = loss_of(model.model, batch, 2.0)["selection"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert np.mean(seen[-10:]) < 0.7 * np.mean(seen[:10])


def test_a_plan_is_read_and_what_it_can_not_say_is_named(tmp_path: Path) -> None:
    config, recipe, loop, seed = read_plan(Path(__file__).parents[2] / "configs" / "ras-nano.toml")
    assert (config.language.hidden, recipe.views, loop.autocast, seed) == (128, 2, False, 0)
    plan = tmp_path / "plan.toml"
    plan.write_text("[recipe]\nwheels = 4\n")
    with pytest.raises(UsageError, match="wheels"):
        read_plan(plan)
    plan.write_text("wheels = 4\n")
    with pytest.raises(UsageError, match="unknown wheels"):
        read_plan(plan)


def test_stages_have_the_published_rates() -> None:
    first, second = ras_stages.stage_of("1"), ras_stages.stage_of("2")
    assert (first.lr, first.batch, first.epochs, first.parts) == (1e-3, 128, 1, ("mask_projector.", "mask_pool_pre"))
    assert (second.lr, second.batch, second.epochs) == (2e-5, 128, 1)
    assert [ras_stages.stage_of("finetune", t).epochs for t in ("ores", "gres", "res")] == [4, 4, 2]  # type: ignore[arg-type]
    assert ras_stages.stage_of("finetune").batch == 64
    with pytest.raises(UsageError, match="type 1, 2 or finetune"):
        ras_stages.stage_of("3")
    assert second.loop(1000) == LoopConfig(
        steps=8, lr=2e-5, final_lr=0.0, warmup=1, weight_decay=0.0, clip=1.0, accumulate=128, average=0.0
    )


def published(words_count: int) -> tuple[RasConfig, dict[str, torch.Tensor]]:
    """A tiny config with CLIP, and a LLaVA file for it."""
    language = LanguageConfig(hidden=32, layers=1, heads=4, ffn=64, vocabulary=words_count, context=600)
    config = RasConfig((EncoderConfig("clip", 56, VIT),), language, positions=8, position_side=8)
    model = Ras(config)
    files = {f"language_model.model.{k}": v for k, v in model.language_model.state_dict().items()}
    assert model.image_projector is not None
    for ours, theirs in (("0", "linear_1"), ("2", "linear_2")):
        for leaf in ("weight", "bias"):
            files[f"multi_modal_projector.{theirs}.{leaf}"] = model.image_projector.state_dict()[f"{ours}.{leaf}"]
    for key, value in model.encoders[0].get_submodule("model").state_dict().items():
        files[f"vision_tower.vision_model.{key}"] = value
    return config, {**files, "language_model.lm_head.weight": torch.randn(words_count, 32)}


def test_llava_and_encoders_are_put_together_with_new_parts(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    config, files = published(40)
    path = tmp_path / "llava.safetensors"
    save_file({k: v.contiguous() for k, v in files.items()}, path)
    model, head = assemble(config, [path], {})
    assert head.shape == (40, 32)
    table = files["language_model.model.embed_tokens.weight"]
    torch.testing.assert_close(model.mask_ref_pre, table.mean(0), check_dtype=False)
    assert not [n for n, p in model.named_parameters() if p.is_meta or not torch.isfinite(p).all()]
    twice = RasConfig((*config.encoders, EncoderConfig("dinov2", 56, {**VIT})), config.language)
    with pytest.raises(CheckpointError, match="--encoder dinov2=FILE"):
        assemble(twice, [path], {})


def test_stage_one_trains_the_projector_alone_on_captions_without_the_photos_tokens(tmp_path: Path) -> None:
    model = predictor()
    photo = tmp_path / "a.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(photo)
    mask = encode(np.pad(np.ones((5, 5), bool), ((3, 12), (4, 21))))
    (tmp_path / "captions.json").write_text(
        json.dumps(
            [{"image": "a.png", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "a dog"}]}]
        )
    )
    (tmp_path / "masks.jsonl").write_text(json.dumps({"image": "a.png", "masks": [{"rle": mask.coco()}]}) + "\n")
    (caption,) = ras_stages.read_captions(tmp_path / "captions.json", tmp_path / "masks.jsonl")
    assert (caption.text, caption.masks) == ("a dog", (mask,))
    ras_stages.trained_only(model.model, ras_stages.PROJECTOR.parts)
    head = torch.randn(len(model.words), 32)
    loss = ras_stages.caption_loss(model, head, caption, tmp_path)["caption"]
    loss.backward()
    moved = {n.split(".")[0] for n, p in model.model.named_parameters() if p.grad is not None}
    assert moved == {"mask_projector", "mask_pool_pre"}


def test_stage_two_goes_on_from_a_checkpoint_and_leaves_one(tmp_path: Path) -> None:
    from segcli.train.ras_run import export

    start = export(predictor(), tmp_path / "start.safetensors")
    pixels = np.full((60, 80, 3), 128, np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    boxes = [(2, 2), (30, 5), (50, 40)]
    annotations = []
    for n, (x, y) in enumerate(boxes, 1):
        mask = np.zeros((60, 80), bool)
        mask[y : y + 12, x : x + 12] = True
        annotations.append(
            {"id": n, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": encode(mask).coco()}
        )
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": annotations,
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    write(from_instances([tmp_path / "instances.json"]), tmp_path / "groups.jsonl", 0)
    lines = (tmp_path / "groups.jsonl").read_text().splitlines()[:2]
    (tmp_path / "groups.jsonl").write_text("\n".join(lines) + "\n")
    files = Files(images=tmp_path, start=start, groups=tmp_path / "groups.jsonl")
    left = run_stage("finetune", "res", "13b", files, tmp_path / "out", CPU, lambda line: None)
    before, after = (open_model(str(p), device="cpu", say=lambda line: None) for p in (start, left))
    assert isinstance(before, RasPredictor)
    assert isinstance(after, RasPredictor)
    old, new = before.model.state_dict(), after.model.state_dict()
    assert {k.split(".")[0] for k in old if not torch.equal(old[k], new[k])} >= {
        "language_model",
        "classifier",
        "mask_projector",
    }
    ask = Ask(text="all", candidates=(encode(np.ones((60, 80), bool)),), threshold=0.0)
    (encoded,) = after.encode([Image(pixels, (60, 80))])
    assert len(after.decode(encoded, [ask])[0]) == 1


@pytest.mark.parametrize(("stage", "message"), [("1", "needs --llava"), ("2", "needs --start and --groups")])
def test_a_stage_names_the_file_that_it_lacks(tmp_path: Path, stage: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_stage(stage, "ores", "13b", Files(images=tmp_path), tmp_path / "out", CPU, lambda line: None)

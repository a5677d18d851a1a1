"""The words of the nano member, trained on drawn photos whose classes have colours."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file

from segcli.core.errors import CheckpointError, StorageError, UsageError
from segcli.io import atomic
from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.models.seem.vocabulary import BUNDLED, Vocabulary
from segcli.models.seem.words import WordHead
from segcli.registry.places import BUNDLED as BUNDLED_FILES
from segcli.train import word_bank
from segcli.train.loop import LoopConfig, averaged, train
from segcli.train.run import export
from segcli.train.word_bank import BankConfig
from segcli.train.word_views import UNLABELLED, allowed_words, load, looks
from segcli.train.words import Objective, Validation, WordRecipe, batches, seem_with_words

FEW = Vocabulary(("person", "cat", "face", "sky"), frozenset({"sky"}))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Eight photos with a red cat on a blue sky; in every second one the sky is not labelled."""
    root = tmp_path_factory.mktemp("data") / "drawn"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    lines = []
    rng = np.random.default_rng(0)
    for k in range(8):
        pixels = np.full((96, 128, 3), (40, 60, 220), np.uint8)
        ids = np.full((96, 128), 2 if k % 2 else 0, np.uint8)
        y, x = rng.integers(5, 40, 2)
        pixels[y : y + 40, x : x + 50] = (220, 40, 30)
        ids[y : y + 40, x : x + 50] = 1
        ids[:3] = 255
        Pillow.fromarray(pixels).save(root / "images" / f"{k}.png")
        Pillow.fromarray(ids).save(root / "masks" / f"{k}.png")
        objects = [{"id": 1, "class": "cat", "thing": True}] + [{"id": 2, "class": "sky", "thing": False}] * (k % 2)
        labelled = {"complete": True, "stuff_labelled": bool(k % 2)}
        lines.append(json.dumps({"image": f"images/{k}.png", "mask": f"masks/{k}.png", "objects": objects, **labelled}))
    (root / "objects.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def bank(photos, tmp_path_factory) -> word_bank.Bank:
    torch.manual_seed(0)
    model = SeemNano(NanoConfig(dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16)))
    found = load([photos], FEW)
    config = BankConfig(wholes=2, zooms=1, most=2, side=64)
    return word_bank.write(found, model, config, tmp_path_factory.mktemp("bank"), seed=0, words=len(FEW.words))


def test_a_bank_whose_making_was_killed_at_any_moment_is_no_bank(photos, tmp_path, monkeypatch):
    """Its last file gets its name when it is whole, so that a run that goes on never opens half of one."""
    model = SeemNano(NanoConfig(dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16)))
    found, config = load([photos], FEW)[:1], BankConfig(wholes=1, zooms=0, most=1, side=64)

    def killed(descriptor, view):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "os_write", killed)
    with pytest.raises(KeyboardInterrupt):
        word_bank.write(found, model, config, tmp_path, seed=0, words=len(FEW.words))
    assert not (tmp_path / "rest.npz").exists()
    monkeypatch.undo()
    assert len(word_bank.write(found, model, config, tmp_path, seed=0, words=len(FEW.words))) == 1
    with pytest.raises(UsageError, match="no look at any photo"):
        word_bank.write(found, model, BankConfig(0, 0, 1, 64), tmp_path / "none", seed=0, words=len(FEW.words))


def test_a_disk_without_room_for_a_bank_is_said_before_a_byte_of_it_is_mapped(photos, tmp_path, monkeypatch):
    """Writing to a map that the disk has no room for would kill the process without a word."""

    def full(descriptor, offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    model = SeemNano(NanoConfig(dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16)))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"res4.npy: can't be written: no space left on the disk \(it takes"):
        word_bank.write(load([photos], FEW)[:1], model, BankConfig(1, 0, 1, 64), tmp_path, seed=0, words=len(FEW.words))
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_draws_the_same_looks(photos):
    found = load([photos], FEW)
    once, again = (list(looks(found, 1, 1, 2, 64, seed=3)) for _ in range(2))
    assert all(np.array_equal(a.pixels, b.pixels) and np.array_equal(a.codes, b.codes) for a, b in zip(once, again))  # noqa: B905


def test_what_is_unlabelled_may_be_any_word_but_the_things_that_are_all_labelled(photos):
    found = load([photos], FEW)
    free = found[0].open
    assert free is not None
    assert free.tolist() == [True, False, True, True, True]  # not cat; the last: no word
    code = next(iter(looks(found[:1], 1, 0, 0, 64, seed=0))).codes
    assert {UNLABELLED, 1} <= set(np.unique(code).tolist())


def test_a_look_at_an_object_says_where_it_is_and_what(photos):
    found = load([photos], FEW)
    zoomed = [look for look in looks(found, 0, 1, 1, 64, seed=0) if look.word == 1]
    assert zoomed
    ious = []
    for look in zoomed:
        red = (look.pixels[1::4, 1::4, 0].astype(int) - look.pixels[1::4, 1::4, 2] > 0) & (look.codes != 255)
        ious.append((look.region & red).sum() / (look.region | red).sum())
    assert np.median(ious) > 0.8  # some looks are grey


def test_a_bank_gives_back_what_was_encoded_and_a_region_for_each_zoom(bank):
    batch = bank.batch(range(len(bank)))
    assert batch.res4.shape[1:] == (112, 4, 4)
    assert batch.features.shape[1:] == (32, 8, 8)
    assert batch.codes.shape[1:] == (16, 16)
    assert ((batch.region.sum((1, 2)) > 0) | (batch.word < 0)).all()
    assert {-1, 1} <= set(batch.word.tolist())


def test_training_lowers_both_losses_and_goes_on_where_it_stopped(bank, tmp_path):
    recipe = WordRecipe(batch=8, dropout=0.0)
    objective = Objective(FEW, recipe, torch.ones(4))

    def run(steps: int, out: Path) -> WordHead:
        torch.manual_seed(1)
        head = WordHead({"res4": 112, "res5": 320}, 32, 4, width=16)
        loop = LoopConfig(steps=steps, lr=1e-2, warmup=1, autocast=False, log_every=1, average=0.5)
        train(head, lambda seed: batches([bank], 8, seed), objective, loop, out)
        head.load_state_dict(averaged(head, out / "state.pt"))
        return head

    untrained = Validation(bank, objective)(WordHead({"res4": 112, "res5": 320}, 32, 4, width=16), 0)
    head = run(30, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["places"] < 0.5 * log[0]["places"]
    assert log[-1]["regions"] < 0.5 * log[0]["regions"]
    scores = Validation(bank, objective)(head, 0)
    assert scores["labels"] >= max(0.7, untrained["labels"])
    assert scores["where"] > untrained["where"] + 0.2
    run(31, tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 32))


def test_words_begin_afresh_or_where_a_checkpoint_left_them():
    file = BUNDLED_FILES / "seem-nano.safetensors"
    table = load_file(file)["words.table"].float()
    lite = BUNDLED_FILES / "lite0.safetensors"
    fresh, kept = (seem_with_words(file, lite, BUNDLED, words).words for words in (None, file))
    assert torch.equal(kept.table, table)
    assert not torch.equal(fresh.table, table)


def test_words_are_put_on_a_member_of_any_size_and_all_else_in_it_stays(tmp_path):
    lite, start = BUNDLED_FILES / "lite0.safetensors", tmp_path / "own.safetensors"
    own = SeemNano(NanoConfig(dim=32, heads=2, encoder_layers=1, encoder_ffn=32, widths=(8, 16, 16), decoder=False))
    export(own, start, shared=lite.name)
    made = seem_with_words(start, lite, FEW)
    assert (made.config.dim, made.config.words) == (32, FEW.words)
    kept = made.state_dict()
    assert all(torch.equal(kept[k], v.half().float()) for k, v in own.state_dict().items() if k[:9] != "backbone.")
    with pytest.raises(CheckpointError, match="holds no words of this member"):
        seem_with_words(start, lite, FEW, start)
    with pytest.raises(CheckpointError, match=r"is no seem-nano on own\.safetensors: .* does not fit"):
        seem_with_words(start, start, FEW)


def test_a_broad_label_may_be_called_by_any_narrower_word():
    allowed = allowed_words(FEW)
    assert allowed[0].tolist() == [True, False, True, False, False]  # person: a face too
    assert allowed[2].tolist() == [False, False, True, False, False]


def test_ignored_pixels_and_photos_of_which_nothing_is_known_teach_nothing():
    objective = Objective(FEW, WordRecipe(), torch.ones(4))
    logits = torch.randn(1, 5, 2, 2, requires_grad=True)
    codes = torch.tensor([[[255, 255], [UNLABELLED, UNLABELLED]]])
    loss = objective.places(logits, codes, torch.zeros(1, 5, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_a_batch_without_regions_has_no_region_loss():
    objective = Objective(FEW, WordRecipe(), torch.ones(4))
    assert objective.regions(torch.randn(3, 5), torch.full((3,), -1)) == 0

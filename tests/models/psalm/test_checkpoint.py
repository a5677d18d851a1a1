"""A checkpoint of the published layout: two shards in half precision, the tokenizer's files beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segcli.core.ask import Ask, Box, Point
from segcli.core.errors import CheckpointError
from segcli.core.image import Image
from segcli.models.psalm.keys import KEY_TABLES, original
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.phi import Unfused
from segcli.models.psalm.predictor import PsalmPredictor
from segcli.registry.load import open_model

from .conftest import CONFIG, published, random_model, write_folder

Change = Callable[[dict[str, Tensor]], None]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PsalmPredictor]:
    """Writes the folder, perhaps changed, and opens it by its name."""
    monkeypatch.setenv("SEG_STATE", str(tmp_path / "state"))

    def open_it(change: Change | None = None, **options: str) -> PsalmPredictor:
        tensors = published(random_model())
        if change is not None:
            change(tensors)
        entry = write_folder(tmp_path / "files", tensors)
        monkeypatch.setattr("segcli.registry.weights.own_file", lambda: entry)
        model = open_model("psalm.tiny", device="cpu", say=lambda line: None, **options)
        assert isinstance(model, PsalmPredictor)
        return model

    return open_it


def test_the_published_layout_loads_strictly_and_answers_every_kind_of_ask(
    opened: Callable[..., PsalmPredictor], photo: Image
):
    model = opened()
    weights = random_model().state_dict()
    for name, tensor in model.model.state_dict().items():
        assert torch.allclose(tensor, weights[name].half().float(), atol=0), name
    seen = model.encode([photo])[0]
    names = ("cat", "sky")
    asks = [
        Ask(text="a dog"),
        Ask(points=(Point(20, 30),)),
        Ask(boxes=(Box(4, 4, 40, 40),)),
        *(Ask(kind=kind, classes=names) for kind in ("panoptic", "semantic", "instance")),
    ]
    assert [p.size for p in model.decode(seen, asks)] == [photo.size] * len(asks)
    assert isinstance(model.reply(seen, "What is this?", 4), str)
    mask = np.zeros(photo.size, np.bool_)
    mask[10:40, 10:40] = True
    tracker = model.tracker()
    tracker.step(photo, {1: mask})
    assert set(tracker.step(photo)) == {1}


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_it_answers_in_half_precision_too(opened: Callable[..., PsalmPredictor], photo: Image, dtype: str):
    model = opened(dtype=dtype)
    exact = model.model.decoder.decoder_norm.weight
    assert (exact.dtype, model.model.mask_tokens.dtype) != (exact.dtype, exact.dtype)
    prediction = model.decode(model.encode([photo])[0], [Ask(text="a dog")])[0]
    assert prediction.size == photo.size


def drop(key: str) -> Change:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors[key]

    return change


def rename(tensors: dict[str, Tensor]) -> None:
    tensors["predictor.decoder_nrm.weight"] = tensors.pop("predictor.decoder_norm.weight")


def reshape(tensors: dict[str, Tensor]) -> None:
    tensors["model.layers.0.self_attn.query_key_value.weight"] = torch.zeros(30, 128)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop("model.layers.1.self_attn.query_key_value.bias"), "language.layers.1.self_attn.q_proj.bias"),
        (drop("seg_query"), "mask_tokens"),
        (rename, "predictor.decoder_nrm.weight"),
        (reshape, "10x128 and should be 128x128"),
    ],
    ids=["attention", "mask tokens", "misspelt", "shape"],
)
def test_wrong_keys_are_named_with_exit_5(opened: Callable[..., PsalmPredictor], change: Change, named: str):
    with pytest.raises(CheckpointError, match="keys do not fit") as refused:
        opened(change)
    assert named in str(refused.value)
    assert refused.value.exit_code == 5


def test_a_missing_tokenizer_is_named(opened: Callable[..., PsalmPredictor], tmp_path: Path):
    opened()
    toml = tmp_path / "files" / "weights.toml"
    toml.write_text(toml.read_text().replace(', { name = "merges.txt" }', ""))
    with pytest.raises(CheckpointError, match=r"merges\.txt"):
        open_model("psalm.tiny", device="cpu", say=lambda line: None)


def test_a_tokenizer_with_more_words_than_the_model_is_refused(opened: Callable[..., PsalmPredictor], tmp_path: Path):
    opened()
    added = tmp_path / "files" / "added_tokens.json"
    words = ", ".join(f'"word{k}": {259 + k}' for k in range(CONFIG.phi.vocab))
    added.write_text('{"[PAD]": 257, "[SEG]": 258, ' + words + "}")
    with pytest.raises(CheckpointError, match="the model 512"):
        open_model("psalm.tiny", device="cpu", say=lambda line: None)


def test_attention_that_is_stored_in_three_parts_is_taken_as_well():
    state = random_model().state_dict()
    with torch.device("meta"):
        names = set(Psalm(CONFIG).state_dict())
    assert set(Unfused(state, CONFIG.phi.heads)) == names


def test_fused_attention_comes_apart_in_its_own_memory():
    heads, dim = 2, 8
    fused = torch.arange(3 * dim * dim, dtype=torch.float32).view(3 * dim, dim)
    rows = fused.clone().view(heads, 3, dim // heads, dim)
    parts = Unfused({"language.layers.0.self_attn.query_key_value.weight": fused}, heads)
    assert len(parts) == 3
    for k, word in enumerate(("q_proj", "k_proj", "v_proj")):
        found = parts[f"language.layers.0.self_attn.{word}.weight"]
        assert torch.equal(found, rows[:, k].reshape(dim, dim))
        assert found.untyped_storage().data_ptr() == fused.untyped_storage().data_ptr()


def test_derived_and_unused_tensors_of_the_published_file_are_known():
    for key in (
        "model.vision_tower.layers.3.blocks.1.attn.relative_position_index",
        "model.mm_projector.layer1.0.bn2.num_batches_tracked",
        "predictor.query_feat.weight",
        "predictor.SEG_query_embed.weight",
    ):
        assert original(key) is None
    assert original("something.else") == "something.else"
    assert KEY_TABLES["seg"]("tokenizer") is None

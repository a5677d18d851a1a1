"""The released checkpoints' keys and shapes, and strict loading against them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tests.models.seem.conftest import DATA

from segcli.core.errors import CheckpointError, UsageError
from segcli.models.layers.loading import load_strict
from segcli.models.seem.config import PRESETS, preset
from segcli.models.seem.keys import KEY_TABLES
from segcli.models.seem.model import SeemModel

FILES = {
    "focal-t": "focalt_v1",
    "focal-l": "focall_v1",
    "davit-d3": "davitd3_v1",
    "davit-d5": "davitd5_v1",
    "samvit-b": "samvitb_v1",
    "samvit-l": "samvitl_v1",
}


def released_keys(path: Path) -> dict[str, tuple[int, ...]]:
    """Key and shape a line; {0-2} or {0,2} stands for numbers."""
    found = {}
    for line in path.read_text().splitlines():
        key, shape = line.split()
        size = () if shape == "-" else tuple(int(n) for n in shape.split("x"))
        run = re.search(r"\{(.*)\}", key)
        if run is None:
            found[key] = size
            continue
        first, _, last = run[1].partition("-")
        numbers = range(int(first), int(last) + 1) if last else [int(n) for n in run[1].split(",")]
        found |= {key.replace(run[0], str(number)): size for number in numbers}
    return found


def meta_model(name: str) -> SeemModel:
    with torch.device("meta"):
        return SeemModel(preset(name))


@pytest.mark.parametrize("name", PRESETS)
def test_the_model_has_exactly_the_released_keys_and_shapes(name: str):
    model = meta_model(name)
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert ours == released_keys(DATA / "keys" / f"{FILES[name]}.txt")


def test_the_demo_has_the_same_keys_without_the_training_buffer():
    released, demo = (set(meta_model(f"focal-t-{variant}").state_dict()) for variant in ("v0", "demo"))
    assert released - demo == {"criterion.empty_weight"}


def empty_file(name: str) -> dict[str, torch.Tensor]:
    shapes = released_keys(DATA / "keys" / f"{FILES[name]}.txt")
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda f: f.pop("backbone.norm3.bias"), "1 missing: backbone.norm3.bias"),
        (lambda f: f.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (lambda f: f.update({"backbone.norm3.bias": torch.zeros(5)}), "backbone.norm3.bias is 5 and should be 768"),
        (lambda f: f.pop("criterion.empty_weight"), "criterion.empty_weight"),
    ],
)
def test_one_wrong_key_is_refused_by_its_name(break_it, says: str):
    file = empty_file("focal-t")
    break_it(file)
    with pytest.raises(CheckpointError, match=re.escape(says)):
        load_strict(meta_model("focal-t-v1"), file, KEY_TABLES["original"], name="seem.focal-t-v1")


@pytest.mark.parametrize("name", ["focal-l", "samvit-b"])
def test_one_wrong_key_is_refused_by_its_name_for_the_larger_members_too(name: str):
    key = "sem_seg_head.pixel_decoder.mask_features.bias"
    for change, says in (
        (lambda f: f.pop(key), f"1 missing: {key}"),
        (lambda f: f.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (lambda f: f.update({key: torch.zeros(5)}), f"{key} is 5 and should be 512"),
    ):
        file = empty_file(name)
        change(file)
        with pytest.raises(CheckpointError, match=re.escape(says)):
            load_strict(meta_model(name), file, KEY_TABLES["original"], name=f"seem.{name}-v1")


def test_an_unknown_configuration_is_refused_with_those_that_exist():
    for name in ("focal-x-v1", "focal-t-v7", "v1", ""):
        with pytest.raises(UsageError, match="focal-t, focal-l"):
            preset(name)


def test_a_configuration_without_a_variant_is_v1():
    assert preset("samvit-b") == preset("samvit-b-v1")
    assert preset("focal-l-composed").decoder.variant == "composed"

from __future__ import annotations

import json

import pytest
import torch

from segcli.core.errors import CheckpointError
from segcli.models.seggpt.config import PRESETS
from segcli.models.seggpt.keys import LAYOUTS, key_table, renamed
from segcli.models.seggpt.model import SegGPT

from .conftest import DATA

FILES = {"original": "vit_large_official.json", "transformers": "vit_large_hub.json"}


def published_shapes(layout: str) -> dict[str, list[int]]:
    listed = json.loads((DATA / "keys" / FILES[layout]).read_text())
    shapes = dict(listed["other"])
    for name, shape in listed["per_block"].items():
        shapes |= {name.replace("{i}", str(index)): shape for index in range(24)}
    return shapes


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_tensor_of_vit_large_has_a_place_of_its_shape(layout: str):
    shapes = published_shapes(layout)
    assert len(shapes) == 354
    with torch.device("meta"):
        model = SegGPT(PRESETS["vit-l"])
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    model.load_state_dict(renamed(state, layout, 24), assign=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == 370_723_203


def test_original_and_hub_names_mean_the_same_tensors():
    recorded = json.loads((DATA / "keys" / "official_to_hub.json").read_text())
    original, hub = (key_table(layout, 24) for layout in ("original", "transformers"))
    assert {ours: theirs for theirs, ours in original.items()}.keys() == set(hub.values())
    for official_name, hub_name in recorded.items():
        assert original[official_name] == hub[hub_name]


def test_a_missing_and_an_unknown_key_are_named():
    state = dict.fromkeys(key_table("original", 2), 0)
    del state["pos_embed"]
    state["extra.weight"] = 0
    with pytest.raises(CheckpointError, match=r"1 missing \(first: pos_embed\) and 1 unknown \(first: extra.weight\)"):
        renamed(state, "original", 2)

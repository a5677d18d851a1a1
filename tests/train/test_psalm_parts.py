"""PSALM's training begins from the files of its parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from segcli.core.errors import CheckpointError
from segcli.models.psalm.config import PRESETS
from segcli.models.psalm.model import Psalm
from segcli.train.psalm_parts import fill, fill_from, our_name

CONFIG = PRESETS["nano"]


def model(seed: int) -> Psalm:
    torch.manual_seed(seed)
    return Psalm(CONFIG)


def mask2former(source: Psalm) -> dict[str, Tensor]:
    """Image encoder and decoders as that project names them: no bias in the pyramid's convolutions, a class head."""
    found: dict[str, Tensor] = {}
    for name, tensor in source.state_dict().items():
        if name.startswith("swin."):
            found["backbone." + name.removeprefix("swin.")] = tensor
        elif name.startswith("pixel_decoder."):
            if name.endswith(("adapter_1.0.bias", "layer_1.0.bias")):
                continue
            for conv in ("adapter_1", "layer_1"):
                name = name.replace(f"{conv}.0.", f"{conv}.").replace(f"{conv}.1.", f"{conv}.norm.")
            found["sem_seg_head." + name] = tensor
        elif name.startswith("decoder.") and "_proj." not in name.replace("in_proj", "").replace("out_proj", ""):
            found["sem_seg_head.predictor." + name.removeprefix("decoder.")] = tensor
    found["sem_seg_head.predictor.class_embed.weight"] = torch.zeros(134, 64)
    found["sem_seg_head.predictor.static_query.weight"] = torch.zeros(20, 64)
    found["criterion.empty_weight"] = torch.ones(134)
    return {name: t.clone() for name, t in found.items()}


def phi(source: Psalm) -> dict[str, Tensor]:
    """The language model with more rows than words, and a bias that PSALM's has not."""
    state = source.language.state_dict()
    found = {f"model.{name}": tensor.clone() for name, tensor in state.items()}
    more = torch.zeros(88, CONFIG.phi.hidden)
    found["model.embed_tokens.weight"] = torch.cat([state["embed_tokens.weight"], more])
    found["lm_head.weight"] = torch.cat([source.lm_head.weight.detach(), more])
    found["lm_head.bias"] = torch.zeros(600)
    return found


def test_the_parts_fill_everything_but_what_psalm_adds(tmp_path: Path):
    source, fresh = model(1), model(2)
    save_file(mask2former(source), tmp_path / "mask2former.safetensors")
    save_file(phi(source), tmp_path / "phi.safetensors")
    filled = fill_from(fresh, [tmp_path / "mask2former.safetensors", tmp_path / "phi.safetensors"], CONFIG.phi.heads)
    theirs, ours = source.state_dict(), fresh.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in filled)
    added = {name.split(".")[0] for name in set(ours) - filled}
    assert added == {
        "projector", "mask_tokens", "mask_token_projector", "sentence_projector", "class_projector", "region_projector",
        "pixel_decoder", "decoder",
    }  # fmt: skip
    left = {name for name in set(ours) - filled if name.startswith(("pixel_decoder.", "decoder."))}
    assert {name for name in left if name.startswith("pixel_decoder.")} == {
        "pixel_decoder.adapter_1.0.bias",
        "pixel_decoder.layer_1.0.bias",
    }
    assert all("_proj.layers." in name for name in left if name.startswith("decoder."))


def test_a_projector_of_the_first_stage_is_a_part_too():
    source, fresh = model(1), model(2)
    part = {f"model.mm_projector.{name}": t for name, t in source.projector.state_dict().items()}
    assert {name.split(".")[0] for name in fill(fresh, part, CONFIG.phi.heads, "x")} == {"projector"}
    assert torch.equal(fresh.projector.fc.weight, source.projector.fc.weight)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"head.weight": torch.zeros(2)}, "belongs to no part"),
        ({"backbone.patch_embed.proj.weight": torch.zeros(2)}, "should be"),
    ],
)
def test_a_file_that_is_no_part_is_named(tensors: dict[str, Tensor], words: str):
    with pytest.raises(CheckpointError, match=words) as refused:
        fill(model(0), tensors, CONFIG.phi.heads, "other.safetensors")
    assert "other.safetensors" in str(refused.value)


def test_derived_tensors_are_known():
    assert our_name("backbone.layers.0.blocks.0.attn.relative_position_index") is None

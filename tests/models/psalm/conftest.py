"""A tiny PSALM with random weights, as files of the published layout and as a predictor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from segcli.core.image import Image
from segcli.models.psalm.config import PRESETS, PsalmConfig
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.predictor import PsalmPredictor
from segcli.models.psalm.regions import AllPoints
from segcli.models.psalm.tokenizer import FILES, Tokenizer, read_tokenizer

DATA = Path(__file__).parents[2] / "goldens" / "data" / "psalm"
CONFIG = PRESETS["nano"]

_PUBLISHED = (  # ours, theirs
    ("swin.", "model.vision_tower."),
    ("projector.", "model.mm_projector."),
    ("language.", "model."),
    ("decoder.", "predictor."),
    ("mask_token_projector.", "seg_query_projector."),
    ("sentence_projector.", "SEG_token_projector."),
    ("class_projector.", "class_name_projector."),
)


def random_model(config: PsalmConfig = CONFIG, seed: int = 0) -> Psalm:
    """Weights large enough that answers differ from photo to photo and from prompt to prompt."""
    torch.manual_seed(seed)
    model = Psalm(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1.5 / parameter[0].numel() ** 0.5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)
    return model.eval()


def published(model: Psalm) -> dict[str, Tensor]:
    """The weights as the released checkpoint names them: attention fused head by head, unused tensors included."""
    state = dict(model.state_dict())
    heads, dim = model.config.phi.heads, model.config.decoder.dim
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        key = "seg_query" if name == "mask_tokens" else name
        for ours, theirs in _PUBLISHED:
            if key.startswith(ours):
                key = theirs + key.removeprefix(ours)
                break
        if ".q_proj." in key:
            three = [state[name.replace("q_proj", word)] for word in ("q_proj", "k_proj", "v_proj")]
            split = [t.view(heads, -1, *t.shape[1:]) for t in three]
            tensor = torch.stack(split, 1).reshape(-1, *tensor.shape[1:])
            key = key.replace("q_proj", "query_key_value")
        found[key] = tensor.clone().contiguous()
    found["predictor.query_feat.weight"] = torch.zeros(model.config.decoder.queries, dim)
    found["predictor.SEG_query_embed.weight"] = torch.zeros(model.config.decoder.queries + 1, dim)
    found["model.mm_projector.layer1.0.bn1.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    found["model.vision_tower.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.long)
    return found


def write_folder(folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype = torch.float16) -> Path:
    """Two shards and the tokenizer's three files, and the weights.toml that names them as `psalm.tiny`."""
    folder.mkdir(parents=True, exist_ok=True)
    cast = {k: t.to(dtype) if t.is_floating_point() else t for k, t in tensors.items()}
    names = sorted(cast)
    half = len(names) // 2
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for file, chosen in zip(shards, (names[:half], names[half:]), strict=True):
        save_file({name: cast[name] for name in chosen}, folder / file, {"format": "pt"})
    whole = json.loads((DATA / "prompts_tokenizer.json").read_text(encoding="utf-8"))
    added = {token["content"]: token["id"] for token in whole["added_tokens"]}
    (folder / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "added_tokens.json").write_text(json.dumps(added))
    entry = folder / "weights.toml"
    files = ", ".join(f'{{ name = "{name}" }}' for name in (*shards, *FILES[1:]))
    accepts = ", ".join(f'"{word.value}"' for word in sorted(PsalmPredictor.accepts))
    entry.write_text(
        f'[psalm.tiny]\nsystem = "psalm"\nconfig = "nano"\nfolder = "{folder}"\nfiles = [{files}]\n'
        f'keys = "original"\nlicence = "Apache-2.0"\naccepts = [{accepts}]\n'
    )
    return entry


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return read_tokenizer({FILES[0]: (DATA / "prompts_tokenizer.json").read_bytes()}, "tiny")


@pytest.fixture(scope="session")
def predictor(tokenizer: Tokenizer) -> PsalmPredictor:
    return PsalmPredictor(random_model(), tokenizer, "psalm.tiny", "0" * 16, AllPoints())


@pytest.fixture(scope="session")
def photo() -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8).repeat(12, 0).repeat(12, 1)
    return Image(pixels=pixels, size=pixels.shape[:2], name="photo.png")

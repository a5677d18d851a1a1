"""Reading a SegGPT golden: recorded tensors, the model of an entry, and comparing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors.torch import load_file
from torch import Tensor

from segcli.models.seggpt.config import SegGPTConfig
from segcli.models.seggpt.keys import renamed
from segcli.models.seggpt.model import SegGPT
from tests.goldens.contract import Golden, Outcome, Runner, within

Differences = Iterator[tuple[str, float]]
Tensors = dict[str, Tensor]


class Record:
    """One recorded file: inputs `i`, outputs `o`, weights `w`, without their prefixes; halves cast to float32."""

    def __init__(self, golden: Golden) -> None:
        everything = load_file(golden.path)
        self.i = _part(everything, "in.")
        self.o = _part(everything, "out.")
        self.w = _part(everything, "w.")
        self.config: dict[str, Any] = golden.entry["config"]

    def image(self, name: str) -> NDArray[np.uint8]:
        """A recorded PNG or JPEG as RGB pixels."""
        return np.asarray(Pillow.open(io.BytesIO(self.i[name].numpy().tobytes())).convert("RGB"))


def _part(tensors: Tensors, prefix: str) -> Tensors:
    found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in found.items()}


def config_of(recorded: dict[str, Any]) -> SegGPTConfig:
    """Our config from the constructor arguments that the manifest states."""
    height, width = recorded["img_size"]
    return SegGPTConfig(
        canvas=(height, width),
        patch_size=recorded["patch_size"],
        embed_dim=recorded["embed_dim"],
        depth=recorded["depth"],
        num_heads=recorded["num_heads"],
        pretrain_size=recorded["pretrain_img_size"],
        decoder_dim=recorded["decoder_embed_dim"],
        mlp_ratio=recorded.get("mlp_ratio", 4.0),
        drop_path=recorded.get("drop_path_rate", 0.0),
    )


def load_model(golden: Golden) -> SegGPT:
    """The model of an entry with the weights that it names, in evaluation mode."""
    source = golden.manifest["weights"][golden.entry["weights"]]
    weights = _part(load_file(golden.directory / source["file"]), "w.")
    config = config_of(golden.entry["config"])
    model = SegGPT(config)
    model.load_state_dict(renamed(weights, "original", config.depth))
    return model.eval()


def difference(ours: Tensor | NDArray[Any], theirs: Tensor) -> float:
    """Largest absolute difference; infinite for other shapes."""
    mine = (ours.detach() if isinstance(ours, Tensor) else torch.tensor(ours)).double()
    return float((mine - theirs.double()).abs().max()) if mine.shape == theirs.shape else float("inf")


def absolute(differences: Callable[[Golden], Differences]) -> Runner:
    """Compare against the entry's absolute tolerance (plus the relative one of the largest value, if stated)."""

    def run(golden: Golden) -> Outcome:
        with torch.no_grad():
            return within(differences(golden), float(golden.entry["tolerance"]["abs"]))

    return run


def kinds(seg_type: Tensor | int, count: int) -> Tensor:
    """Recorded types (B, 1) or one number -> our kinds [B]."""
    return seg_type.long().flatten() if isinstance(seg_type, Tensor) else torch.full((count,), seg_type)


def beyond(value: float, allowed: float) -> float:
    """0 within `allowed`, else the difference: for the parts of an exact golden that are held to less."""
    return 0.0 if value <= allowed else value


def exact(ours: NDArray[Any], theirs: Tensor) -> float:
    """0 for equal arrays, infinite otherwise: for what no tolerance covers."""
    return 0.0 if difference(ours, theirs) == 0 else float("inf")

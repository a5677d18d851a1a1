"""Reading a PSALM golden, and holding values, scores and maps each to their own tolerance."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from segcli.models.layers.loading import KeyTable, load_strict, same_names
from segcli.models.psalm.config import DecoderConfig, PhiSizes, PixelDecoderConfig, PsalmConfig, SwinConfig
from tests.goldens.contract import Golden, Outcome, Runner, within

Difference = tuple[str, float, str]
"""What was compared, the largest difference, and the tolerance it is held to: value, score or map."""
Differences = Iterator[Difference]


class Record:
    """The tensors of one golden; halves are exact and read as float32."""

    def __init__(self, golden: Golden) -> None:
        tensors = load_file(golden.path)
        self.tensors = {key: t.float() if t.dtype == torch.float16 else t for key, t in tensors.items()}
        self.config: dict[str, Any] = golden.entry.get("config", {})

    def __getitem__(self, key: str) -> Tensor:
        return self.tensors[key]

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose keys begin with `prefix`, without it."""
        return {key[len(prefix) :]: t for key, t in self.tensors.items() if key.startswith(prefix)}

    def many(self, prefix: str) -> list[Tensor]:
        """prefix.0, prefix.1, …"""
        found: list[Tensor] = []
        while f"{prefix}.{len(found)}" in self.tensors:
            found.append(self.tensors[f"{prefix}.{len(found)}"])
        return found

    def masks(self, key: str, size: tuple[int, int]) -> Tensor:
        """Masks that were packed into bits, bool [n, H, W]."""
        bits = np.unpackbits(self[key].numpy(), axis=1)[:, : size[0] * size[1]]
        return torch.from_numpy(bits.reshape(-1, *size).astype(np.bool_))


def tolerances(words: str) -> dict[str, float]:
    """The numbers in the manifest's words; maps are exact, up to a share of pixels where the words allow one."""
    number = r"[0-9.]+(?:e-?[0-9]+)?"
    share = re.search(rf"allow ({number}) *%", words)
    found = {"map": float(share[1]) / 100 if share else 0.0}
    words = words if share is None else words.replace(share[0], "")
    score = re.search(rf"scores ({number})", words)
    value = re.search(rf"(?:abs |exact \()({number})", words)
    found["value"] = float(value[1]) if value else (float(score[1]) if score else 0.0)
    found["score"] = float(score[1]) if score else found["value"]
    return found


def held_to(differences: Callable[[Golden], Differences]) -> Runner:
    """Each difference against its own tolerance; the outcome names the worst one, as a share of what is allowed."""

    def run(golden: Golden) -> Outcome:
        allowed = tolerances(str(golden.entry.get("tolerance", "exact")))
        with torch.no_grad():
            found = list(differences(golden))
        return within(
            [(f"{name}: {gap:.3g} of {allowed[kind]:.3g}", _share(gap, allowed[kind])) for name, gap, kind in found],
            1.0,
        )

    return run


def _share(gap: float, allowed: float) -> float:
    """Of what is allowed; nothing at all is allowed where only equal values pass."""
    return 0.0 if gap == 0 else gap / max(allowed, 1e-12)


def value(name: str, ours: Tensor, theirs: Tensor) -> Difference:
    """Largest absolute difference; infinite for another shape."""
    return name, _gap(ours, theirs), "value"


def score(name: str, ours: Tensor, theirs: Tensor) -> Difference:
    """The same for scores."""
    return name, _gap(ours, theirs), "score"


def exact(name: str, ours: object, theirs: object) -> Difference:
    """0 for equal plain values, infinite otherwise."""
    return name, 0.0 if ours == theirs else float("inf"), "value"


def same_map(name: str, ours: Tensor, theirs: Tensor) -> Difference:
    """Share of elements that differ; infinite for another shape."""
    if ours.shape != theirs.shape:
        return name, float("inf"), "map"
    different = (ours.long() != theirs.long()).double().mean() if ours.numel() else torch.zeros(())
    return name, float(different), "map"


def _gap(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours.double() - theirs.double()).abs().max()) if theirs.numel() else 0.0


def filled(module: nn.Module, weights: Mapping[str, Tensor], table: KeyTable = same_names) -> nn.Module:
    """Load strictly and switch to evaluation."""
    load_strict(module, weights, table)
    return module.eval()


def config_of(recorded: Mapping[str, Any]) -> PsalmConfig:
    """Our config from the manifest's values."""
    swin, phi, pixel, decoder = (recorded[k] for k in ("swin", "phi", "pixel_decoder", "decoder"))
    sizes = PixelDecoderConfig(
        pixel["dim"], pixel["mask_dim"], pixel["heads"], pixel["points"], pixel["ffn"], pixel["layers"]
    )
    return PsalmConfig(
        image_size=recorded["image_size"],
        planes=recorded["projector"]["planes"],
        swin=SwinConfig(swin["embed_dim"], tuple(swin["depths"]), tuple(swin["heads"]), swin["window"]),
        phi=replace(
            PhiSizes(phi["hidden"], phi["layers"], phi["heads"], phi["intermediate"], phi["vocab"]),
            partial_rotary=phi["partial_rotary"],
        ),
        pixel_decoder=sizes,
        decoder=DecoderConfig(decoder["dim"], decoder["heads"], decoder["ffn"], decoder["layers"], decoder["queries"]),
    )

"""Builds the members of SEEM that answer asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from segcli.core.errors import CheckpointError
from segcli.models.api import Promptable
from segcli.models.layers.loading import load_strict
from segcli.models.layers.propagation.loading import load_propagation, without_propagation
from segcli.models.seem.config import preset
from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.models.seem.nano_predictor import NanoPredictor
from segcli.models.seem.released_predictor import build_released
from segcli.models.seem.vocabulary import BUNDLED

_STUFF = tuple(word for word in BUNDLED.words if word in BUNDLED.stuff)
NANO_PRESETS = {"nano": NanoConfig(words=BUNDLED.words, stuff=_STUFF, tuned=True)}


def build(
    config: str | Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    keys: str,
    name: str,
    revision: str,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
) -> Promptable:
    """A predictor with the weights of `tensors`, strictly loaded.

    config: "nano" or the values of a `NanoConfig` for our own member, else the name of a published one.
    keys:   the key table, "seg" (our own names) or "original".
    `seed` is taken by every builder; these members draw nothing at random.
    Raises CheckpointError for a config that nobody knows and for keys that do not fit.
    """
    if isinstance(config, str) and config not in NANO_PRESETS:
        return build_released(
            preset(config), tensors, keys=keys, name=name, revision=revision, device=device, dtype=dtype
        )
    sizes = NANO_PRESETS[config] if isinstance(config, str) else _nano_config(config, name)
    with torch.device("meta"):
        model = SeemNano(sizes)
    load_strict(model, tensors, without_propagation, name=name)
    model = model.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    propagation = load_propagation(tensors, model.backbone.channels, name)
    if propagation is not None:
        propagation = propagation.to(device, dtype)
    return NanoPredictor(model, name, revision, device, propagation=propagation)


def _nano_config(config: Mapping[str, Any], name: str) -> NanoConfig:
    known = {f.name for f in fields(NanoConfig)}
    odd = sorted(set(config) - known)
    if odd:
        raise CheckpointError(f"{name}: its config has {', '.join(odd)}, which SEEM's nano member does not know")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    return NanoConfig(**values)

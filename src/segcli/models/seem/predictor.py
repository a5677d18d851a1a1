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
from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.models.seem.nano_predictor import NanoPredictor

NANO_PRESETS = {"nano": NanoConfig()}


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

    config: a preset's name or the values of `NanoConfig`. keys: "seg", our own names.
    `seed` is taken by every builder; this member draws nothing at random.
    Raises CheckpointError for a config that this version does not build and for keys that do not fit.
    """
    sizes = _nano_config(config, name)
    with torch.device("meta"):
        model = SeemNano(sizes)
    load_strict(model, tensors, name=name)
    model = model.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return NanoPredictor(model, name, revision, device)


def _nano_config(config: str | Mapping[str, Any], name: str) -> NanoConfig:
    if isinstance(config, str):
        if config not in NANO_PRESETS:
            raise CheckpointError(f"{name}: this version runs {', '.join(NANO_PRESETS)} of SEEM, not yet {config}")
        return NANO_PRESETS[config]
    known = {f.name for f in fields(NanoConfig)}
    odd = sorted(set(config) - known)
    if odd:
        raise CheckpointError(f"{name}: its config has {', '.join(odd)}, which SEEM's nano member does not know")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    return NanoConfig(**values)

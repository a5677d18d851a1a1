"""Backbones (kind `backbone`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from segcli.models.backbones.config import DavitConfig, FocalConfig, SamVitConfig
from segcli.models.backbones.davit import DaViT
from segcli.models.backbones.focal import FocalNet
from segcli.models.backbones.samvit import SamViT
from tests.goldens.contract import Golden, Outcome
from tests.goldens.seem_kinds.recorded import Recorded, load


def build(meta: dict[str, Any]) -> nn.Module:
    kw = {key: tuple(value) if isinstance(value, list) else value for key, value in meta["kw"].items()}
    if meta["arch"] in ("focal", "focal_dw"):
        return FocalNet(
            FocalConfig(
                kw["embed_dim"],
                kw["depths"],
                kw["focal_levels"],
                kw["focal_windows"],
                kw["mlp_ratio"],
                depthwise=meta["arch"] == "focal_dw",
            )
        )
    if meta["arch"] == "davit":
        return DaViT(
            DavitConfig(
                kw["embed_dims"],
                kw["num_heads"],
                kw["num_groups"],
                kw["depths"],
                kw["patch_size"],
                kw["patch_stride"],
                kw["patch_padding"],
                kw["patch_prenorm"],
                kw["window_size"],
            )
        )
    return SamViT(
        SamVitConfig(
            kw["embed_dim"],
            kw["depth"],
            kw["num_heads"],
            kw["global_attn_indexes"],
            kw["img_size"],
            kw["patch_size"],
            kw["window_size"],
            kw["mlp_ratio"],
            tuple(meta["neck"]["out_dims"]),
        )
    )


@torch.no_grad()
def run(golden: Golden) -> Outcome:
    recorded = Recorded.read(golden)
    backbone = build(recorded.meta)
    load(backbone, recorded.weights("backbone."))
    return recorded.compare(backbone(recorded.get("in.image")))

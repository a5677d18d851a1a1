"""Pixel decoders (kind `pixdec`)."""

from __future__ import annotations

import torch
from torch import Tensor

from segcli.models.seem.pixel_decoder_deform import PixelDecoderDeform
from segcli.models.seem.pixel_decoder_fpn import PixelDecoderFPN
from tests.goldens.contract import Golden, Outcome
from tests.goldens.seem_kinds.recorded import Recorded, layers_in, load

PREFIX = "sem_seg_head.pixel_decoder."


def build_fpn(weights: dict[str, Tensor], heads: int) -> PixelDecoderFPN:
    laterals = [weights[f"adapter_{k}.weight"].shape[1] for k in (1, 2, 3)]
    dim, res5 = weights["input_proj.weight"].shape[:2]
    layers = layers_in(weights, "transformer.encoder.layers.")
    ffn = weights["transformer.encoder.layers.0.linear1.weight"].shape[0] if layers else 1
    mask_dim = weights["mask_features.weight"].shape[0]
    return PixelDecoderFPN((*laterals, res5), dim, mask_dim, heads, ffn, layers)


def build_deform(weights: dict[str, Tensor], heads: int) -> PixelDecoderDeform:
    channels = [
        weights["adapter_1.weight"].shape[1],
        *(weights[f"input_proj.{k}.0.weight"].shape[1] for k in (2, 1, 0)),
    ]
    dim = weights["input_proj.0.0.weight"].shape[0]
    layer = "transformer.encoder.layers.0."
    return PixelDecoderDeform(
        channels,
        dim,
        weights["mask_features.weight"].shape[0],
        heads,
        weights[layer + "linear1.weight"].shape[0],
        layers_in(weights, "transformer.encoder.layers."),
        points=weights[layer + "self_attn.attention_weights.weight"].shape[0] // (heads * 3),
    )


@torch.no_grad()
def run(golden: Golden) -> Outcome:
    recorded = Recorded.read(golden)
    weights = recorded.weights(PREFIX)
    heads = recorded.setting("NHEADS", "heads", 8)
    features = {name: recorded.get(f"in.{name}") for name in ("res2", "res3", "res4", "res5")}
    outputs: dict[str, Tensor] = {}
    if any(key.startswith("input_proj.0.") for key in weights):
        deform = build_deform(weights, heads)
        load(deform, weights)
        mask_features, maps = deform(features)
        outputs["transformer_encoder_features"] = maps[0]
    else:
        fpn = build_fpn(weights, heads)
        load(fpn, weights)
        mask_features, maps = fpn(features)
        outputs["transformer_encoder_features"] = fpn.encode_coarsest(features["res5"])
    outputs |= {"mask_features": mask_features, **{f"multi_scale.{i}": m for i, m in enumerate(maps)}}
    return recorded.compare(outputs)

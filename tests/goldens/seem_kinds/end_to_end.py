"""The whole model, from the photo to panoptic output and through rounds of clicks (kind `e2e`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.backbones.config import FocalConfig
from segcli.models.seem.config import PixelDecoderConfig, SeemConfig
from segcli.models.seem.decoder import DecoderImage
from segcli.models.seem.model import SeemModel
from segcli.models.seem.next_click import next_clicks
from segcli.models.seem.postprocess import resize_interactive, resize_masks
from segcli.models.seem.prompts import Prompts
from tests.goldens.contract import Golden, Outcome
from tests.goldens.seem_kinds.decoder import PREFIX as DECODER
from tests.goldens.seem_kinds.decoder import decoder_config, stage_outputs
from tests.goldens.seem_kinds.pixel_decoder import PREFIX as PIXEL_DECODER
from tests.goldens.seem_kinds.post import outputs_of
from tests.goldens.seem_kinds.recorded import Recorded, RecordedDraws, layers_in, load


def focal_config(weights: Mapping[str, Tensor]) -> FocalConfig:
    stages = range(layers_in(weights, "layers."))
    block = "layers.{}.blocks.0."
    dim = weights["patch_embed.proj.weight"].shape[0]
    return FocalConfig(
        dim,
        tuple(layers_in(weights, f"layers.{i}.blocks.") for i in stages),
        tuple(layers_in(weights, block.format(i) + "modulation.focal_layers.") for i in stages),
        tuple(weights[block.format(i) + "modulation.focal_layers.0.0.weight"].shape[-1] for i in stages),
        weights[block.format(0) + "mlp.fc1.weight"].shape[0] / dim,
        depthwise=block.format(0) + "dw1.weight" in weights,
    )


def build(recorded: Recorded) -> SeemModel:
    weights = {k: t for k, t in recorded.tensors.items() if not k.startswith(("in.", "out.", "draw."))}
    pixel = recorded.weights(PIXEL_DECODER)
    layers = layers_in(pixel, "transformer.encoder.layers.")
    config = SeemConfig(
        focal_config(recorded.weights("backbone.")),
        PixelDecoderConfig(
            "fpn",
            pixel["input_proj.weight"].shape[0],
            pixel["mask_features.weight"].shape[0],
            recorded.setting("NHEADS", "heads", 8),
            pixel["transformer.encoder.layers.0.linear1.weight"].shape[0],
            layers,
        ),
        decoder_config(recorded, recorded.weights(DECODER)),
        int(weights["criterion.empty_weight"].numel()) - 1
        if "criterion.empty_weight" in weights
        else recorded.get("in.class_bank").shape[0] - 1,
    )
    model = SeemModel(config)
    for name in ("dilation_kernel", "criterion.empty_weight"):  # constants, which a recording may leave out
        weights.setdefault(name, model.state_dict()[name])
    load(model, weights)
    return model


@torch.no_grad()
def run(golden: Golden) -> Outcome:
    recorded = Recorded.read(golden)
    meta, model = recorded.meta, build(recorded)
    picture = recorded.get("in.image")[None]
    image_size = (picture.shape[-2], picture.shape[-1])
    output_size = (meta["output_size"][0], meta["output_size"][1])
    padded = model.padded_size(*image_size)
    outputs = dict(model.backbone(model.prepare_image(picture)))
    image = model.encode(picture)
    plain = stage_outputs(model.decoder, model.decoder(image).last, image, recorded.get("in.class_bank"))
    outputs |= {key: plain[key] for key in ("pred_logits", "pred_masks")}
    masks = resize_masks(plain["pred_masks"][0], padded, image_size, output_size)
    outputs |= outputs_of(plain["pred_logits"][0], masks, meta)
    outputs |= interactive_rounds(recorded, model, image, recorded.draws(), padded, image_size, output_size)
    return recorded.compare(outputs)


def interactive_rounds(
    recorded: Recorded,
    model: SeemModel,
    image: DecoderImage,
    draws: RecordedDraws,
    padded: tuple[int, int],
    image_size: tuple[int, int],
    output_size: tuple[int, int],
) -> dict[str, Tensor]:
    def on_padding(masks: Tensor) -> Tensor:
        return F.pad(masks, (0, padded[1] - image_size[1], 0, padded[0] - image_size[0]))

    truth, positive = on_padding(recorded.get("in.gt_masks")), on_padding(recorded.get("in.first_click"))
    negative = torch.zeros_like(positive)
    whole = recorded.get("in.gt_masks_orisize")
    previous, ious = None, []
    outputs: dict[str, Tensor] = {}
    for i in range(recorded.meta["iters"]):
        # Object queries are left out: the recording was made with them, and its masks stay the same.
        prompts = Prompts([positive], [negative], previous)
        output = model.decoder(image, prompts, draws=draws, objects=False)
        previous = model.decoder.spatial_masks(output, image)
        clicks = next_clicks(previous[0], truth, positive, negative)
        positive, negative = clicks.positive, clicks.negative
        outputs[f"round.{i}.prev_mask"] = previous
        outputs[f"round.{i}.next_pos"], outputs[f"round.{i}.next_neg"] = positive[None], negative[None]
        found = resize_interactive(previous[0], padded, image_size, output_size).sigmoid() > 0.5
        counted = whole != -1
        overlap = (found & (whole == 1) & counted).flatten(1).sum(1)
        union = ((found | (whole == 1)) & counted).flatten(1).sum(1)
        ious.append(overlap / union)
    return outputs | {"ious": torch.stack(ious, 1)}

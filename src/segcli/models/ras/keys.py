"""How published files name the tensors that RAS begins from: LLaVA-1.5 and the four visual encoders."""

from __future__ import annotations

import re

from segcli.models.layers.loading import KeyTable, same_names

_DINOV2 = (
    (re.compile(r"attention\.attention\.(query|key|value)\."), lambda m: f"attention.{m[1][0]}_proj."),
    (re.compile(r"attention\.output\.dense\."), lambda m: "attention.o_proj."),
)
_CONVNEXT = {
    "conv_dw": "dwconv",
    "norm": "layernorm",
    "mlp.fc1": "pwconv1",
    "mlp.fc2": "pwconv2",
    "gamma": "layer_scale_parameter",
}


def clip(key: str) -> str | None:
    """transformers' CLIP files: the vision tower, without its prefix; the text tower is not needed."""
    return _vision_tower(key, ("text_model.", "logit_scale", "text_projection", "visual_projection"))


def siglip(key: str) -> str | None:
    """transformers' SigLIP files: the vision tower without the pooling head."""
    return _vision_tower(key, ("text_model.", "logit_scale", "logit_bias", "vision_model.head."))


def dinov2(key: str) -> str | None:
    """transformers' DINOv2 files; released ones keep query, key and value one level deeper."""
    for pattern, place in _DINOV2:
        key = pattern.sub(place, key)
    return key


def openclip_convnext(key: str) -> str | None:
    """OpenCLIP's ConvNeXt: timm's trunk below `visual.trunk.`; its head and the text tower are not needed."""
    if not key.startswith("visual.trunk.") or key.startswith("visual.trunk.head."):
        return None
    path = key.removeprefix("visual.trunk.")
    if match := re.fullmatch(r"stem\.([01])\.(weight|bias)", path):
        return f"embeddings.{('patch_embeddings', 'layernorm')[int(match[1])]}.{match[2]}"
    if match := re.fullmatch(r"stages\.(\d+)\.downsample\.([01])\.(weight|bias)", path):
        return f"encoder.stages.{match[1]}.downsampling_layer.{match[2]}.{match[3]}"
    if match := re.fullmatch(r"stages\.(\d+)\.blocks\.(\d+)\.(.+?)(\.weight|\.bias)?", path):
        part = _CONVNEXT.get(match[3], match[3])
        return f"encoder.stages.{match[1]}.layers.{match[2]}.{part}{match[4] or ''}"
    return path


def llava(key: str) -> str | None:
    """llava-hf's files onto ours: language model, image projector and CLIP; `lm_head` is for stage 1 only.

    The older layout has `language_model.model.`, the newer one `model.language_model.`.
    """
    key = (
        key.removeprefix("model.")
        if key.startswith(("model.language_model.", "model.vision_tower.", "model.multi"))
        else key
    )
    if key.endswith("lm_head.weight"):
        return None
    if key.startswith("language_model."):
        return "language_model." + key.removeprefix("language_model.").removeprefix("model.")
    if match := re.fullmatch(r"multi_modal_projector\.linear_([12])\.(weight|bias)", key):
        return f"image_projector.{('0', '2')[int(match[1]) - 1]}.{match[2]}"
    if key.startswith("vision_tower."):
        tower = clip(key.removeprefix("vision_tower."))
        return tower and f"encoders.0.model.{tower}"
    return key


def _vision_tower(key: str, unneeded: tuple[str, ...]) -> str | None:
    if key.startswith(unneeded) or key.endswith("position_ids"):
        return None
    return key.removeprefix("vision_model.")


ENCODER_TABLES: dict[str, KeyTable] = {"clip": clip, "convnext": openclip_convnext, "siglip": siglip, "dinov2": dinov2}
KEY_TABLES: dict[str, KeyTable] = {"seg": same_names}

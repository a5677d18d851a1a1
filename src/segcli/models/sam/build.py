"""transformers' models of given sizes on the meta device, ready to be filled."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from segcli.models.sam.config import SamSizes


def build_sam(sizes: SamSizes) -> nn.Module:
    """SAM for images."""
    from transformers import SamConfig, SamModel
    from transformers.models.sam.configuration_sam import SamVisionConfig

    more = dict(sizes.more or {})
    config = SamConfig(vision_config=SamVisionConfig(**sizes.values), **more)
    with torch.device("meta"):
        return SamModel(config)


def build_sam2(sizes: SamSizes) -> nn.Module:
    """SAM 2 for video, whose file holds the image model as well."""
    from transformers import Sam2VideoConfig, Sam2VideoModel
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig

    more = dict(sizes.more or {})
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(**sizes.values),
        backbone_channel_list=list(sizes.neck),
        **more.pop("vision", {}),
    )
    config = Sam2VideoConfig(vision_config=vision, **more)
    with torch.device("meta"):
        model: Any = Sam2VideoModel(config)
    # Buffers that no file holds are computed when a module is built; the memory attention has some.
    fresh = type(model.memory_attention)(config)
    saved = fresh.state_dict()
    for name, buffer in fresh.named_buffers():
        if name not in saved:
            place, _, leaf = name.rpartition(".")
            model.memory_attention.get_submodule(place)._buffers[leaf] = buffer
    return model  # type: ignore[no-any-return]


def image_part(video: Any) -> nn.Module:
    """The image model of a video model, with the same tensors."""
    from transformers import Sam2Config, Sam2Model

    config = Sam2Config(
        vision_config=video.config.vision_config,
        prompt_encoder_config=video.config.prompt_encoder_config,
        mask_decoder_config=video.config.mask_decoder_config,
    )
    with torch.device("meta"):
        model: Any = Sam2Model(config)
    for part in ("shared_image_embedding", "vision_encoder", "prompt_encoder", "mask_decoder"):
        setattr(model, part, getattr(video, part))
    model.no_memory_embedding = video.no_memory_embedding
    return model  # type: ignore[no-any-return]

"""SEEM of the published sizes: backbone, pixel decoder, decoder, under the names of its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.backbones.config import DavitConfig, FocalConfig
from segcli.models.backbones.davit import DaViT
from segcli.models.backbones.focal import FocalNet
from segcli.models.backbones.samvit import SamViT
from segcli.models.seem.config import BackboneConfig, PixelDecoderConfig, SeemConfig
from segcli.models.seem.decoder import DecoderImage, SeemDecoder
from segcli.models.seem.pixel_decoder_deform import PixelDecoderDeform
from segcli.models.seem.pixel_decoder_fpn import PixelDecoderFPN

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""Of RGB in 0..255 (ImageNet)."""

NO_OBJECT_WEIGHT = 0.1
"""Weight of the background class in the class loss; checkpoints carry it as a buffer."""

Backbone = FocalNet | DaViT | SamViT
PixelDecoder = PixelDecoderFPN | PixelDecoderDeform


def build_backbone(config: BackboneConfig) -> Backbone:
    """The backbone that a configuration describes."""
    if isinstance(config, FocalConfig):
        return FocalNet(config)
    return DaViT(config) if isinstance(config, DavitConfig) else SamViT(config)


def build_pixel_decoder(config: PixelDecoderConfig, channels: Sequence[int]) -> PixelDecoder:
    """The pixel decoder behind a backbone with these channels."""
    kind = PixelDecoderFPN if config.kind == "fpn" else PixelDecoderDeform
    return kind(channels, config.dim, config.mask_dim, config.heads, config.ffn, config.layers, config.groups)


class SegHead(nn.Module):
    """Pixel decoder and decoder, under the published prefix `sem_seg_head`."""

    def __init__(self, pixel_decoder: PixelDecoder, predictor: SeemDecoder) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor


class CriterionBuffers(nn.Module):
    """The class weights that training left in the checkpoints."""

    empty_weight: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        weight = torch.ones(classes + 1)
        weight[-1] = NO_OBJECT_WEIGHT
        self.register_buffer("empty_weight", weight)


class SeemModel(nn.Module):
    """The whole network. Its state dict has exactly the keys of the released files.

    Build it under `torch.device("meta")` and fill it with `segcli.models.layers.loading.load_strict`.
    """

    dilation_kernel: Tensor

    def __init__(self, config: SeemConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("dilation_kernel", torch.ones(1, 1, 3, 3))
        self.backbone = build_backbone(config.backbone)
        self.sem_seg_head = SegHead(
            build_pixel_decoder(config.pixel_decoder, self.backbone.channels), SeemDecoder(config.decoder)
        )
        if config.decoder.variant != "demo":  # the demo's files have no training buffers
            self.criterion = CriterionBuffers(config.classes)

    @property
    def decoder(self) -> SeemDecoder:
        """SEEM's decoder."""
        return self.sem_seg_head.predictor

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after padding."""
        step = self.config.size_divisibility
        return height + -height % step, width + -width % step

    def prepare_image(self, image: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..255 -> normalised, then padded with zeros right and below."""
        mean = torch.tensor(MEAN, device=image.device)[:, None, None]
        std = torch.tensor(STD, device=image.device)[:, None, None]
        x = (image.float() - mean) / std
        height, width = image.shape[-2:]
        padded = self.padded_size(int(height), int(width))
        return F.pad(x, (0, padded[1] - width, 0, padded[0] - height))

    def encode(self, image: Tensor) -> DecoderImage:
        """RGB [B, 3, H, W] in 0..255 -> all that the decoder needs, for any number of prompts."""
        x = self.prepare_image(image).to(self.decoder.query_feat.weight.dtype)
        mask_features, multi_scale = self.sem_seg_head.pixel_decoder(self.backbone(x))
        return self.decoder.prepare(mask_features, multi_scale)

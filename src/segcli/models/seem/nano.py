"""seem-nano: the published architecture, small, with the helps that this size needs.

backbone -> pixel decoder (FPN with a transformer encoder) -> click path -> SEEM decoder -> mask at stride 4 -> detail
head -> mask at stride 2. The click path and the detail head are ours; the official members do not have them. Words are
read by a head of their own (words.py) from the same encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.backbones.efficientnet_lite import MEAN, SCALE, EfficientNetLite
from segcli.models.seem.attention import Group
from segcli.models.seem.click_path import STRIDE, ClickImage, ClickPath, DetailHead, PromptMaps
from segcli.models.seem.config import DecoderConfig
from segcli.models.seem.decoder import DecoderImage, DecoderOutput, SeemDecoder
from segcli.models.seem.pixel_decoder_fpn import LEVELS, PixelDecoderFPN
from segcli.models.seem.prompts import PointSet, Prompts
from segcli.models.seem.words import WordHead, WordImage

_EMPTY_LOGIT = -8.0  # of a previous mask that does not exist


@dataclass(frozen=True)
class NanoConfig:
    """Sizes, and which of the helps are in use (`decoder` off leaves the click path's own answer, for ablations)."""

    backbone: str = "lite0"
    tuned: bool = False  # clicks look through a backbone of their own, which was trained with the rest
    dim: int = 64
    heads: int = 4
    encoder_layers: int = 2
    encoder_ffn: int = 256
    widths: tuple[int, int, int] = (32, 64, 96)
    decoder: bool = True
    decoder_layers: int = 3
    decoder_ffn: int = 256
    queries: int = 16
    answers: int = 3  # queries that answer one object, SEEM's QUERY_NUMBER
    memories: int = 8
    words: tuple[str, ...] = ()  # the vocabulary, in the order of the table of word embeddings; none: clicks only
    stuff: tuple[str, ...] = ()  # those of the words that can't be counted


@dataclass
class WordInput:
    """What the word head reads of B photos.

    features: [B, dim, H/8, W/8] mask features.
    levels:   res4 and res5 of the shared backbone. Where clicks look through a backbone of their own they are None
              until the first word is asked for; then they come from `pixels` [B, 3, H, W], which go.
    """

    features: Tensor
    levels: tuple[Tensor, Tensor] | None
    pixels: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all maps."""
        held = [self.features, *(self.levels or ()), *([] if self.pixels is None else [self.pixels])]
        return sum(t.nbytes for t in held)


@dataclass(frozen=True)
class NanoEncoded:
    """One batch of photos after everything that no prompt changes.

    detail: the image's part of the detail head; words: what the word head reads, None for a member without words.
    """

    click: ClickImage
    detail: Tensor
    words: WordInput | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all maps."""
        return self.click.nbytes + self.detail.nbytes + (0 if self.words is None else self.words.nbytes)


@dataclass(frozen=True)
class NanoAnswer:
    """Mask logits of N objects.

    final:        [N, 1, H/2, W/2], or [N, K, H/2, W/2] when alternatives were asked for; the first is the answer.
    alternatives: [N, K, H/4, W/4], what `final` was made from.
    auxiliary:    earlier stages of the first one, each [N, 1, H/4, W/4], for deep supervision.
    """

    final: Tensor
    alternatives: Tensor
    auxiliary: list[Tensor]


class SeemNano(nn.Module):
    """The network of the bundled member.

    `backbone` is frozen and shared with other bundled members; words and videos read it. Clicks read `click_backbone`
    if the member is `tuned`, else the shared one too.
    """

    def __init__(self, config: NanoConfig | None = None) -> None:
        super().__init__()
        config = config or NanoConfig()
        self.config = config
        dim = config.dim
        self.backbone = EfficientNetLite(config.backbone)
        self.backbone.requires_grad_(False)
        self.click_backbone = EfficientNetLite(config.backbone) if config.tuned else None
        levels = {name: self.backbone.channels[name] for name in LEVELS}
        self.pixel_decoder = PixelDecoderFPN(
            list(levels.values()), dim, dim, config.heads, config.encoder_ffn, config.encoder_layers
        )
        self.click_path = ClickPath(levels, dim, config.widths)
        self.direct = nn.Conv2d(dim, config.answers, 1)
        self.predictor: SeemDecoder | None = None
        if config.decoder:
            sizes = DecoderConfig(
                dim=dim,
                mask_dim=dim,
                class_dim=dim,
                heads=config.heads,
                ffn=config.decoder_ffn,
                layers=config.decoder_layers,
                queries=config.queries,
                queries_per_object=config.answers,
                memories=config.memories,
            )
            self.predictor = SeemDecoder(sizes)
            nn.init.zeros_(self.predictor.mask_embed.layers[-1].weight)  # type: ignore[arg-type]
        self.detail = DetailHead(self.backbone.channels["res1"], dim)
        self.words = WordHead(self.backbone.channels, dim, len(config.words)) if config.words else None

    def encode_backbone(self, images: Tensor) -> dict[str, Tensor]:
        """Photos [B, 3, H, W] in 0..255 (H and W multiples of 32) -> what clicks look through: res1..res5, the photo
        at stride 2, and for a tuned member with words the photos themselves as "pixels"."""
        x = _laid_out(images)
        maps: dict[str, Tensor] = (self.click_backbone or self.backbone)(x)
        maps["photo"] = _around_zero(x)
        if self.words is not None and self.click_backbone is not None:
            maps["pixels"] = x
        return maps

    def encode_shared(self, images: Tensor) -> dict[str, Tensor]:
        """The same photos through the backbone that bundled members share: res1..res5 and the photo at stride 2."""
        x = _laid_out(images)
        maps: dict[str, Tensor] = self.backbone(x)
        maps["photo"] = _around_zero(x)
        return maps

    def encode_features(self, backbone: Mapping[str, Tensor]) -> NanoEncoded:
        """The rest of what no prompt changes."""
        mask_features, multi_scale = self.pixel_decoder(backbone)
        words = None
        if self.words is not None:
            pixels = backbone.get("pixels")
            levels = (backbone["res4"], backbone["res5"]) if pixels is None else None
            words = WordInput(F.avg_pool2d(mask_features, 2), levels, pixels)
        return NanoEncoded(
            self.click_path.prepare(backbone, mask_features, multi_scale),
            self.detail.prepare(backbone["res1"], backbone["photo"]),
            words,
        )

    def read(self, encoded: NanoEncoded) -> WordImage:
        """The photos in the joint space with words. Raises ValueError for a member without words."""
        if self.words is None or encoded.words is None:
            raise ValueError("this member has no words")
        image: WordImage = self.words(*self._word_maps(encoded.words), encoded.words.features)
        return image

    def _word_maps(self, words: WordInput) -> tuple[Tensor, Tensor]:
        """res4 and res5 of the shared backbone, computed now if no word was asked for before."""
        if words.levels is None:
            assert words.pixels is not None
            maps = self.backbone(words.pixels)
            words.levels, words.pixels = (maps["res4"], maps["res5"]), None
        return words.levels

    def answer(
        self,
        encoded: NanoEncoded,
        prompts: PromptMaps,
        image_of: Tensor,
        *,
        detail: bool = True,
        alternatives: bool = False,
    ) -> NanoAnswer:
        """Answer N objects; image_of [N] says on which photo. `detail` off upsamples bilinearly to stride 2."""
        features, maps = self.click_path(encoded.click, prompts, image_of)
        every = self.direct(features)
        auxiliary: list[Tensor] = []
        if self.predictor is not None:
            # The click path's own reading stays; the decoder's queries correct it.
            auxiliary.append(every[:, :1])
            image = self.predictor.prepare(features, maps)
            output = self.predictor(image, _decoder_prompts(prompts, features.shape[-2:]), objects=False)
            every = every + self._masks(output, image)
        final = every if alternatives else every[:, :1]
        if detail:
            final = self.detail(final, features, encoded.detail, image_of)
        else:
            final = F.interpolate(final, scale_factor=2, mode="bilinear", align_corners=False)
        return NanoAnswer(final, every, auxiliary)

    def _masks(self, output: DecoderOutput, image: DecoderImage) -> Tensor:
        assert self.predictor is not None
        return self.predictor.masks(output.last[Group.SPATIAL_QUERIES].mask_embeddings, image)


def _laid_out(images: Tensor) -> Tensor:
    x = images if images.is_floating_point() else images.float()
    return x.contiguous(memory_format=torch.channels_last)


def _around_zero(x: Tensor) -> Tensor:
    """[B, 3, H, W] in 0..255 -> [B, 3, H/2, W/2] as the backbone scales it."""
    return (F.avg_pool2d(x, 2) - MEAN) / SCALE


def _decoder_prompts(prompts: PromptMaps, cells: torch.Size) -> Prompts:
    """The same prompts as SEEM's decoder takes them: point sets as fractions, and the memory's mask as logits."""
    height, width = cells[0] * STRIDE, cells[1] * STRIDE
    size = prompts.points.new_tensor([height, width])
    signed: list[list[PointSet]] = []
    for sign in (1, 0):
        sets = []
        for points in prompts.points:
            yx = (points[points[:, 2] == sign][:, :2].flip(-1) + 0.5) / size
            sets.append(PointSet(yx, torch.zeros(len(yx), dtype=torch.long, device=yx.device), 1))
        signed.append(sets)
    previous = prompts.previous.float().clamp(1e-4, 1 - 1e-4)
    logits = torch.where(prompts.previous > 0, torch.logit(previous), _EMPTY_LOGIT)
    return Prompts(positive=signed[0], negative=signed[1], previous=logits)

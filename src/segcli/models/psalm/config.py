"""Sizes of PSALM's parts, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

from segcli.core.errors import CheckpointError


@dataclass(frozen=True)
class SwinConfig:
    """Swin-B unless said otherwise (Liu et al., 2021, section 3.3); windows of `window` x `window` tokens."""

    embed_dim: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 12
    drop_path: float = 0.3  # in training only

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of res2 to res5."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))


@dataclass(frozen=True)
class PhiSizes:
    """Phi-1.5 unless said otherwise. `positions`: the longest sequence that it was trained for."""

    hidden: int = 2048
    layers: int = 24
    heads: int = 32
    intermediate: int = 8192
    vocab: int = 50297
    positions: int = 2048
    partial_rotary: float = 0.5


@dataclass(frozen=True)
class PixelDecoderConfig:
    """Mask2Former's deformable pixel decoder."""

    dim: int = 256
    mask_dim: int = 256
    heads: int = 8
    points: int = 4
    hidden: int = 1024
    layers: int = 6
    groups: int = 32


@dataclass(frozen=True)
class DecoderConfig:
    """The masked-attention decoder; `queries` is also the number of mask tokens."""

    dim: int = 256
    heads: int = 8
    hidden: int = 2048
    layers: int = 9
    queries: int = 100


@dataclass(frozen=True)
class PsalmConfig:
    """A whole PSALM; the defaults are the released one.

    image_size: side of the padded square that the network sees; planes: width of the projector's convolutions.
    decoupled:  masks are proposed by mask tokens and then scored by conditions. False is the paper's ablation, in
                which each condition's own embedding is the query that draws its mask.
    region_points: how many random pixels of a region are read; published: 256. 0 reads all of them, without draws.
    lite:       a frozen EfficientNet-Lite ("lite0") in place of Swin, for the bundled member.
    token_maps: maps that the photo's tokens are made from, the finest first; tokens are at twice its stride.
    sure:       a query whose best class is less probable is left out of panoptic maps, unless asked otherwise.
    placed:     each token of a photo has a learned place added. Swin's maps know where they are, Lite's hardly do.
    """

    image_size: int = 1024
    planes: int = 2048
    swin: SwinConfig = field(default_factory=SwinConfig)
    phi: PhiSizes = field(default_factory=PhiSizes)
    pixel_decoder: PixelDecoderConfig = field(default_factory=PixelDecoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    decoupled: bool = True
    region_points: int = 0
    lite: str = ""
    token_maps: tuple[str, ...] = ("res5",)
    placed: bool = False
    sure: float = 0.8

    @property
    def image_tokens(self) -> int:
        """Tokens of one photo in the language model's sequence."""
        stride = 2 << int(self.token_maps[0].removeprefix("res"))
        return (-(-self.image_size // stride)) ** 2


PRESETS = {
    "swin-b": PsalmConfig(),
    "swin-b-published": PsalmConfig(region_points=256),
    "swin-l": PsalmConfig(swin=SwinConfig(192, (2, 2, 18, 2), (6, 12, 24, 48))),
    "nano": PsalmConfig(
        image_size=256,
        planes=128,
        swin=SwinConfig(24, (1, 1, 2, 1), (1, 2, 4, 8), 4, 0.0),
        phi=PhiSizes(128, 3, 4, 256, 512, 1024),
        pixel_decoder=PixelDecoderConfig(64, 64, 4, 4, 128, 2, 16),
        decoder=DecoderConfig(64, 4, 128, 3, 20),
    ),
    "lite0": PsalmConfig(
        image_size=256,
        planes=64,
        phi=PhiSizes(128, 3, 4, 256, 320, 1024),
        pixel_decoder=PixelDecoderConfig(64, 64, 4, 4, 128, 1, 16),
        decoder=DecoderConfig(64, 4, 192, 3, 20),
        lite="lite0",
        token_maps=("res4", "res5"),
        placed=True,
        sure=0.4,
    ),
}


def config_of(given: str | Mapping[str, Any], name: str) -> PsalmConfig:
    """The config that a preset's name or the values themselves (nested mappings) mean.

    Raises CheckpointError that names the checkpoint `name` and the word that nobody knows.
    """
    if isinstance(given, str):
        if given not in PRESETS:
            raise CheckpointError(f"{name}: seg has no PSALM of size {given!r}; those it has: {', '.join(PRESETS)}")
        return PRESETS[given]
    config: PsalmConfig = _filled(PsalmConfig, given, name)
    return config


def _filled(kind: Any, values: Mapping[str, Any], name: str) -> Any:
    hints = get_type_hints(kind)
    odd = sorted(set(values) - {f.name for f in fields(kind)})
    if odd:
        raise CheckpointError(f"{name}: its config has {', '.join(odd)}, which PSALM does not know")
    read: dict[str, Any] = {}
    for word, value in values.items():
        if is_dataclass(hints[word]):
            read[word] = _filled(hints[word], value, name)
        else:
            read[word] = tuple(value) if isinstance(value, list) else value
    return kind(**read)

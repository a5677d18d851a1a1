"""Sizes and variants of SEEM: every value that the published configurations set, and presets with their names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from segcli.core.errors import UsageError
from segcli.models.backbones.config import DavitConfig, FocalConfig, SamVitConfig
from segcli.models.seem.attention import COMPOSED, DEMO, V0, V1, AttentionTable


class SpatialQueries(StrEnum):
    """Which queries answer marks on the image."""

    PER_OBJECT = "per-object"  # a few for each object (v1)
    COPIES = "copies"  # a copy of all object queries, one object a batch element (v0)
    NONE = "none"  # the object queries themselves (demo)


@dataclass(frozen=True)
class Variant:
    """What differs between the releases; their checkpoints have the same keys and shapes.

    empty_vector: the value of the mean mask feature of an object without a mark.
    """

    table: AttentionTable
    spatial_queries: SpatialQueries
    empty_vector: float

    @property
    def text_copies(self) -> bool:
        """Whether words are answered by copies of the object queries."""
        return self.spatial_queries is not SpatialQueries.NONE

    @property
    def composed(self) -> Variant:
        """The same where words and places meet; in the demo they do already."""
        return replace(self, table=COMPOSED) if self.text_copies else self

    @property
    def exhaustive(self) -> Variant:
        """The same with a copy of every object query for one object's marks: all draws of v1 at once."""
        return replace(self, spatial_queries=SpatialQueries.COPIES) if self.text_copies else self


VARIANTS = {
    "v1": Variant(V1, SpatialQueries.PER_OBJECT, -1.0),
    "v0": Variant(V0, SpatialQueries.COPIES, 0.0),
    "demo": Variant(DEMO, SpatialQueries.NONE, 0.0),
    "composed": Variant(COMPOSED, SpatialQueries.PER_OBJECT, -1.0),
}


@dataclass(frozen=True)
class TextConfig:
    """CLIP-like text encoder."""

    width: int = 512
    context: int = 77
    vocabulary: int = 49408
    layers: int = 12
    heads: int = 8


@dataclass(frozen=True)
class DecoderConfig:
    """SEEM's decoder (`predictor` in the checkpoints).

    dim: channels of the queries; mask_dim: of the mask features; class_dim: of the joint space with words.
    point_budget: marked points read from an image, positive and negative each.
    text: None leaves the text encoder out (class banks then come from elsewhere, or aren't used).
    """

    dim: int = 512
    mask_dim: int = 512
    class_dim: int = 512
    heads: int = 8
    ffn: int = 2048
    layers: int = 9
    queries: int = 101
    queries_per_object: int = 3
    memories: int = 32
    point_budget: int = 512
    levels: int = 3
    variant: str = "v1"
    text: TextConfig | None = None


@dataclass(frozen=True)
class PixelDecoderConfig:
    """Pixel decoder: `fpn` for convolutional backbones, `deform` for SAM's."""

    kind: str = "fpn"
    dim: int = 512
    mask_dim: int = 512
    heads: int = 8
    ffn: int = 2048
    layers: int = 6
    groups: int = 32


BackboneConfig = FocalConfig | DavitConfig | SamVitConfig


@dataclass(frozen=True)
class SeemConfig:
    """One published configuration.

    size_divisibility: the image is padded with zeros to multiples of this, right and below.
    short_side, long_side: the published test size (panoptic and interactive).
    """

    backbone: BackboneConfig
    pixel_decoder: PixelDecoderConfig = field(default_factory=PixelDecoderConfig)
    decoder: DecoderConfig = field(default_factory=lambda: DecoderConfig(text=TextConfig()))
    classes: int = 133
    size_divisibility: int = 32
    short_side: int = 800
    long_side: int = 1333


_DEFORM = PixelDecoderConfig(kind="deform", ffn=1024)

PRESETS: dict[str, SeemConfig] = {
    "focal-t": SeemConfig(FocalConfig(96, (2, 2, 6, 2), (3, 3, 3, 3), depthwise=True)),
    "focal-l": SeemConfig(FocalConfig(192, (2, 2, 18, 2), (4, 4, 4, 4))),
    "davit-d3": SeemConfig(DavitConfig((128, 256, 512, 1024), (4, 8, 16, 32), (4, 8, 16, 32))),
    "davit-d5": SeemConfig(
        DavitConfig((256, 512, 1024, 2048), (8, 16, 32, 64), (8, 16, 32, 64), patch=(7, 3, 3, 3), padding=(3, 1, 1, 1))
    ),
    "samvit-b": SeemConfig(
        SamVitConfig(768, 12, 12, (2, 5, 8, 11)), _DEFORM, size_divisibility=1024, short_side=1000, long_side=1024
    ),
    "samvit-l": SeemConfig(
        SamVitConfig(1024, 24, 16, (5, 11, 17, 23)), _DEFORM, size_divisibility=1024, short_side=1000, long_side=1024
    ),
}


def preset(name: str) -> SeemConfig:
    """The configuration called `<backbone>-<variant>` (`focal-t-v1`), or `<backbone>` alone, which is v1.

    Raises UsageError for a name that isn't known.
    """
    backbone, _, variant = name.rpartition("-")
    if name in PRESETS:
        backbone, variant = name, "v1"
    if backbone not in PRESETS or variant not in VARIANTS:
        raise UsageError(
            f"seem: no configuration {name!r}; type one of {', '.join(PRESETS)}, then -v1, -v0, -demo or -composed"
        )
    config = PRESETS[backbone]
    return replace(config, decoder=replace(config.decoder, variant=variant))

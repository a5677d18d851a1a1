"""Sizes of RAS, and the choices that the paper's ablations vary. Everything here is plain data that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from segcli.core.errors import CheckpointError

EncoderKind = Literal["clip", "convnext", "siglip", "dinov2", "lite0", "colours"]
Pool = Literal["area", "nearest", "threshold"]
PreTokens = Literal["different", "same", "none", "added"]
DecodingAttention = Literal["causal", "independent", "set"]
Decoding = Literal["parallel", "autoregressive"]

OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALISATION = {"clip": OPENAI, "convnext": OPENAI, "siglip": HALF, "dinov2": IMAGENET}
"""Mean and standard deviation of RGB in [0, 1], by kind of encoder (the published ones of each)."""


@dataclass(frozen=True)
class EncoderConfig:
    """One frozen visual encoder.

    side:   input pixels; the photo is padded to a square and resized to it.
    sizes:  the transformers configuration's own words (`hidden_size`, `num_hidden_layers`, …).
    levels: which maps are pooled, where there are several: "res3,res4" of lite0, "multi" or "last" of ConvNeXt.
    """

    kind: EncoderKind
    side: int
    sizes: Mapping[str, Any] = field(default_factory=dict)
    levels: str = "last"


@dataclass(frozen=True)
class LanguageConfig:
    """The LLaMA: widths, and how many positions it was trained for."""

    hidden: int = 5120
    layers: int = 40
    heads: int = 40
    ffn: int = 13824
    vocabulary: int = 32064
    context: int = 4096
    eps: float = 1e-5


@dataclass(frozen=True)
class RasConfig:
    """One member of the family.

    positions:     channels of the sine-cosine position map (0: none), on a grid of `position_side` cells a side.
    geometry:      box, centre and area of the mask beside its pooled features; ours, for the nano size, off in the
                   published design.
    visual_tokens: the whole photo's tokens, from the first encoder (LLaVA's), before everything else.
    pre_tokens:    what stands before a mask token: two learnt tokens (candidate, reference), one for both, or nothing.
                   "added" is ours, for the nano size: the two are added to the mask token in place of standing before
                   it, so that no layer is spent on finding them and sequences are half as long.
    decoding_attention: what a second copy may look at, see `layout`.
    decoding:      all candidates at once, or (the paper's baseline) one chosen mask after the other.
    candidates:    the most that are taken; the rest is left out, last ones first.
    relations:     second copies are told where their mask stands beside each reference and among all candidates, see
                   `relations`; ours, for the nano size.
    names:         how many names the network's own head knows; mask tokens are told in these words what their mask is,
                   and its colours, see `names`. Ours; 0: they are not told.
    """

    encoders: tuple[EncoderConfig, ...]
    language: LanguageConfig = LanguageConfig()
    positions: int = 1024
    position_side: int = 32
    geometry: bool = False
    visual_tokens: bool = True
    pool: Pool = "area"
    pre_tokens: PreTokens = "different"
    decoding_attention: DecodingAttention = "causal"
    decoding: Decoding = "parallel"
    template: Literal["vicuna", "plain"] = "vicuna"
    threshold: float = 0.5
    candidates: int = 256
    relations: bool = False
    names: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` takes back."""
        return asdict(self)

    @property
    def pair(self) -> int:
        """Tokens that one mask takes: with a pre token, two."""
        return 1 if self.pre_tokens in ("none", "added") else 2


def from_json(values: Mapping[str, Any], name: str) -> RasConfig:
    """A config from plain data. Raises CheckpointError that names what is unknown."""
    try:
        language = LanguageConfig(**_known(LanguageConfig, values.get("language", {}), name))
        encoders = tuple(EncoderConfig(**_known(EncoderConfig, e, name)) for e in values["encoders"])
        rest = {k: v for k, v in _known(RasConfig, values, name).items() if k not in ("language", "encoders")}
        return RasConfig(encoders=encoders, language=language, **rest)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{name}: its config can't be used: {error}") from None


def _known(kind: type, values: Mapping[str, Any], name: str) -> dict[str, Any]:
    known = {f.name for f in fields(kind)}
    if odd := sorted(set(values) - known):
        raise CheckpointError(f"{name}: its config has {', '.join(odd)}, which {kind.__name__} does not know")
    return dict(values)


CLIP_L = EncoderConfig(
    "clip",
    336,
    {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "patch_size": 14,
    },
)
CONVNEXT_XXL = EncoderConfig("convnext", 1024, {"hidden_sizes": [384, 768, 1536, 3072], "depths": [3, 4, 30, 3]})
SIGLIP_SO400M = EncoderConfig(
    "siglip",
    384,
    {
        "hidden_size": 1152,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "intermediate_size": 4304,
        "patch_size": 14,
    },
)
DINOV2_L = EncoderConfig(
    "dinov2", 518, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}
)
ENSEMBLE = (CLIP_L, CONVNEXT_XXL, SIGLIP_SO400M, DINOV2_L)
VICUNA_7B = LanguageConfig(hidden=4096, layers=32, heads=32, ffn=11008)

NANO = RasConfig(
    encoders=(EncoderConfig("lite0", 384, levels="res2,res3,res4,res5"), EncoderConfig("colours", 192)),
    language=LanguageConfig(hidden=128, layers=4, heads=4, ffn=320, vocabulary=906, context=1024),
    pre_tokens="added",
    positions=64,
    position_side=24,
    geometry=True,
    visual_tokens=False,
    decoding_attention="set",
    template="plain",
    candidates=200,
    relations=True,
    names=198,
)

PRESETS = {"13b": RasConfig(ENSEMBLE), "7b": RasConfig(ENSEMBLE, VICUNA_7B), "nano": NANO}

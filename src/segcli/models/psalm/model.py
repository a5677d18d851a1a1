"""PSALM as a whole: image encoder, projector, language model, mask generator (Zhang et al., 2024, figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.backbones.efficientnet_lite import EfficientNetLite
from segcli.models.psalm.conditions import class_means, sentence_mean, states_at
from segcli.models.psalm.config import PsalmConfig
from segcli.models.psalm.decoder import Conditions, DecoderImage, MaskedDecoder
from segcli.models.psalm.layout import Piece, Places
from segcli.models.psalm.phi import phi_model
from segcli.models.psalm.picture import MEAN, STD
from segcli.models.psalm.pixel_decoder import PixelDecoder
from segcli.models.psalm.projector import Projector
from segcli.models.psalm.swin import Swin

_LEVELS = ("res2", "res3", "res4", "res5")


@dataclass(frozen=True)
class Heard:
    """What the language model's states give the mask generator: queries [1, Q, C] and conditions of one sample."""

    queries: Tensor
    conditions: Conditions


class Psalm(nn.Module):
    """All parts under our names; `keys.py` has the published ones."""

    def __init__(self, config: PsalmConfig) -> None:
        super().__init__()
        self.config = config
        hidden, dim = config.phi.hidden, config.decoder.dim
        if config.lite:
            self.backbone = EfficientNetLite(config.lite)  # named as in the file that the bundled members share
            channels = tuple(self.backbone.channels[level] for level in _LEVELS)
        else:
            self.swin = Swin(config.swin)
            channels = config.swin.channels
        read = sum(channels[_LEVELS.index(level)] for level in config.token_maps)
        self.projector = Projector(read, config.planes, hidden)
        self.places = nn.Parameter(torch.zeros(config.image_tokens, hidden)) if config.placed else None
        self.language = phi_model(config.phi)
        self.lm_head = nn.Linear(hidden, config.phi.vocab, bias=False)
        self.pixel_decoder = PixelDecoder(channels, config.pixel_decoder)
        self.decoder = MaskedDecoder(config.pixel_decoder.dim, config.pixel_decoder.mask_dim, config.decoder)
        self.mask_tokens = nn.Parameter(torch.zeros(config.decoder.queries, hidden))
        self.mask_token_projector = nn.Linear(hidden, dim)
        self.sentence_projector = nn.Linear(hidden, dim)
        self.class_projector = nn.Linear(hidden, dim)
        self.region_projector = nn.Linear(hidden, dim)

    def maps(self, pixels: Tensor) -> dict[str, Tensor]:
        """The image encoder: normalised pixels [B, 3, S, S] -> res2 to res5, strides 4 to 32."""
        if not self.config.lite:
            maps: dict[str, Tensor] = self.swin(pixels)
            return maps
        std, mean = (pixels.new_tensor(values)[:, None, None] for values in (STD, MEAN))
        found: dict[str, Tensor] = self.backbone(pixels * std + mean)
        return {level: found[level] for level in _LEVELS}

    def tokens_of(self, maps: Mapping[str, Tensor]) -> Tensor:
        """The encoder's maps -> the language model's tokens [B, T, D]."""
        finest = maps[self.config.token_maps[0]]
        read = [_grown(maps[level], finest) for level in self.config.token_maps]
        tokens: Tensor = self.projector(torch.cat(read, 1) if len(read) > 1 else finest)
        return tokens if self.places is None else tokens + self.places

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, S, S] -> the language model's tokens [B, T, D], without what masks need."""
        return self.tokens_of(self.maps(pixels))

    def look(self, pixels: Tensor) -> tuple[Tensor, DecoderImage]:
        """Normalised pixels [B, 3, S, S] -> tokens [B, T, D] for the language model, and what the decoder needs."""
        maps = self.maps(pixels)
        return self.tokens_of(maps), self.decoder.prepare(*self.pixel_decoder(self._for_masks(maps)))

    def _for_masks(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps in the mask generator's precision, which may be finer than that of the rest."""
        return {name: map_.to(self.decoder.decoder_norm.weight.dtype) for name, map_ in maps.items()}

    def keep_masks_exact(self) -> None:
        """Let the mask generator, a small part of the weights, compute in float32 whatever the rest does.

        Its places in the photo have more digits than half precision holds.
        """
        self.pixel_decoder.float()
        self.decoder.float()

    def embed(self, pieces: Sequence[Piece], tokens: Tensor | None, regions: Tensor | None = None) -> Tensor:
        """Rows of the sequence [1, L, D]: tokens [T, D] of the photo, features [R, D] of the regions.

        Raises ValueError for a piece that nothing was given for.
        """
        words = self.language.embed_tokens
        rows: list[Tensor] = []
        for piece in pieces:
            if piece.kind == "image" and tokens is not None:
                rows.append(tokens)
            elif piece.kind == "masks":
                rows.append(self.mask_tokens)
            elif piece.kind == "region" and regions is not None:
                rows.append(regions[piece.number - 1 : piece.number])
            elif piece.ids:
                ids = torch.tensor(piece.ids, device=self.mask_tokens.device)
                rows.append(words(ids))  # type: ignore[operator]
            else:
                raise ValueError(f"the sequence has a piece of kind {piece.kind!r} and nothing to put there")
        return torch.cat([row.to(self.mask_tokens.dtype) for row in rows])[None]

    def heard(self, hidden: Tensor, where: Places) -> Heard:
        """Queries and conditions from the states [L, D] of one sequence."""
        classes = sentence = regions = None
        exact = self.decoder.decoder_norm.weight.dtype
        count = int(where.classes.max()) if len(where.classes) else 0
        if count:
            classes = self.class_projector(class_means(hidden, where.classes, count)).to(exact)
        if bool(where.sentence.any()):
            sentence = self.sentence_projector(sentence_mean(hidden, where.sentence)).to(exact)
        if bool(where.regions.any()):
            regions = self.region_projector(states_at(hidden, where.regions)).to(exact)
        queries = self.mask_token_projector(states_at(hidden, where.masks)).to(exact)
        if not self.config.decoupled:
            queries = torch.cat([e for e in (classes, sentence, regions) if e is not None])
        return Heard(
            queries[None],
            Conditions(
                None if classes is None else classes[None],
                None if sentence is None else sentence[None],
                None if regions is None else [regions],
            ),
        )


def _grown(x: Tensor, like: Tensor) -> Tensor:
    """A map [B, C, h, w] at the size of `like`."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)

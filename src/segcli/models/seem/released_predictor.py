"""Asks about photos, answered by the members of SEEM whose checkpoints were released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import CheckpointError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.api import Encoded
from segcli.models.layers.loading import load_strict
from segcli.models.layers.memory import memory_errors
from segcli.models.seem.config import SeemConfig, SpatialQueries
from segcli.models.seem.decoder import DecoderImage
from segcli.models.seem.keys import KEY_TABLES
from segcli.models.seem.marks import InputSize, input_size, marks_of, previous_logits
from segcli.models.seem.model import SeemModel
from segcli.models.seem.postprocess import resize_interactive
from segcli.models.seem.prompts import Prompts

_SOFT_SIDE = 1024  # longest side of the probabilities that are handed out
_ALTERNATIVES = 3  # masks of an ambiguous prompt: one from each of the object's queries


@dataclass(frozen=True)
class EncodedPhoto:
    """A photo after everything that no prompt changes."""

    image: DecoderImage
    size: InputSize

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.image.nbytes


def build_released(
    config: SeemConfig,
    tensors: Mapping[str, Tensor],
    *,
    keys: str,
    name: str,
    revision: str,
    device: torch.device,
    dtype: torch.dtype,
) -> ReleasedPredictor:
    """A predictor with the weights of `tensors`, strictly loaded.

    Raises CheckpointError for keys that don't fit, each named, and for an unknown key table.
    """
    if keys not in KEY_TABLES:
        raise CheckpointError(f"{name}: SEEM has no key table {keys!r}; use one of {', '.join(KEY_TABLES)}")
    with torch.device("meta"):
        model = SeemModel(config)
    load_strict(model, tensors, KEY_TABLES[keys], name=name)
    return ReleasedPredictor(model.to(device, dtype), name, revision)


class ReleasedPredictor:
    """`segcli.models.api.Promptable` over the published network, at its published test size.

    Photos and asks are answered one by one, so that no answer depends on what else is in a batch.
    """

    accepts = frozenset(
        {
            PromptKind.POINT,
            PromptKind.BOX,
            PromptKind.SCRIBBLE,
            PromptKind.POLYGON,
            PromptKind.MASK,
            PromptKind.PREVIOUS,
        }
    )

    def __init__(self, model: SeemModel, name: str, revision: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.name, self.revision = name, revision
        self.device = model.decoder.query_feat.weight.device

    @property
    def reads(self) -> int:
        """Longest side in pixels that is looked at."""
        return self.model.config.long_side

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Backbone, pixel decoder, keys and values. Raises DeviceError when the device has no memory left."""
        return [self._encode(image) for image in images]

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """Answer asks about one photo. Raises DeviceError when the device has no memory left."""
        assert isinstance(encoded, EncodedPhoto)
        with torch.inference_mode(), memory_errors(self.name):
            return [self._answer(encoded, ask) for ask in asks]

    def _encode(self, image: Image) -> EncodedPhoto:
        config = self.model.config
        inner = input_size(image.size, config.short_side, config.long_side)
        pixels = Pillow.fromarray(image.pixels).resize((inner[1], inner[0]), Pillow.Resampling.BICUBIC)
        size = InputSize(image.size, inner, self.model.padded_size(*inner))
        photo = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].to(self.device)
        with torch.inference_mode(), memory_errors(self.name):
            return EncodedPhoto(self.model.encode(photo), size)

    def _answer(self, photo: EncodedPhoto, ask: Ask) -> Prediction:
        decoder = self.model.decoder
        positive, negative = (mark.to(self.device) for mark in marks_of(ask, photo.size))
        previous = None
        if ask.previous is not None:
            height, width = photo.image.mask_features.shape[-2:]
            previous = previous_logits(ask.previous, photo.size, (int(height), int(width)))
            previous = previous.to(photo.image.mask_features)
        # Object queries exchange nothing with marks, except in the demo variant, where they answer them.
        objects = decoder.variant.spatial_queries is SpatialQueries.NONE
        output = decoder(photo.image, Prompts([positive], [negative], previous), objects=objects)
        ranks = range(_ALTERNATIVES if ask.multimask else 1)
        masks = torch.cat([decoder.spatial_masks(output, photo.image, rank)[0] for rank in ranks])
        return self._prediction(masks.float(), photo.size)

    @staticmethod
    def _prediction(logits: Tensor, size: InputSize) -> Prediction:
        """Masks where the logit is positive at the photo's size, surest first; an empty mask is no answer."""
        found = []
        for plane in logits:
            full = resize_interactive(plane[None], size.padded, size.image, size.photo)[0]
            mask = full > 0
            if mask.any():
                found.append((float(full[mask].sigmoid().double().mean()), mask.cpu().numpy(), _soft(full)))
        found.sort(key=lambda one: -one[0])
        return Prediction(
            size.photo,
            tuple(encode(mask) for _, mask, _ in found),
            tuple(round(score, 4) for score, _, _ in found),
            soft=np.stack([soft for _, _, soft in found]) if found else None,
        )


def _soft(logits: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float16]]:
    height, width = (int(v) for v in logits.shape)
    factor = min(1.0, _SOFT_SIDE / max(height, width))
    fit = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = F.interpolate(logits[None, None], size=fit, mode="bilinear", align_corners=False)[0, 0]
    soft: np.ndarray[tuple[int, int], np.dtype[np.float16]] = small.sigmoid().cpu().numpy().astype(np.float16)
    return soft

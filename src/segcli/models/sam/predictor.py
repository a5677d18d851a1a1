"""Clicks, boxes and masks, answered by SAM or SAM 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import decode, encode
from segcli.models.api import Encoded, Promptable
from segcli.models.layers.loading import load_strict
from segcli.models.layers.memory import memory_errors
from segcli.models.sam.build import build_sam, build_sam2, image_part
from segcli.models.sam.config import PRESETS, SamSizes
from segcli.models.sam.frames import Frame
from segcli.models.sam.keys import SAM2_TABLES, SAM_TABLES, WithTied
from segcli.models.sam.tracker import Sam2Tracker

_MASK_LOGIT = 10.0  # what a given mask stands for among the low-resolution logits of an answer


@dataclass(frozen=True, eq=False)
class EncodedPhoto:
    """Image embeddings of one photo: a tensor (SAM) or three levels (SAM 2)."""

    embeddings: Any
    frame: Frame

    @property
    def nbytes(self) -> int:
        """Bytes of all embeddings."""
        levels = self.embeddings if isinstance(self.embeddings, list) else [self.embeddings]
        return sum(level.numel() * level.element_size() for level in levels)


class SamPredictor:
    """`segcli.models.api.Promptable` for the images of SAM and SAM 2. `model` is transformers' image model."""

    accepts = frozenset({PromptKind.POINT, PromptKind.BOX, PromptKind.MASK, PromptKind.PREVIOUS})

    def __init__(self, model: nn.Module, name: str, revision: str, device: torch.device, *, stretch: bool) -> None:
        self.model = cast(Any, model)
        model.eval()
        self.name, self.revision, self.device, self.stretch = name, revision, device, stretch
        self.dtype = next(model.parameters()).dtype
        self.side = int(self.model.config.prompt_encoder_config.image_size)

    @property
    def reads(self) -> int:
        """The side of the model's square."""
        return self.side

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Embed each photo. Raises DeviceError when the device has no memory left."""
        found: list[Encoded] = []
        with torch.inference_mode(), memory_errors(self.name):
            for image in images:
                frame = Frame(image.size, self.side, stretch=self.stretch)
                pixels = frame.pixels(image.pixels).to(self.device, self.dtype)
                found.append(EncodedPhoto(self.model.get_image_embeddings(pixels), frame))
        return found

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """Answer asks about one photo. Raises UsageError for an ask with several boxes, DeviceError."""
        with torch.inference_mode(), memory_errors(self.name):
            return [self._answer(cast(EncodedPhoto, encoded), ask) for ask in asks]

    def _answer(self, photo: EncodedPhoto, ask: Ask) -> Prediction:
        prompts = self._prompts(photo.frame, ask)
        # The published advice: three answers for a lone click, which may mean part or whole, and one otherwise.
        alone = len(ask.points) == 1 and not (ask.boxes or ask.mask or ask.previous)
        answer = self.model(image_embeddings=photo.embeddings, multimask_output=ask.multimask or alone, **prompts)
        scores, logits = answer.iou_scores[0, 0].float(), answer.pred_masks[0, 0]
        order = scores.argsort(descending=True, stable=True).tolist()[: None if ask.multimask else 1]
        masks = (photo.frame.back(logits[order]) > 0).cpu().numpy()
        soft = photo.frame.soft(logits[order])
        kept = [n for n in range(len(order)) if masks[n].any()]
        if not kept:
            return Prediction(photo.frame.size)
        return Prediction(
            photo.frame.size,
            tuple(encode(masks[n]) for n in kept),
            tuple(round(min(1.0, max(0.0, float(scores[order[n]]))), 4) for n in kept),
            soft=soft[kept],
        )

    def _prompts(self, frame: Frame, ask: Ask) -> dict[str, Tensor]:
        """The ask in the words of transformers' forward."""
        found: dict[str, Tensor] = {}
        if any(not box.positive for box in ask.boxes) or len(ask.boxes) > 1:
            raise UsageError(f"{self.name} takes one box around an object; give the others as clicks beside it")
        if ask.points:
            places = [frame.place(p.x, p.y) for p in ask.points]
            found["input_points"] = torch.tensor([[places]], dtype=self.dtype, device=self.device)
            found["input_labels"] = torch.tensor([[[int(p.positive) for p in ask.points]]], device=self.device)
        if ask.boxes:
            box = ask.boxes[0]
            corners = [*frame.place(box.x0, box.y0), *frame.place(box.x1, box.y1)]
            found["input_boxes"] = torch.tensor([[corners]], dtype=self.dtype, device=self.device)
        given = ask.previous or ask.mask
        if given is not None:
            side = 4 * int(self.model.config.prompt_encoder_config.image_size) // 16
            share = frame.mask(decode(given), side)
            found["input_masks"] = ((2 * share - 1) * _MASK_LOGIT).to(self.device, self.dtype)
        if given is not None and not ask.points and not ask.boxes:
            rows, columns = np.nonzero(decode(given))  # a mask alone is not a prompt that SAM was trained for
            x0, y0 = frame.place(float(columns.min()), float(rows.min()))
            x1, y1 = frame.place(float(columns.max()), float(rows.max()))
            found["input_boxes"] = torch.tensor([[[x0, y0, x1, y1]]], dtype=self.dtype, device=self.device)
        return found


class Sam2Predictor(SamPredictor):
    """SAM 2: the same for images, and it carries masks through a video (`segcli.models.api.Tracking`)."""

    accepts = SamPredictor.accepts | {PromptKind.VIDEO}

    def __init__(self, video: nn.Module, name: str, revision: str, device: torch.device) -> None:
        super().__init__(image_part(video), name, revision, device, stretch=True)
        self.video = video.eval()

    def tracker(self, *, memory: int = 6, every: int = 1, soft: bool = True) -> Sam2Tracker:
        """A fresh tracker with the published memory: the frames that were given, and the last six.

        Raises UsageError for other memories than the one that SAM 2 was trained with.
        """
        own = int(cast(Any, self.video).config.num_maskmem) - 1
        if (memory, every) not in ((own, 1), (8, 1)):  # 8: what verbs ask for when nobody said a number
            raise UsageError(f"{self.name} remembers {own} frames, each one; leave the memory options away")
        return Sam2Tracker(self.video, self.name, self.device, self.dtype, self.side)


def build(
    config: str | Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    keys: str,
    name: str,
    revision: str,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
) -> Promptable:
    """A predictor with the weights of `tensors`, strictly loaded. `seed` is taken by every builder; nothing is drawn.

    Raises CheckpointError for a config or key table that nobody knows and for keys that do not fit.
    """
    sizes = PRESETS.get(config) if isinstance(config, str) else SamSizes(**config)
    if sizes is None:
        raise CheckpointError(f"{name}: seg has no code for {config} yet; it has {', '.join(PRESETS)}")
    tables = SAM_TABLES if sizes.family == "sam" else SAM2_TABLES
    if keys not in tables:
        raise CheckpointError(f"{name}: files with {keys!r} keys are not read; choose the entry without -original")
    model = build_sam(sizes) if sizes.family == "sam" else build_sam2(sizes)
    load_strict(model, WithTied(tensors, tables[keys]), tables[keys], name=name)
    model = model.to(device, dtype)
    if sizes.family == "sam":
        return SamPredictor(model, name, revision, device, stretch=False)
    return Sam2Predictor(model, name, revision, device)

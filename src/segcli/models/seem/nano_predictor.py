"""Asks about photos, answered by seem-nano: a look at the whole photo, then a look at the object.

Asks with words go on to nano_answers.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import UsageError
from segcli.core.geometry import box_mask, polygon_mask
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.api import Encoded
from segcli.models.backbones.efficientnet_lite import MEAN
from segcli.models.layers.memory import memory_errors
from segcli.models.layers.propagation.network import PropagationNet
from segcli.models.layers.propagation.propagator import Propagator
from segcli.models.seem.focus import Geometry, Window, focus_window, geometry, network_input, whole
from segcli.models.seem.maps import Click, clicks_of, outline_mask, prompt_box, prompt_maps
from segcli.models.seem.nano import NanoConfig, NanoEncoded, SeemNano
from segcli.models.seem.nano_answers import labelled, named, whole_photo
from segcli.models.seem.nano_tracker import nano_tracker
from segcli.models.seem.nano_words import Words
from segcli.models.seem.tidy import tidy
from segcli.models.seem.vocabulary import Vocabulary

_KEPT_PIXELS = 1024  # longest side of the photo that is kept for second looks
_LOOKS = 5  # encoded looks kept for one photo
_SOFT_SIDE = 1024  # longest side of the probabilities that are handed out
_THRESHOLD = 0.5
WORDS = frozenset({PromptKind.TEXT, PromptKind.CLASSES})
_CELL = 2  # input pixels for one cell of an answer
_BOX_SLACK = 0.05  # of the box's side: an answer may leave a box prompt by so much


@dataclass
class EncodedPhoto:
    """A photo and its encoded looks (window and input size), latest last; `chances` of all words once they were
    asked for, see `nano_answers.everywhere`."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    chances: Tensor | None = None
    looks: OrderedDict[tuple[Window, int], tuple[Geometry, NanoEncoded]] = field(default_factory=OrderedDict)

    @property
    def nbytes(self) -> int:
        """Bytes held by pixels and feature maps."""
        words = 0 if self.chances is None else self.chances.nbytes
        return self.pixels.nbytes + words + sum(encoded.nbytes for _, encoded in self.looks.values())


class NanoPredictor:
    """`segcli.models.api.Promptable` for seem-nano. One ask at a time, one photo at a time: answers can't depend on
    what else is in a batch, and at this size a batch gains nothing on a CPU."""

    def __init__(
        self,
        model: SeemNano,
        name: str,
        revision: str,
        device: torch.device,
        sides: tuple[int, int] = (256, 320),
        propagation: PropagationNet | None = None,
    ) -> None:
        self.model = model.eval()
        self.propagation = propagation
        self.words = Words(model, vocabulary_of(model.config)) if model.words is not None else None
        self.accepts = accepted(model.config) | ({PromptKind.VIDEO} if propagation is not None else frozenset())
        self.name, self.revision = name, revision
        self.device = device
        self.dtype = next(model.parameters()).dtype
        self.whole_side, self.focus_side = sides

    @property
    def reads(self) -> int:
        """Longest side in pixels that is looked at (second looks included)."""
        return _KEPT_PIXELS

    def check_words(self, words: Sequence[str]) -> None:
        """Raise UsageError for the first phrase or class name that this member does not know."""
        if self.words is not None:
            self.words.known(words)

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Encode each photo as a whole. Raises DeviceError when the device has no memory left."""
        encoded: list[Encoded] = []
        for image in images:
            photo = EncodedPhoto(_shrunk(image.pixels), image.size)
            self.look(photo, whole(image.size), self.whole_side)
            encoded.append(photo)
        return encoded

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """Answer asks about one photo. Raises DeviceError when the device has no memory left."""
        assert isinstance(encoded, EncodedPhoto)
        with torch.inference_mode(), memory_errors(self.name):
            return [self._answer(encoded, ask) for ask in asks]

    def tracker(self, *, memory: int = 8, every: int = 1, soft: bool = True) -> Propagator:
        """A fresh tracker, see `nano_tracker`. Raises UsageError when this member's files hold no weights for it."""
        if self.propagation is None:
            raise UsageError(f"{self.name} has no weights to follow objects with; type -m seem-nano")
        return nano_tracker(self.model, self.propagation, self.name, memory=memory, every=every, soft=soft)

    def _answer(self, photo: EncodedPhoto, ask: Ask) -> Prediction:
        if self.words is None:
            return self.pointed(photo, ask)
        if ask.kind is not None:
            return whole_photo(self, self.words, photo, ask)
        answer = self.pointed(photo, ask) if ask.text is None else named(self, self.words, photo, ask)
        return labelled(self, self.words, photo, ask, answer) if ask.classes else answer

    def pointed(self, photo: EncodedPhoto, ask: Ask) -> Prediction:
        """The answer to clicks, boxes, strokes, outlines and rough masks; words are not looked at."""
        clicks = clicks_of(ask, photo.size)
        outline = outline_mask(ask, photo.size)
        box = prompt_box(ask, clicks, outline, photo.size)
        if box is None:  # nothing says how large the object is, so the first look must
            logits = self._logits(photo, whole(photo.size), self.whole_side, ask, clicks, outline)
            outline = logits[0].sigmoid()
            box = prompt_box(ask, clicks, outline, photo.size)
            if box is None:
                return Prediction(photo.size)
        window = focus_window(box, photo.size)
        logits = self._logits(photo, window, self.focus_side, ask, clicks, outline)
        return self._prediction(logits, window, ask, photo.size)

    def _logits(
        self, photo: EncodedPhoto, window: Window, side: int, ask: Ask, clicks: list[Click], outline: Tensor | None
    ) -> Tensor:
        """Mask logits [K, h, w] of the window's used part at stride 2; K is 1, or more with `multimask`."""
        place, encoded = self.look(photo, window, side)
        prompts = prompt_maps(ask, clicks, outline, photo.size, place, self.device)
        only = torch.zeros(1, dtype=torch.long, device=self.device)
        answer = self.model.answer(encoded, prompts, only, alternatives=ask.multimask)
        height, width = (-(-v // _CELL) for v in place.used)
        planes = answer.final[0, :, :height, :width].float().cpu()
        marks = []
        for x, y, sign in clicks:
            column, row = place.to_input(x, y)
            marks.append((column / _CELL - 0.25, row / _CELL - 0.25, sign))
        return torch.stack([tidy(plane, marks) for plane in planes])

    def look(self, photo: EncodedPhoto, window: Window, side: int) -> tuple[Geometry, NanoEncoded]:
        """The window's features at an input size, encoded now or kept from before. Raises DeviceError."""
        look = (window, side)
        if look in photo.looks:
            photo.looks.move_to_end(look)
            return photo.looks[look]
        place, encoded = self.see(photo, window, side)
        photo.looks[look] = place, encoded
        if len(photo.looks) > _LOOKS:
            photo.looks.popitem(last=False)
        return place, encoded

    def see(self, photo: EncodedPhoto, window: Window, side: int) -> tuple[Geometry, NanoEncoded]:
        """The same, encoded now and not kept."""
        place = geometry(window, side)
        pixels = network_input(photo.pixels, photo.size, place, MEAN)
        with torch.inference_mode(), memory_errors(self.name):
            maps = self.model.encode_backbone(pixels.to(self.device, self.dtype))
            return place, self.model.encode_features(maps)

    def _prediction(self, logits: Tensor, window: Window, ask: Ask, size: tuple[int, int]) -> Prediction:
        masks, scores, soft = [], [], []
        allowed = _allowed(ask, size)
        for plane in logits:
            mask = np.zeros(size, np.bool_)
            inside = F.interpolate(plane[None, None], size=window.size, mode="bilinear", align_corners=False)
            mask[window.y0 : window.y1, window.x0 : window.x1] = (inside[0, 0] > 0).numpy()
            if allowed is not None:
                mask &= allowed
            if mask.any():
                masks.append(encode(mask))
                probability = plane.sigmoid()
                scores.append(float(probability[probability > _THRESHOLD].double().mean()))
                soft.append(_soft(plane, window, size))
        order = sorted(range(len(masks)), key=lambda i: -scores[i])
        return Prediction(
            size,
            tuple(masks[i] for i in order),
            tuple(round(scores[i], 4) for i in order),
            soft=np.stack([soft[i] for i in order]) if soft else None,
        )


def accepted(config: NanoConfig) -> frozenset[PromptKind]:
    """The kinds of prompt that a member of these sizes takes."""
    spatial = {PromptKind.POINT, PromptKind.BOX, PromptKind.SCRIBBLE, PromptKind.POLYGON, PromptKind.MASK}
    return frozenset(spatial | {PromptKind.PREVIOUS} | (WORDS if config.words else frozenset()))


def vocabulary_of(config: NanoConfig) -> Vocabulary:
    """The words of a member."""
    return Vocabulary(config.words, frozenset(config.stuff))


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At most `_KEPT_PIXELS` long, so that a cached photo of 12 megapixels costs 3 MB and not 36."""
    longest = max(pixels.shape[:2])
    if longest <= _KEPT_PIXELS:
        return pixels
    height, width = (max(1, round(v * _KEPT_PIXELS / longest)) for v in pixels.shape[:2])
    planes = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    small = F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())


def _allowed(ask: Ask, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Where an answer may be: near a box prompt, and not in a negative box or polygon. None: everywhere."""
    allowed: NDArray[np.bool_] | None = None
    positive = [b for b in ask.boxes if b.positive]
    if positive:
        allowed = np.zeros(size, np.bool_)
        for box in positive:
            slack_x, slack_y = (box.x1 - box.x0) * _BOX_SLACK, (box.y1 - box.y0) * _BOX_SLACK
            allowed |= box_mask(
                replace(box, x0=box.x0 - slack_x, y0=box.y0 - slack_y, x1=box.x1 + slack_x, y1=box.y1 + slack_y), size
            )
    barred = [box_mask(b, size) for b in ask.boxes if not b.positive]
    barred += [polygon_mask(p.points, size) for p in ask.polygons if not p.positive]
    if barred:
        outside = ~np.logical_or.reduce(barred)
        allowed = outside if allowed is None else allowed & outside
    return allowed


def _soft(plane: Tensor, window: Window, size: tuple[int, int]) -> NDArray[np.float16]:
    """The probabilities on the whole photo, at most `_SOFT_SIDE` long."""
    factor = min(1.0, _SOFT_SIDE / max(size))
    canvas = np.zeros([max(1, round(v * factor)) for v in size], np.float16)
    y0, x0 = int(window.y0 * factor), int(window.x0 * factor)
    y1, x1 = min(canvas.shape[0], round(window.y1 * factor)), min(canvas.shape[1], round(window.x1 * factor))
    fit = (max(1, y1 - y0), max(1, x1 - x0))
    part = F.interpolate(plane[None, None], size=fit, mode="bilinear", align_corners=False)[0, 0].sigmoid()
    canvas[y0 : y0 + fit[0], x0 : x0 + fit[1]] = part.numpy().astype(np.float16)
    return canvas

"""Sentences about photos and candidates, answered by RAS."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle
from segcli.models.api import Encoded, Promptable
from segcli.models.layers.loading import load_strict
from segcli.models.layers.memory import memory_errors
from segcli.models.ras.autoregressive import choose
from segcli.models.ras.config import PRESETS, RasConfig, from_json
from segcli.models.ras.encoders import VisualEncoder
from segcli.models.ras.keys import KEY_TABLES
from segcli.models.ras.matches import Related
from segcli.models.ras.model import Question, Ras
from segcli.models.ras.pooling import geometry, grid_weights, on_device
from segcli.models.ras.relations import beside, extents, standing
from segcli.models.ras.text import REFERENCE, TENSOR, Words, framed

_PLACE = re.compile(r"\{(\d+)\}")


@dataclass(frozen=True, eq=False)
class EncodedPhoto:
    """The maps [C, n, n] of one photo, the position map last, and the first encoder's tokens.

    pooled: features [F] of the masks that were asked about so far; further sentences ask about the same ones.
    """

    maps: list[Tensor]
    size: tuple[int, int]
    name: str
    pooled: dict[Rle, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all maps."""
        return sum(m.numel() * m.element_size() for m in self.maps)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class RasPredictor:
    """`segcli.models.api.Promptable` for RAS: an ask has a text, references (masks) and candidates.

    `say` gets the line that candidates were left out. `spare` is a device on which only one part of the model is at a
    time (`--low-memory`); the parts wait where they were loaded.
    """

    accepts = frozenset({PromptKind.TEXT, PromptKind.REFERENCE})

    def __init__(
        self, model: Ras, words: Words, name: str, revision: str, device: torch.device, say: Callable[[str], None]
    ) -> None:
        self.model, self.words = model.eval(), words
        self.name, self.revision, self.device, self.say = name, revision, device, say
        self.spare: torch.device | None = None

    @property
    def reads(self) -> int:
        """The largest side that an encoder looks at."""
        return max(e.side for e in self.model.config.encoders)

    @property
    def most(self) -> int:
        """How many candidates fit: the config's bound, and what the context holds beside a sentence of 256 tokens."""
        config = self.model.config
        copies = 2 if config.decoding == "parallel" else 1
        shared = config.decoding_attention == "set"  # all pairs at the same positions: the context does not fill up
        visual = self.model._encoder(0).grids[0] ** 2 if config.visual_tokens else 0
        room = (config.language.context - visual - 256) // (copies * config.pair)
        return config.candidates if shared else max(1, min(config.candidates, room))

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """The maps of each photo, one encoder after the other. Raises DeviceError when memory runs out."""
        with torch.inference_mode(), memory_errors(self.name):
            maps: list[list[Tensor]] = [[] for _ in images]
            for number in range(len(self.model.encoders)):
                with self._looking(cast(VisualEncoder, self.model.encoders[number])) as encoder:
                    for image, found in zip(images, maps, strict=True):
                        found += encoder(encoder.prepare(image.pixels).to(self._device, self._dtype))
            for found in maps:
                found += self.model.positions(found[0])
            return [EncodedPhoto(found, image.size, image.name) for image, found in zip(images, maps, strict=True)]

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """The group of each ask. Raises UsageError for a sentence whose references do not fit."""
        with torch.inference_mode(), memory_errors(self.name):
            return [self._answer(cast(EncodedPhoto, encoded), ask) for ask in asks]

    def features(self, encoded: EncodedPhoto, masks: Sequence[Rle]) -> Tensor:
        """Pooled features [N, F]. Raises ValueError for a mask with nothing inside."""
        fresh = [mask for mask in dict.fromkeys(masks) if mask not in encoded.pooled]
        if fresh:
            encoded.pooled.update(zip(fresh, self._pooled(encoded.maps, self.model.grids, fresh), strict=True))
        return torch.stack([encoded.pooled[mask] for mask in masks])

    def places(self, masks: Sequence[Rle], like: Tensor) -> Tensor:
        """The part of the features that says only where masks are, [N, `Ras.place_width`]."""
        grids = self.model.grids[len(self.model.grids) - (self.model.config.positions > 0) :]
        return self._pooled(self.model.positions(like), grids, masks)

    def _pooled(self, maps: Sequence[Tensor], grids: Sequence[int], masks: Sequence[Rle]) -> Tensor:
        rows = [grid_weights(mask, grids, self.model.config.pool) for mask in masks]
        weights = [on_device([row[n] for row in rows], maps[0]) for n in range(len(grids))]
        where = torch.from_numpy(np.stack([geometry(mask) for mask in masks])).to(maps[0])
        return self.model.mask_features(maps, weights, where)

    def question(self, encoded: EncodedPhoto, ask: Ask, candidates: Sequence[Rle]) -> Question:
        """The ask as the network reads it. Raises UsageError for references that do not fit the sentence."""
        sentence, references = placed(ask, encoded.name)
        before, between, after = framed(self.words, sentence, self.model.config.template)
        features = self.features(encoded, [*candidates, *references])
        visual = None
        if self.model.config.visual_tokens:
            visual = encoded.maps[0].flatten(1).T
        related = None
        if self.model.config.relations:
            related = Related(
                torch.from_numpy(standing(*extents(candidates), encoded.size)).to(features),
                torch.from_numpy(beside(candidates, references)).to(features),
            )
        count = len(candidates)
        return Question(features[:count], features[count:], before, between, after, visual, related)

    def _answer(self, encoded: EncodedPhoto, ask: Ask) -> Prediction:
        candidates = [mask for mask in ask.candidates if mask.area]
        placed(ask, encoded.name)  # refused even where there is nothing to choose from
        if len(candidates) > self.most:
            self.say(
                f"seg: {encoded.name}: {len(candidates)} candidates are more than {self.name} takes at once; "
                f"the best {self.most} are kept"
            )
            candidates = candidates[: self.most]
        if not candidates:
            return Prediction(encoded.size)
        candidates.sort(key=lambda mask: -mask.area)  # a fixed order, for members that depend on one
        with self._deciding():
            question = self.question(encoded, ask, candidates)
            if self.model.config.decoding == "autoregressive":
                logits = choose(self.model, question)
            else:
                logits = self.model([question])[0]
        scores = logits.float().sigmoid().cpu().numpy()
        return chosen(encoded.size, candidates, scores, ask, self.model.config.threshold)

    @contextmanager
    def _looking(self, encoder: VisualEncoder) -> Iterator[VisualEncoder]:
        """One encoder, on the spare device while it is needed."""
        if self.spare is None:
            yield encoder
            return
        try:
            yield encoder.to(self.spare)
        finally:
            encoder.to(self.device)

    @contextmanager
    def _deciding(self) -> Iterator[None]:
        """Everything but the encoders, on the spare device while it is needed."""
        if self.spare is None:
            yield
            return
        try:
            self._move_rest(self.spare)
            yield
        finally:
            self._move_rest(self.device)

    def _move_rest(self, device: torch.device) -> None:
        encoders, self.model.encoders = self.model.encoders, nn.ModuleList()
        self.model.to(device)
        self.model.encoders = encoders

    @property
    def _device(self) -> torch.device:
        return self.spare or self.device

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.model.mask_projector.parameters()).dtype


def placed(ask: Ask, name: str) -> tuple[str, list[Rle]]:
    """The sentence with `<mask-ref>` for each {n}, and the masks in order of their places.

    Raises UsageError for a {n} without a reference, a reference that no {n} names, and one that is no mask.
    """
    text = " ".join((ask.text or "").split())
    if not text:
        raise UsageError(f'{name}: the sentence is empty; type for example "everything on {{1}}"')
    numbers = [int(n) for n in _PLACE.findall(text)]
    for number in numbers:
        if not 1 <= number <= len(ask.references):
            raise UsageError(
                f"{name}: the sentence has {{{number}}}, but there are {len(ask.references)} references; "
                f"give one more --ref or correct the number"
            )
    for number in range(1, len(ask.references) + 1):
        if number not in numbers:
            raise UsageError(f"{name}: reference {number} is not in the sentence; write {{{number}}} where it is meant")
    masks = []
    for number in numbers:
        region = ask.references[number - 1].region
        if not isinstance(region, Rle):
            raise UsageError(
                f"{name}: reference {number} is a click or a box; a model that draws masks must turn it into one"
            )
        if not region.area:
            raise UsageError(f"{name}: the mask of reference {number} has nothing inside")
        masks.append(region)
    return _PLACE.sub(REFERENCE, text), masks


def chosen(size: tuple[int, int], candidates: Sequence[Rle], scores: Any, ask: Ask, threshold: float) -> Prediction:
    """The candidates whose score exceeds the threshold, best first; the best one alone for `at_least_one`."""
    threshold = threshold if ask.threshold is None else ask.threshold
    order = np.argsort(-scores, kind="stable")
    taken = [int(n) for n in order if scores[n] > threshold]
    if not taken and ask.at_least_one:
        taken = [int(order[0])]
    considered = Prediction(size, tuple(candidates[n] for n in order), tuple(round(float(scores[n]), 4) for n in order))
    return Prediction(
        size,
        tuple(candidates[n] for n in taken),
        tuple(round(float(scores[n]), 4) for n in taken),
        considered=considered,
    )


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

    config: a preset's name, or the values of a `RasConfig`. The nano member's encoder comes from the file that bundled
    members share.
    Raises CheckpointError for a config or key table that nobody knows and for keys that do not fit.
    """
    if isinstance(config, str):
        if config not in PRESETS:
            raise CheckpointError(f"{name}: config {config!r} is not known; RAS has {', '.join(PRESETS)}")
        sizes = PRESETS[config]
    else:
        sizes = from_json(config, name)
    if keys not in KEY_TABLES:
        raise CheckpointError(f"{name}: files with {keys!r} keys were never published; train one with `seg train ras`")
    if TENSOR not in tensors:
        raise CheckpointError(f"{name}: has no tokenizer ({TENSOR}); it is not a checkpoint of RAS that seg wrote")
    words = Words.from_tensor(tensors[TENSOR], name)
    model = empty(sizes)
    load_strict(model, tensors, own_names, name=name)
    return RasPredictor(model.to(device, dtype), words, name, revision, device, _to_stderr)


def empty(config: RasConfig) -> Ras:
    """The network on the meta device, but for what no file holds."""
    with torch.device("meta"):
        model = Ras(config)
    fill_buffers(model)
    return model


def fill_buffers(model: Ras) -> None:
    """Put the numbers that no file holds where they belong: rotary frequencies and rows of position numbers."""
    rotary = model.language_model.rotary_emb
    model.language_model.rotary_emb = type(rotary)(model.language_model.config)
    for module in model.encoders.modules():
        buffer = module._buffers.get("position_ids")
        if buffer is not None and buffer.is_meta:
            module._buffers["position_ids"] = torch.arange(buffer.shape[-1])[None]


def own_names(key: str) -> str | None:
    """Our own files; the backbone that bundled members share is the first encoder here."""
    if key == TENSOR:
        return None
    return f"encoders.0.model.{key.removeprefix('backbone.')}" if key.startswith("backbone.") else key

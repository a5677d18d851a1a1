"""SegGPT behind the interface that verbs use: examples once, then photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.example import Example, Task
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.api import Encoded, Ensemble
from segcli.models.layers.loading import load_strict
from segcli.models.seggpt.config import PRESETS, SegGPTConfig
from segcli.models.seggpt.embedding import INSTANCE, SEMANTIC
from segcli.models.seggpt.ensemble import spatial_example
from segcli.models.seggpt.incontext import Examples, InContext
from segcli.models.seggpt.keys import LAYOUTS, renamed
from segcli.models.seggpt.model import SegGPT
from segcli.models.seggpt.nano import NanoConfig
from segcli.models.seggpt.nano_predictor import NanoInContext, build_nano
from segcli.models.seggpt.palette import closeness, colors_of, paint
from segcli.models.seggpt.panoptic import panoptic
from segcli.models.seggpt.prepost import (
    BINARY_THRESHOLD,
    Pixels,
    Unit,
    model_input,
    painted,
    resized_mask,
    resized_output,
    resized_photo,
)
from segcli.models.seggpt.prompt import CLASSES, PLACES, checked_prompts, parts_of, starting_tensors, tuning_loss
from segcli.models.seggpt.tracker import SegGPTTracker

_C = TypeVar("_C")
KINDS = {"semantic": SEMANTIC, "instance": INSTANCE}


@dataclass(frozen=True, eq=False)
class EncodedQuery:
    """A photo at the model's size. Nothing of SegGPT's network runs before it meets an example."""

    photo: Pixels
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.photo.nbytes


class SegGPTPredictor:
    """Implements `Promptable`, `Learning` and `Tunable` of `segcli.models.api`; the examples are set first.

    threshold: share of the way from the nearest other colour to its own from which a pixel belongs to an id; for one
    white object on black this is the published rule, a channel mean above 128.
    """

    accepts = frozenset({PromptKind.EXAMPLES, PromptKind.VIDEO})

    def __init__(self, engine: InContext, name: str, revision: str, threshold: float = BINARY_THRESHOLD / 255) -> None:
        self.engine, self.name, self.revision, self.threshold = engine, name, revision, threshold
        self._prepared: list[Examples] = []
        self._colors: dict[int, NDArray[np.uint8]] = {}
        self._whole: tuple[Task, Examples] | None = None  # a panoptic task and the prompt that paints places

    def fork(self) -> Self:
        """The same model, weights shared, that learns for itself."""
        return type(self)(self.engine, self.name, self.revision, self.threshold)

    @property
    def held(self) -> int:
        """Bytes that the prepared examples hold."""
        return sum(examples.nbytes for examples in self._prepared)

    @property
    def reads(self) -> int | None:
        """All pixels: the published resize starts from the whole photo."""
        return None

    def learn(
        self,
        examples: Sequence[Example],
        ensemble: Ensemble = "feature",
        kind: Literal["semantic", "instance"] = "instance",
    ) -> None:
        """Take these examples for all photos to come; what does not depend on a photo is computed here.

        `feature` averages features of all examples in every block, `spatial` tiles them into one, `vote` averages
        what each of them paints alone. Raises UsageError for no example, one whose mask has another size or marks
        nothing, and a number of examples that can't be tiled.
        """
        if not examples:
            raise UsageError("no examples; give at least one photo with its mask")
        for example in examples:
            _check(example)
        self._colors = colors_of(sorted({int(i) for example in examples for i in np.unique(example.ids)} - {0}))
        side = self.engine.model.config.side
        photos = [example.photo.pixels for example in examples]
        targets = [paint(example.ids, self._colors) for example in examples]
        if ensemble == "spatial":
            photo, target = spatial_example(photos, targets, side)
            photos, targets = [photo], [target]
        small = [resized_photo(each, side) for each in photos]
        masks = [resized_mask(each, side) for each in targets]
        blank = [example for example, mask in zip(examples, masks) if not mask.any()]  # noqa: B905 one mask when tiled
        if blank:
            raise UsageError(f"{blank[0].photo.name}: its mask marks too little to be seen at {side}x{side} pixels")
        self._whole = None
        groups = [[n] for n in range(len(small))] if ensemble == "vote" else [list(range(len(small)))]
        self._prepared = [
            self.engine.prepare(
                self._input([small[n] for n in group]),
                self._input([masks[n] for n in group]),
                KINDS[kind],
            )
            for group in groups
        ]

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Photos at the model's size."""
        side = self.engine.model.config.side
        return [EncodedQuery(resized_photo(image.pixels, side), image.size) for image in images]

    def describe(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Photos as unit vectors [N, 2*D]: mean and spread of the patch embeddings, before any block.

        The patch convolution is the only part that sees a photo without an example; it answers to colour and texture.
        """
        side, embedding = self.engine.model.config.side, self.engine.model.embedding
        vectors = []
        for image in images:  # one by one, so that a vector does not depend on its batch
            with torch.inference_mode():
                cells = embedding.patches(self._input([resized_photo(image.pixels, side)])).float().flatten(0, 2)
                both = torch.cat([cells.mean(0), cells.std(0)])
            vectors.append((both / both.norm().clamp(min=1e-12)).cpu().numpy())
        return np.stack(vectors)

    def tunable(self, examples: Sequence[Example], task: Task) -> dict[str, Tensor]:
        """A prompt photo and target, a pair of each for a panoptic task; see `segcli.models.api.Tunable`."""
        for example in examples:
            _check(example)
        return starting_tensors(self.engine.model, examples, task)

    def tuning_loss(self, tensors: Mapping[str, Tensor], queries: Sequence[Example], task: Task) -> Tensor:
        """The training loss on the queries' half of the canvas; see `segcli.models.api.Tunable`."""
        return tuning_loss(self.engine.model, tensors, queries, task)

    def tune(self, tensors: Mapping[str, Tensor], task: Task) -> None:
        """Answer from a tuned prompt from now on. Raises UsageError for tensors of another task or size."""
        prompts = checked_prompts(self.engine.model, tensors, task)
        prepared = {part: self.engine.prepare(*prompts[part], kind) for part, kind in parts_of(task).items()}
        self._colors = colors_of(task.ids)
        self._prepared = [prepared[CLASSES]]
        self._whole = (task, prepared[PLACES]) if task.kind == "panoptic" else None

    def paint(self, encoded: Encoded) -> Unit:
        """What the model paints for a photo, float64 0..255 [side, side, 3]. Raises UsageError before `learn`."""
        return np.asarray(np.mean([self._paint(examples, encoded) for examples in self._ready()], axis=0))

    def probabilities(self, encoded: Encoded) -> dict[int, NDArray[np.float32]]:
        """How far each pixel is on its way to an id's colour: [side, side] in [0, 1] for each id."""
        return {
            number: share.astype(np.float32) for number, share in closeness(self.paint(encoded), self._colors).items()
        }

    def tracker(self, *, memory: int = 8, every: int = 1, soft: bool = True) -> SegGPTTracker:
        """A fresh tracker, see `segcli.models.api.Tracking`; examples that were learnt play no part in it."""
        return SegGPTTracker(self.engine, memory, "soft" if soft else "published", every)

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """The same answer for each ask: a mask for every id of the examples that is found, largest share first."""
        colors, size = self.paint(encoded), cast(EncodedQuery, encoded).size
        if self._whole is None:
            prediction = self._prediction(colors, size)
        else:
            task, places = self._whole
            prediction = panoptic(colors, self._paint(places, encoded), self._colors, task, size)
        return [prediction for _ in asks]

    def _ready(self) -> list[Examples]:
        if not self._prepared:
            raise UsageError(f"{self.name} answers by example; give at least one photo with its mask")
        return self._prepared

    def _paint(self, examples: Examples, encoded: Encoded) -> Unit:
        query = self._input([cast(EncodedQuery, encoded).photo])[0]
        return painted(self.engine.answer(examples, query))

    def _input(self, pictures: Sequence[Pixels]) -> Tensor:
        return model_input(pictures, self.engine.model.embedding.positions)

    def _prediction(self, colors: Unit, size: tuple[int, int]) -> Prediction:
        found = []
        soft = closeness(resized_output(colors, size), self._colors)
        small = closeness(colors, self._colors)
        for number in self._colors:
            mask = soft[number] > self.threshold
            if mask.any():
                found.append((float(soft[number][mask].mean()), number, encode(mask)))
        found.sort(key=lambda each: (-each[0], each[1]))
        return Prediction(
            size=size,
            masks=tuple(rle for _, _, rle in found),
            scores=tuple(score for score, _, _ in found),
            ids=tuple(number for _, number, _ in found),
            soft=np.stack([small[number] for _, number, _ in found]).astype(np.float16) if found else None,
        )


def _check(example: Example) -> None:
    if example.ids.shape != example.photo.size:
        raise UsageError(
            f"{example.photo.name}: its mask is {example.ids.shape[1]}x{example.ids.shape[0]}, the photo "
            f"{example.photo.size[1]}x{example.photo.size[0]}; give a mask of the photo's size"
        )
    if not example.ids.any():
        raise UsageError(f"{example.photo.name}: its mask is all black; mark what is meant, or leave the pair out")


def build(
    config: str | Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    keys: str,
    name: str,
    revision: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> SegGPTPredictor | NanoInContext:
    """A SegGPT, or seggpt-nano, from a checkpoint's tensors, which are already on `device` in `dtype`.

    config: a preset ("nano" for our own member), or the values of a `SegGPTConfig` or a `NanoConfig` (which names a
    backbone). keys: a published layout, or "seg" for our own names.
    `seed` changes nothing: SegGPT draws no random numbers when it answers. Raises CheckpointError for an unknown
    config or layout, keys that do not fit one to one, and tensors of other shapes.
    """
    if config == "nano" or (not isinstance(config, str) and "backbone" in config):
        nano = NanoConfig() if isinstance(config, str) else _filled(NanoConfig, config, name)
        return build_nano(nano, tensors, name=name, revision=revision, device=device, dtype=dtype)
    sizes = _sizes(config, name)
    if keys not in ("seg", *LAYOUTS):
        raise CheckpointError(f"{name}: unknown key layout {keys!r}; those known: seg, {', '.join(LAYOUTS)}")
    with torch.device("meta"):
        model = SegGPT(sizes)
    load_strict(model, tensors if keys == "seg" else renamed(tensors, keys, sizes.depth), name=name)
    return SegGPTPredictor(InContext(model.requires_grad_(False)), name, revision)


def _sizes(config: str | Mapping[str, Any], name: str) -> SegGPTConfig:
    if isinstance(config, str):
        if config not in PRESETS:
            raise CheckpointError(f"{name}: seg has no SegGPT of size {config!r}; those it has: {', '.join(PRESETS)}")
        return PRESETS[config]
    return _filled(SegGPTConfig, config, name)


def _filled(kind: type[_C], config: Mapping[str, Any], name: str) -> _C:
    """A config from a table, lists as tuples."""
    odd = sorted(set(config) - {field.name for field in fields(kind)})  # type: ignore[arg-type]
    if odd:
        raise CheckpointError(f"{name}: its config has {', '.join(odd)}, which SegGPT does not know")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}
    return kind(**values)

"""seggpt-nano behind the interface that verbs use: examples once, then photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import UsageError
from segcli.core.example import Example, Task
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.api import Encoded, Ensemble
from segcli.models.layers.loading import load_strict
from segcli.models.layers.memory import memory_errors
from segcli.models.layers.propagation.loading import load_propagation, without_propagation
from segcli.models.layers.propagation.network import PropagationNet
from segcli.models.layers.propagation.propagator import Propagator
from segcli.models.seggpt.ensemble import tiled
from segcli.models.seggpt.nano import Kind, NanoConfig, NanoFeatures, SegGPTNano
from segcli.models.seggpt.nano_looks import WHOLE, Pixels, Window, look, shares, shrunk, window_around
from segcli.models.seggpt.nano_memory import Memory, joined, remember
from segcli.models.seggpt.nano_tracker import nano_tracker
from segcli.models.seggpt.nano_tuning import begun, taught, tuning_loss

_KEPT_PIXELS = 1280  # longest side of the photo that is kept for second looks
_AT_ONCE = 16  # targets that are decoded together
_FINER = 2  # cells of the joined answer for one of the first look
_SURE = 12.0  # logits are clipped so when probabilities are averaged

_T = TypeVar("_T", bound=np.generic)
Lesson = Mapping[int, Memory]
"""What examples say together: the memory of each id."""


@dataclass(frozen=True, eq=False)
class EncodedQuery:
    """A photo, shrunk, and the features of its first look: as it is and mirrored."""

    pixels: Pixels
    size: tuple[int, int]
    features: tuple[NanoFeatures, NanoFeatures]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.pixels.nbytes + sum(f.nbytes for f in self.features)


class NanoInContext:
    """Implements `Promptable`, `Learning` and `Tunable` of `segcli.models.api` for seggpt-nano.

    threshold: from which probability on a pixel belongs to an id; at a half each pixel goes to its best id.
    """

    accepts = frozenset({PromptKind.EXAMPLES})

    def __init__(
        self,
        network: SegGPTNano,
        name: str,
        revision: str,
        device: torch.device | str,
        threshold: float = 0.5,
        propagation: PropagationNet | None = None,
    ) -> None:
        self.network, self.name, self.revision, self.threshold = network.eval(), name, revision, threshold
        self.propagation = propagation
        if propagation is not None:
            self.accepts = self.accepts | {PromptKind.VIDEO}
        self.device = torch.device(device)
        self._lessons: list[Lesson] = []
        self._kind: Kind = "semantic"

    def fork(self) -> Self:
        """The same network, weights shared, that learns for itself."""
        return type(self)(self.network, self.name, self.revision, self.device, self.threshold, self.propagation)

    def tracker(self, *, memory: int = 8, every: int = 1, soft: bool = True) -> Propagator:
        """A fresh tracker, see `nano_tracker`. Raises UsageError when this member's files hold no weights for it."""
        if self.propagation is None:
            raise UsageError(f"{self.name} has no weights to follow objects with; type -m seggpt-nano")
        return nano_tracker(self.network, self.propagation, self.name, memory=memory, every=every, soft=soft)

    @property
    def held(self) -> int:
        """Bytes that the learned examples hold."""
        return sum(memory.nbytes for lesson in self._lessons for memory in lesson.values())

    @property
    def reads(self) -> int:
        """Longest side in pixels that is looked at (second looks included)."""
        return _KEPT_PIXELS

    def learn(self, examples: Sequence[Example], ensemble: Ensemble = "feature", kind: Kind = "semantic") -> None:
        """Take these examples for all photos to come.

        An example speaks for the ids that it marks: to each of them everything else in it is background.
        `feature` pools the cells of all examples, `vote` averages the probabilities that each gives alone, `spatial`
        tiles the examples into one picture first, so that each gets fewer cells (it takes 1, 4, 9 or 16 of them).
        `kind` says what was marked, every object of a kind or one particular object; the network was trained on both.
        Raises UsageError for no example, and for one whose mask has another size or marks nothing.
        """
        if not examples:
            raise UsageError("no examples; give at least one photo with its mask")
        for example in examples:
            check(example)
        if ensemble == "spatial":
            examples = [_tiled(examples, self.network.config.side)]
        with torch.inference_mode(), memory_errors(self.name):
            each = [self._lesson(example) for example in examples]
        self._lessons = each if ensemble == "vote" else [_pooled(each)]
        self._kind = kind

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """The first look at each photo. Raises DeviceError when the device has no memory left."""
        encoded: list[Encoded] = []
        for image in images:
            pixels = shrunk(image.pixels, _KEPT_PIXELS)
            encoded.append(EncodedQuery(pixels, image.size, self._features(pixels, WHOLE)))
        return encoded

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """The same answer for each ask: a mask for every id of the examples that is found, the surest first."""
        query = cast(EncodedQuery, encoded)
        margins = self._margins(query)
        prediction = self._prediction(margins, query.size)
        return [prediction for _ in asks]

    def probabilities(self, encoded: Encoded) -> dict[int, NDArray[np.float32]]:
        """For each id [h, w] in [0, 1] over the whole photo, above a half where it is the best. UsageError untaught."""
        return {n: m.sigmoid().numpy() for n, m in self._margins(cast(EncodedQuery, encoded)).items()}

    def describe(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Photos as unit vectors [N, D]: the mean of the keys at stride 32 and of the learned ones."""
        vectors = []
        with torch.inference_mode(), memory_errors(self.name):
            for image in images:
                features = self._embedded(image.pixels, WHOLE, False)
                means = [F.normalize(key[0].mean((1, 2)), dim=0) for key in features.keys[1:]]
                vectors.append(F.normalize(torch.cat(means), dim=0).cpu().numpy())
        return np.stack(vectors)

    def tunable(self, examples: Sequence[Example], task: Task) -> dict[str, Tensor]:
        """Keys and marks of the examples' cells, for each id; see `segcli.models.api.Tunable`.

        Raises UsageError for a panoptic task, for no example, and when an id of the task stands in none.
        """
        if task.kind == "panoptic":
            raise UsageError(f"{self.name} is tuned for one target or several classes, not for whole photos")
        if not examples:
            raise UsageError(f"{self.name} is tuned from examples and not from noise; begin from one at least")
        for example in examples:
            check(example)
        with torch.inference_mode(), memory_errors(self.name):
            lesson = _pooled([self._lesson(example) for example in examples])
        return begun(lesson, task)

    def tuning_loss(self, tensors: Mapping[str, Tensor], queries: Sequence[Example], task: Task) -> Tensor:
        """Cross-entropy and dice of the queries' masks; see `segcli.models.api.Tunable`."""
        return tuning_loss(self.network, tensors, queries, task)

    def tune(self, tensors: Mapping[str, Tensor], task: Task) -> None:
        """Answer from a tuned memory from now on. Raises UsageError for tensors of another task or size."""
        with torch.inference_mode():
            self._lessons = [taught(self.network, tensors, task)]
        self._kind = "semantic"

    def _embedded(self, pixels: Pixels, window: Window, mirrored: bool) -> NanoFeatures:
        square = look(pixels, window, self.network.config.side, mirrored=mirrored)
        dtype = self.network.decoder.fine_out.weight.dtype
        return self.network.features(square.to(self.device, dtype))

    def _features(self, pixels: Pixels, window: Window) -> tuple[NanoFeatures, NanoFeatures]:
        with torch.inference_mode(), memory_errors(self.name):
            return self._embedded(pixels, window, False), self._embedded(pixels, window, True)

    def _lesson(self, example: Example) -> Lesson:
        """The memories of one example: of the whole photo and of a window around each id, mirror images included."""
        lesson = {}
        whole = self._features(example.photo.pixels, WHOLE)
        for number in np.unique(example.ids[example.ids > 0]).tolist():
            memories = self._memories(example, number, WHOLE, whole)
            window = window_around(example.ids == number)
            if window is not None:
                memories += self._memories(example, number, window, self._features(example.photo.pixels, window))
            lesson[number] = joined(memories)
        return lesson

    def _memories(
        self, example: Example, number: int, window: Window, features: tuple[NanoFeatures, NanoFeatures]
    ) -> list[Memory]:
        """What a look at an example and its mirror image say about one id."""
        side = self.network.config.side
        target = shares(example.ids == number, window, side).to(self.device)[None]
        valid = None if example.ignore is None else 1 - shares(example.ignore, window, side).to(self.device)
        (plain,), (mirrored,) = (each.photos() for each in features)
        other = None if valid is None else valid.flip(-1)
        return [remember(plain, target, valid), remember(mirrored, target.flip(-1), other)]

    def _ready(self) -> list[int]:
        """The ids that were learned, in rising order."""
        if not self._lessons:
            raise UsageError(f"{self.name} answers by example; give at least one photo with its mask")
        return sorted({number for lesson in self._lessons for number in lesson})

    def _margins(self, query: EncodedQuery) -> dict[int, Tensor]:
        """For each id a plane [h, w] over the photo: its logit less the best other one's (0 for the background)."""
        numbers = self._ready()
        with torch.inference_mode(), memory_errors(self.name):
            planes = self._logits(query.features, numbers)
            joint = F.interpolate(planes[None], scale_factor=_FINER, mode="bilinear", align_corners=False)[0]
            for index, number in enumerate(numbers):
                window = window_around((planes[index] > 0).numpy())
                if window is not None:
                    closer = self._logits(self._features(query.pixels, window), [number])
                    rows, columns = window.cells(*joint.shape[-2:])
                    part = joint[index, rows, columns]
                    part += F.interpolate(closer[None], size=part.shape, mode="bilinear", align_corners=False)[0, 0]
                    part /= 2
        margins = {}
        for index, number in enumerate(numbers):
            others = torch.cat([joint[:index], joint[index + 1 :], torch.zeros_like(joint[:1])])
            margins[number] = joint[index] - others.amax(0)
        return margins

    def _logits(self, features: tuple[NanoFeatures, NanoFeatures], numbers: Sequence[int]) -> Tensor:
        """Logits [K, S/4, S/4] of a look, the mean over it and its mirror image."""
        plain, mirrored = (self._voted(each, numbers) for each in features)
        return ((plain + mirrored.flip(-1)) / 2).cpu()

    def _voted(self, features: NanoFeatures, numbers: Sequence[int]) -> Tensor:
        """Logits [K, S/4, S/4]: of the pooled examples, or of the mean probability over the lessons with that id."""
        planes = []
        (keys,) = features.photos()
        for number in numbers:
            found = [self.network.evidence(keys, lesson[number]) for lesson in self._lessons if number in lesson]
            answers = []
            for start in range(0, len(found), _AT_ONCE):
                part = found[start : start + _AT_ONCE]
                answer = self.network.answer(features, [0] * len(part), part, [self._kind] * len(part))
                assert answer.logits is not None
                answers.append(answer.logits[:, 0])
            each = torch.cat(answers)
            planes.append(each[0] if len(each) == 1 else each.clamp(-_SURE, _SURE).sigmoid().mean(0).logit())
        return torch.stack(planes)

    def _prediction(self, margins: Mapping[int, Tensor], size: tuple[int, int]) -> Prediction:
        least = float(np.log(self.threshold) - np.log1p(-self.threshold))
        found = []
        for number, plane in margins.items():
            full = F.interpolate(plane[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
            mask = (full > least).numpy()
            if mask.any():
                found.append((float(full[full > least].sigmoid().double().mean()), number, encode(mask)))
        found.sort(key=lambda each: (-each[0], each[1]))
        soft = [margins[number].sigmoid().numpy().astype(np.float16) for _, number, _ in found]
        return Prediction(
            size=size,
            masks=tuple(rle for _, _, rle in found),
            scores=tuple(round(score, 4) for score, _, _ in found),
            ids=tuple(number for _, number, _ in found),
            soft=np.stack(soft) if soft else None,
        )


def check(example: Example) -> None:
    """Raise UsageError for a mask of another size than its photo's, and for one that marks nothing."""
    if example.ids.shape != example.photo.size:
        raise UsageError(
            f"{example.photo.name}: its mask is {example.ids.shape[1]}x{example.ids.shape[0]}, the photo "
            f"{example.photo.size[1]}x{example.photo.size[0]}; give a mask of the photo's size"
        )
    if not (example.ids > 0).any():
        raise UsageError(f"{example.photo.name}: its mask is all black; mark what is meant, or leave the pair out")


def _pooled(lessons: Sequence[Lesson]) -> Lesson:
    """One lesson of all: an id's memory is that of the examples which mark it."""
    numbers = sorted({number for lesson in lessons for number in lesson})
    return {number: joined([lesson[number] for lesson in lessons if number in lesson]) for number in numbers}


def _tiled(examples: Sequence[Example], side: int) -> Example:
    """One example that shows all of them side by side, each at an equal share; ids and unknown pixels likewise."""
    size = (side, side)
    photos, ids, unknown = [], [], []
    for example in examples:
        photos.append(np.asarray(Pillow.fromarray(example.photo.pixels).resize(size, Pillow.Resampling.BILINEAR)))
        small = Pillow.fromarray(example.ids.astype(np.int32)).resize(size, Pillow.Resampling.NEAREST)
        ids.append(np.asarray(small))
        ignore = np.zeros(example.ids.shape, np.bool_) if example.ignore is None else example.ignore
        unknown.append(np.asarray(Pillow.fromarray(ignore).resize(size, Pillow.Resampling.NEAREST), np.bool_))
    photo = tiled(photos)
    canvas = Image(photo, (photo.shape[0], photo.shape[1]), examples[0].photo.name)
    return Example(canvas, _laid_out(ids), _laid_out(unknown))


def _laid_out(planes: Sequence[NDArray[_T]]) -> NDArray[_T]:
    """n*n planes [h, w] -> one of [n*h, n*w], row by row as `tiled` lays photos."""
    columns = round(len(planes) ** 0.5)
    rows = [np.concatenate(list(planes[i : i + columns]), axis=1) for i in range(0, len(planes), columns)]
    return np.concatenate(rows)


def build_nano(
    config: NanoConfig,
    tensors: Mapping[str, Tensor],
    *,
    name: str,
    revision: str,
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> NanoInContext:
    """A predictor with the weights of `tensors`, strictly loaded. Raises CheckpointError for keys that do not fit."""
    with torch.device("meta"):
        network = SegGPTNano(config)
    load_strict(network, tensors, without_propagation, name=name)
    propagation = load_propagation(tensors, network.backbone.channels, name)
    if propagation is not None:
        propagation = propagation.to(device, dtype)
    network = network.requires_grad_(False).to(device, dtype)
    return NanoInContext(network, name, revision, device, propagation=propagation)

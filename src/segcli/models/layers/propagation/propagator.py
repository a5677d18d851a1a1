"""Objects through a video: a look at the whole frame finds each one again, a look around it draws its border.

Both looks read the same kind of memory: the frames with given masks, which stay, and the latest answers, a queue. What
is remembered stays soft. The first look starts from where the object was, the second one from what the first found and
remembers a given mask in several views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.api import ObjectMasks
from segcli.models.layers.memory import memory_errors
from segcli.models.layers.propagation.evidence import Kept, evidence
from segcli.models.layers.propagation.looks import CELL, Look, cells_of, extent, network_input, object_look, whole_look
from segcli.models.layers.propagation.network import SUBCELL, PropagationNet
from segcli.models.layers.propagation.record import KEPT_DTYPE, ObjectRecord, Seen, VideoRecord, pack, unpack
from segcli.models.layers.propagation.views import VIEWS, View

_LOST = -10.0  # logit of what is surely not the object
_HALF = 0.5

Maps = Mapping[str, Tensor]
Backbone = Callable[[Tensor], Maps]
"""RGB bytes as float [1, 3, H, W] in 0..255 -> res1..res5, and "photo" [1, 3, H/2, W/2] around zero."""

Opinion = Callable[[Maps, Tensor], Tensor]
"""A system's own view of a window: its maps and a rough mask [1, 1, H/4, W/4] in 0..1 -> logits [1, 1, H/2, W/2]."""


@dataclass(frozen=True, eq=False)
class _Window:
    """A look around an object: its maps, and keys [C, M]."""

    look: Look
    maps: Maps
    keys: Tensor


@dataclass(frozen=True, eq=False)
class _Answer:
    """One object in one frame: logits [H, W], and the look around it, or None when it is not in sight."""

    logits: Tensor
    near: _Window | None


class Propagator:
    """Carries masks through a video; implements `segcli.models.api.Tracker`.

    name:     of the model, for messages.
    opinion:  a system's own view of a window, and its weight against the head's, in logits.
    capacity: frames kept beside those with given masks. every: only each so-manyth is kept.
    soft:     remember probabilities; otherwise what is remembered is binarised, as published loops do.
    """

    def __init__(
        self,
        name: str,
        backbone: Backbone,
        net: PropagationNet,
        opinion: Opinion | None = None,
        *,
        weight: float = 0.5,
        capacity: int = 8,
        every: int = 1,
        soft: bool = True,
    ) -> None:
        if capacity < 0 or every < 1:
            raise UsageError(f"a memory of {capacity} frames, every {every}: give at least 0 and 1")
        self.name, self.backbone, self.net, self.opinion = name, backbone, net, opinion
        self.weight, self.capacity, self.every, self.soft = weight, capacity, every, soft
        self.device = next(net.parameters()).device
        self._record = VideoRecord()

    def step(self, frame: Image, masks: ObjectMasks | None = None) -> ObjectMasks:
        """Masks of `frame` for every known object, without overlap; empty for one that is out of sight.

        `masks` are taken as true for it. An object's first mask stays in memory for good, the latest correction
        beside it. Raises UsageError before any mask was given, for a frame of another size than the first one's, and
        for a mask that is empty or of another size; DeviceError when the device has no memory left.
        """
        given = dict(masks or {})
        self._check(frame, given)
        with torch.inference_mode(), memory_errors(self.name):
            return self._step(frame, given)

    def drop(self, number: int) -> None:
        """Forget an object. Raises UsageError for one that is not there."""
        objects = self._record.objects
        if objects.pop(number, None) is None:
            raise UsageError(f"object {number} is not followed; known: {', '.join(map(str, objects)) or 'none'}")
        self._record.prune()

    def state(self) -> dict[str, NDArray[Any]]:
        """All memory as arrays."""
        return pack(self._record)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        self._record = unpack(state, self.device)

    def _check(self, frame: Image, given: ObjectMasks) -> None:
        record = self._record
        if not given and not record.objects:
            raise UsageError(f"{frame.name}: no object to follow yet; give a mask for the first frame")
        if record.size is not None and frame.size != record.size:
            sizes = [f"{w}x{h}" for h, w in (frame.size, record.size)]
            raise UsageError(f"{frame.name} is {sizes[0]}, the frames before it are {sizes[1]}; scale them alike")
        for number, mask in given.items():
            if mask.shape != frame.size:
                sizes = [f"{w}x{h}" for h, w in (mask.shape, frame.size)]
                raise UsageError(
                    f"{frame.name}: the mask of object {number} is {sizes[0]}, the frame {sizes[1]}; "
                    "give a mask of the frame's size"
                )
            if not mask.any():
                raise UsageError(f"{frame.name}: the mask of object {number} is empty; mark the object or leave it out")

    def _step(self, frame: Image, given: dict[int, NDArray[np.bool_]]) -> ObjectMasks:
        record = self._record
        pixels = torch.from_numpy(np.array(frame.pixels)).permute(2, 0, 1)[None]
        if frame.reduced:
            pixels = F.interpolate(pixels, size=frame.size, mode="bilinear", align_corners=False)
        look = whole_look(frame.size)
        maps, keys = self._see(pixels, look)
        followed = [number for number in record.objects if number not in given]
        answers = self._find(pixels, look, maps, keys, followed)
        truth = {number: torch.from_numpy(np.array(mask)) for number, mask in given.items()}
        shares = _resolved(answers, truth)
        if not self.soft:
            shares = {number: (share > _HALF).float() for number, share in shares.items()}
        record.frames[record.steps] = keys.to(KEPT_DTYPE)
        for number in followed:
            self._remember(number, shares[number], look, maps, answers[number].near)
        for number in given:
            self._take(number, truth[number].float(), pixels, look, maps)
        found = _masks(answers, truth)
        record.size = frame.size
        record.steps += 1
        record.prune()
        return {number: given[number] if number in given else found[number] for number in record.objects}

    def _see(self, pixels: Tensor, look: Look) -> tuple[Maps, Tensor]:
        """Maps of a look and keys [C, M]."""
        maps = self._maps(network_input(pixels, look))
        return maps, self._keys(maps)

    def _maps(self, seen: Tensor) -> Maps:
        return self.backbone(seen.to(self.net.key.weight))

    def _keys(self, maps: Maps) -> Tensor:
        return self.net.keys(maps)[0]

    def _find(self, pixels: Tensor, look: Look, maps: Maps, keys: Tensor, followed: list[int]) -> dict[int, _Answer]:
        """Every followed object in the whole frame, then each in the window around it."""
        record, size = self._record, (pixels.shape[-2], pixels.shape[-1])
        if not followed:
            return {}
        held = [record.objects[number] for number in followed]
        found = [
            evidence(
                keys,
                look,
                record.looks(o.given, look),
                record.looks(o.recent, look),
                self._tau,
                lost=o.lost,
            )
            for o in held
        ]
        _, coarse, _ = self.net.found(
            maps,
            torch.stack([maps_ for maps_, _ in found]),
            torch.stack([votes for _, votes in found]),
            torch.stack([o.earlier for o in held]),
        )
        shares = _softmax(coarse[:, 0].float())
        return {
            number: self._look_closer(pixels, size, record.objects[number], coarse[i, 0].float(), shares[i])
            for i, number in enumerate(followed)
        }

    def _look_closer(
        self, pixels: Tensor, size: tuple[int, int], held: ObjectRecord, coarse: Tensor, share: Tensor
    ) -> _Answer:
        """From coarse logits and share [h, w] of the whole frame to logits of the frame's size."""
        canvas = _grow(coarse, size)
        rough = _grow(share, size)
        box = extent((rough > _HALF).cpu().numpy())
        if box is None:
            return _Answer(canvas, None)
        near = object_look(box, size)
        maps, keys = self._see(pixels, near)
        seen, votes = evidence(keys, near, held.given_near, held.recent_near, self._tau)
        earlier = cells_of(rough[None], near)
        _, _, logits = self.net(maps, seen[None], votes[None], earlier[None])
        logits = logits.float()
        if self.opinion is not None:
            finer = F.interpolate(logits.sigmoid(), scale_factor=0.5, mode="area")
            logits = (1 - self.weight) * logits + self.weight * self.opinion(maps, finer).float()
        canvas = canvas.clone()
        canvas[near.y0 : near.y1, near.x0 : near.x1] = _grow(logits[0, 0], near.size)
        return _Answer(canvas, _Window(near, maps, keys))

    @property
    def _tau(self) -> Tensor:
        return self.net.log_tau.float().exp()

    def _remember(self, number: int, share: Tensor, look: Look, maps: Maps, near: _Window | None) -> None:
        """Keep a frame's answer, share [H, W]; one in which the object was out of sight says nothing new of it."""
        record = self._record
        held = record.objects[number]
        held.earlier, held.lost = cells_of(share[None], look), near is None
        if near is None or record.steps % self.every:
            return
        seen = Seen(record.steps, held.earlier.flatten(), self._features(share, look, maps))
        values = cells_of(share[None], near.look).flatten()
        kept = Kept(near.look, near.keys.to(KEPT_DTYPE), values, self._features(share, near.look, near.maps))
        held.answer(seen, kept, self.capacity)

    def _take(self, number: int, mask: Tensor, pixels: Tensor, look: Look, maps: Maps) -> None:
        """Keep a given mask [H, W] in 0..1."""
        record = self._record
        mask = mask.to(self.device)
        box = extent((mask > _HALF).cpu().numpy())
        assert box is not None
        views = [self._viewed(view, box, mask, pixels) for view in VIEWS]
        earlier = cells_of(mask[None], look)
        seen = Seen(record.steps, earlier.flatten(), self._features(mask, look, maps))
        if number in record.objects:
            record.objects[number].correct(seen, views, earlier)
        else:
            record.objects[number] = ObjectRecord([seen], views, earlier)

    def _viewed(self, view: View, box: tuple[int, int, int, int], mask: Tensor, pixels: Tensor) -> Kept:
        """One view of a given mask [H, W] in 0..1 that lies in x0, y0, x1, y1."""
        window = view.look(box, (mask.shape[0], mask.shape[1]))
        seen, inside = network_input(pixels, window), cells_of(mask[None], window, SUBCELL)
        if view.mirrored:
            seen, inside = seen.flip(-1), inside.flip(-1)
        maps = self._maps(seen)
        values = F.avg_pool2d(inside, CELL // SUBCELL).flatten()
        features = self.net.memory(maps, inside[None])[0].to(KEPT_DTYPE)
        return Kept(window, self._keys(maps).to(KEPT_DTYPE), values, features)

    def _features(self, share: Tensor, look: Look, maps: Maps) -> Tensor:
        """What is remembered of a soft mask [H, W] of the frame beside its cells' values: [FEATURES, M]."""
        features: Tensor = self.net.memory(maps, cells_of(share[None], look, SUBCELL)[None])[0]
        return features.to(KEPT_DTYPE)


def _softmax(logits: Tensor) -> Tensor:
    """Logits [K, h, w] of objects against a background of logit 0 -> shares of the same shape, at most 1 together."""
    return F.pad(logits, (0, 0, 0, 0, 1, 0)).softmax(0)[1:]


def _resolved(answers: Mapping[int, _Answer], truth: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Shares [H, W] of followed objects; nothing where a given mask lies."""
    if not answers:
        return {}
    shares = _softmax(_free(answers, truth))
    return dict(zip(answers, shares, strict=True))


def _masks(answers: Mapping[int, _Answer], truth: Mapping[int, Tensor]) -> dict[int, NDArray[np.bool_]]:
    """Each pixel to the object with the highest logit, when that is above 0."""
    if not answers:
        return {}
    highest, owner = _free(answers, truth).max(0)
    taken = highest > 0
    return {number: (taken & (owner == i)).cpu().numpy() for i, number in enumerate(answers)}


def _free(answers: Mapping[int, _Answer], truth: Mapping[int, Tensor]) -> Tensor:
    logits = torch.stack([a.logits for a in answers.values()])
    if truth:
        given = torch.stack(list(truth.values())).any(0).to(logits.device)
        logits = logits.masked_fill(given, _LOST)
    return logits


def _grow(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """[h, w] -> [*size], bilinear."""
    return F.interpolate(plane[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]

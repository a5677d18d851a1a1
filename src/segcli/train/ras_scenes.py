"""Photos with labelled masks as scenes: what rules need to know of each object, and its pooled features, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.image import Image
from segcli.core.rle import Rle, decode, encode
from segcli.datasets.folders import Photo
from segcli.models.ras.colours import COLOURS, named
from segcli.models.ras.predictor import EncodedPhoto, RasPredictor
from segcli.models.ras.relations import beside, extents, steps_of
from segcli.train.groups_rules import Box

_LEAST_PIXELS = 40
_LEAST_SHARE = 0.5  # of an object's pixels that a colour needs to be its word


@dataclass(frozen=True)
class Objects:
    """What is known of N objects of one photo, all that rules ask for. `extra` masks are candidates that are no object.

    masks:      N masks of the photo, apart from each other.
    categories: N class names or None. colours: N colour words or None.
    touching:   bool [N, N]. complete: a class that no object has is truly absent.
    extra:      M masks: parts of objects, several of them together, and what is between.
    purity:     float32 [M, N], the share of an extra mask's pixels that belong to an object.
    """

    size: tuple[int, int]
    masks: tuple[Rle, ...]
    categories: tuple[str | None, ...]
    colours: tuple[str | None, ...]
    touching: NDArray[np.bool_]
    complete: bool
    extra: tuple[Rle, ...]
    purity: NDArray[np.float32]

    @property
    def boxes(self) -> list[Box]:
        """x0, y0, x1, y1 of each object."""
        return [(x, y, x + w, y + h) for x, y, w, h in (m.bbox for m in self.masks)]

    @property
    def areas(self) -> list[int]:
        """Pixels of each object."""
        return [m.area for m in self.masks]


@dataclass(frozen=True, eq=False)
class Scene:
    """Objects with their pooled features: [N, F], and [M, F] of the extra candidates.

    measured: how many of the F, the last ones, say where a mask is and which colours it has, which no encoder learnt.
    beside:   [N + M, N, P], boxes [N + M, 4] and areas [N + M]: of `relations`, objects and then extra candidates.
    photo:    number of the photo, the same in all its views.
    chances:  [N + M, names], what heads say that were trained without this photo, or None.
    """

    objects: Objects
    features: Tensor
    extra: Tensor
    measured: int
    beside: Tensor
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    photo: int = 0
    chances: Tensor | None = None


def objects_of(
    photo: Photo, pixels: NDArray[np.uint8], ids: NDArray[np.uint8], rng: np.random.Generator, copies: int = 0
) -> Objects:
    """The objects of a photo whose pixels and ids [H, W] were read; `copies` of them stand among the extra masks."""
    named_objects = {o.id: o.name for o in photo.labelled(ids)}
    areas = np.bincount(ids.ravel(), minlength=256)
    kept = [n for n in sorted(named_objects) if areas[n] >= _LEAST_PIXELS]
    dense = [ids == n for n in kept]
    index = named(torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255).numpy()
    colours: list[str | None] = []
    for mask in dense:
        shares = np.bincount(index[mask], minlength=len(COLOURS)) / mask.sum()
        colours.append(COLOURS[int(shares.argmax())] if shares.max() >= _LEAST_SHARE else None)
    extra = [*distractors(dense, rng), *(worn(dense, rng, copies) if copies else ())]
    covered = np.array([[(e & d).sum() for d in dense] for e in extra], np.float32).reshape(len(extra), len(dense))
    totals = np.array([max(int(e.sum()), 1) for e in extra], np.float32).reshape(-1, 1)
    return Objects(
        (int(ids.shape[0]), int(ids.shape[1])),
        tuple(encode(m) for m in dense),
        tuple(named_objects[n] for n in kept),
        tuple(colours),
        touching(ids, kept),
        bool(photo.complete),
        tuple(encode(e) for e in extra),
        (covered / totals).astype(np.float32),
    )


def touching(ids: NDArray[np.uint8], kept: Sequence[int]) -> NDArray[np.bool_]:
    """bool [N, N]: objects that come within a hundredth of the photo's side of each other."""
    row = {n: k for k, n in enumerate(kept)}
    found = np.zeros((len(kept), len(kept)), np.bool_)
    for step in steps_of((int(ids.shape[0]), int(ids.shape[1]))):
        for a, b in ((ids[step:], ids[:-step]), (ids[:, step:], ids[:, :-step])):
            for one, other in np.unique(np.stack([a[a != b], b[a != b]]), axis=1).T:
                if int(one) in row and int(other) in row:
                    found[row[int(one)], row[int(other)]] = found[row[int(other)], row[int(one)]] = True
    return found


def distractors(dense: Sequence[NDArray[np.bool_]], rng: np.random.Generator, most: int = 6) -> list[NDArray[np.bool_]]:
    """Masks as proposals have them besides whole objects: halves of objects, two together, blocks of the photo."""
    found: list[NDArray[np.bool_]] = []
    if not dense:
        return found
    height, width = dense[0].shape
    for n in rng.permutation(len(dense))[: most // 2]:
        mask = dense[int(n)]
        rows, columns = np.nonzero(mask)
        part = mask.copy()
        if rng.random() < 0.5:
            part[: int(np.quantile(rows, rng.uniform(0.3, 0.7)))] = False
        else:
            part[:, : int(np.quantile(columns, rng.uniform(0.3, 0.7)))] = False
        found.append(part)
    if len(dense) > 1:
        a, b = rng.choice(len(dense), 2, replace=False)
        found.append(dense[int(a)] | dense[int(b)])
    for _ in range(2):
        block = np.zeros((height, width), np.bool_)
        y, x = int(rng.integers(0, height * 3 // 4)), int(rng.integers(0, width * 3 // 4))
        block[
            y : y + max(4, int(height * rng.uniform(0.05, 0.3))), x : x + max(4, int(width * rng.uniform(0.05, 0.3)))
        ] = True
        found.append(block)
    return [mask for mask in found if mask.sum() >= _LEAST_PIXELS]


def worn(dense: Sequence[NDArray[np.bool_]], rng: np.random.Generator, count: int) -> list[NDArray[np.bool_]]:
    """Copies of objects as proposals have them: grown or eaten away at their border, and moved by as much."""
    found = []
    for n in rng.permutation(len(dense))[:count]:
        mask = dense[int(n)]
        reach = max(1, round(np.sqrt(mask.sum()) * rng.uniform(0.02, 0.1)))
        grown = mask.copy() if rng.random() < 0.5 else ~mask
        inverted = bool((grown != mask).any())
        for axis in (0, 1):
            grown = np.logical_or.reduce([np.roll(grown, step, axis) for step in range(-reach, reach + 1)])
        copy = np.roll(~grown if inverted else grown, rng.integers(-reach, reach + 1, 2), (0, 1))
        if copy.sum() >= _LEAST_PIXELS:
            found.append(copy)
    return found


def mirrored(predictor: RasPredictor, scene: Scene) -> Scene:
    """The scene left to right. What the encoders saw is kept (they hardly tell the sides apart), places are new."""
    objects = scene.objects
    masks, extra = (tuple(encode(np.fliplr(decode(m))) for m in part) for part in (objects.masks, objects.extra))
    seen = scene.features.shape[1] - predictor.model.place_width
    places = predictor.places([*masks, *extra], scene.features)
    features = torch.cat([torch.cat([scene.features, scene.extra])[:, :seen], places], 1)
    turned = replace(objects, masks=masks, extra=extra)
    count = len(masks)
    return Scene(turned, features[:count], features[count:], scene.measured, *related(turned), photo=scene.photo)


def related(objects: Objects) -> tuple[Tensor, NDArray[np.float64], NDArray[np.float64]]:
    """`beside`, `boxes` and `areas` of a scene."""
    masks = [*objects.masks, *objects.extra]
    return torch.from_numpy(beside(masks, objects.masks)), *extents(masks)


def scene_of(predictor: RasPredictor, pixels: NDArray[np.uint8], objects: Objects, number: int = 0) -> Scene | None:
    """The scene with features from the predictor's frozen encoders (in bf16); None for fewer than two objects."""
    if len(objects.masks) < 2:
        return None
    with torch.autocast(predictor.device.type, torch.bfloat16):
        (encoded,) = predictor.encode([Image(pixels, objects.size)])
    assert isinstance(encoded, EncodedPhoto)
    exact = replace(encoded, maps=[one.float() for one in encoded.maps])
    features = predictor.features(exact, [*objects.masks, *objects.extra]).clone()
    model, count = predictor.model, len(objects.masks)
    columns = model.colour_columns
    measured = model.place_width + (columns.stop - columns.start)
    return Scene(objects, features[:count], features[count:], measured, *related(objects), photo=number)

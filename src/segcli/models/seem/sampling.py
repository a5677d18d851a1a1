"""From marks on an image to prompt tokens: the features under the marks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.seem.draws import Draws
from segcli.models.seem.prompts import PointSet


def as_points(regions: Sequence[Tensor | PointSet]) -> list[PointSet]:
    """Point sets of masks or point sets, one an image."""
    return [region if isinstance(region, PointSet) else PointSet.of_masks(region) for region in regions]


def draw(points: Sequence[PointSet], budget: int, draws: Draws, by_object: bool) -> list[PointSet]:
    """At most `budget` points of each image. An image without a point asks for no draw."""
    drawn = []
    for one in points:
        total = one.objects.numel()
        if total == 0:
            drawn.append(one)
        else:
            drawn.append(
                one.take(draws.points(one.objects, budget) if by_object else draws.points_of_one(total, budget))
            )
    return drawn


def read_map(feature: Tensor, yx: Tensor) -> Tensor:
    """Bilinear reading of a map [B, C, h, w] at fractions yx [B, P, 2] -> [B, P, C].

    Published convention, unlike everywhere else in the model: fraction 0 is the centre of the first cell and fraction
    1 that of the last one (align_corners).
    """
    if yx.shape[1] == 0:
        return feature.new_zeros(feature.shape[0], 0, feature.shape[1])
    grid = (2 * yx.flip(-1) - 1)[:, :, None].float()  # places need float32 whatever the weights have
    read = F.grid_sample(feature.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return read[..., 0].transpose(1, 2).to(feature.dtype)


def pad(points: Sequence[PointSet]) -> tuple[Tensor, Tensor]:
    """Point sets of a batch as yx [B, P, 2] and objects [B, P]; padding stands at (0, 0) with object -1."""
    longest = max(one.objects.numel() for one in points)
    yx = torch.stack([F.pad(one.yx, (0, 0, 0, longest - one.yx.shape[0])) for one in points])
    objects = torch.stack([F.pad(one.objects, (0, longest - one.objects.numel()), value=-1) for one in points])
    return yx, objects


def mean_vectors(feature: Tensor, points: Sequence[PointSet], objects: int, empty: float) -> Tensor:
    """Mean of a map [B, C, h, w] under each object's points, [B, objects, C]; all `empty` for one without points."""
    yx, owner = pad(points)
    read = read_map(feature, yx)
    member = F.one_hot(owner + 1, objects + 1)[:, :, 1:].to(read.dtype)  # [B, P, objects]
    count = member.sum(1)[:, :, None]
    mean = member.transpose(1, 2) @ read / count.clamp(min=1)
    return torch.where(count > 0, mean, torch.full_like(mean, empty))

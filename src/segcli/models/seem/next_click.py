"""The released code's simulated user: where the next click goes, for its training and its own evaluation.

The paper says "the centre of the largest error region"; the code takes the pixel of the whole false negative or false
positive area (whichever is larger) that is deepest by kornia's approximate distance transform. An exact transform
gives other clicks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SOFTNESS = 0.35
_GOOD_ENOUGH = 0.925


@dataclass(frozen=True)
class NextClicks:
    """Masks after the next click of N objects.

    positive, negative: bool [N, H, W], all clicks so far, each a 3x3 square.
    is_positive: bool [N], the sign of the new click; wrong: bool [N, H, W], false positives not clicked yet;
    region: bool [N, H, W] where the click was looked for;
    depth: [N, H, W] its distance transform; place: [N] flat index of the deepest pixel.
    """

    positive: Tensor
    negative: Tensor
    is_positive: Tensor
    wrong: Tensor
    region: Tensor
    depth: Tensor
    place: Tensor


def soft_distance(image: Tensor) -> Tensor:
    """kornia 0.7's distance transform of [N, H, W] maps (3x3 kernel, h 0.35): distance of zeros to the ones.

    Each round covers the next ring of pixels; its distance is 3i // 2 (not i) plus the soft minimum within the ring.
    """
    kernel_at = torch.arange(-1.0, 2.0, device=image.device)
    apart = (kernel_at[:, None] ** 2 + kernel_at[None] ** 2).sqrt()
    kernel = torch.exp(-apart / _SOFTNESS)[None, None]
    boundary = image[:, None].float().clone()
    distance = torch.zeros_like(boundary)
    for i in range(max(image.shape[-2:])):
        ring = -_SOFTNESS * F.conv2d(F.pad(boundary, (1, 1, 1, 1), mode="replicate"), kernel).log()
        ring = ring.masked_fill(ring.isinf(), 0.0)
        new = ring > 0
        if not bool(new.any()):
            break
        distance = torch.where(new, distance + (3 * i) // 2 + ring, distance)
        boundary = torch.where(new, torch.ones_like(boundary), boundary)
    return distance[:, 0]


def next_clicks(prediction: Tensor | None, truth: Tensor, positive: Tensor, negative: Tensor) -> NextClicks:
    """The next click of each of N objects, on the padded image.

    prediction: mask logits [N, h, w] of the last round, None before the first; truth, positive, negative: bool
    [N, H, W] (what is to be found, and the clicks so far). An object whose IoU is 0.925 or more gets no click.
    """
    size = (int(truth.shape[-2]), int(truth.shape[-1]))
    if prediction is None:
        found = torch.zeros_like(truth)
    else:
        found = F.interpolate(prediction[None], size=size, mode="bilinear", align_corners=False)[0] > 0
    clicked = positive | negative
    missed, wrong = truth & ~found & ~clicked, ~truth & found & ~clicked
    is_positive = missed.flatten(1).sum(1) > wrong.flatten(1).sum(1)
    region = torch.where(is_positive[:, None, None], missed, wrong)
    outside = F.pad(~region, (1, 1, 1, 1), value=True)
    depth = soft_distance(outside)[:, 1:-1, 1:-1]
    place = depth.flatten(1).argmax(1)
    new = F.one_hot(place, size[0] * size[1]).view(-1, 1, *size).float()
    new = F.max_pool2d(new, 3, stride=1, padding=1)[:, 0] > 0
    union = (truth | found).flatten(1).sum(1)
    overlap = (truth & found).flatten(1).sum(1) / union
    asked = ~(overlap >= _GOOD_ENOUGH)
    new = new & asked[:, None, None]
    sign = is_positive[:, None, None]
    return NextClicks(positive | (new & sign), negative | (new & ~sign), is_positive, wrong, region, depth, place)

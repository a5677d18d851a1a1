"""What a photo says about itself once a first answer stands: cells that look like what was found.

An example and the photo may show two rather different things of a kind; two parts of one photo are more alike. So the
first answer is taken as one more example, the photo itself ("self-support", Fan et al. 2022, there with prototypes
alone), and a second answer sees what it says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

OWN = 3
"""Maps that each space gives."""
_SHARPNESS = 15.0  # inverse temperature of the similarities along which the first answer is carried


def own_evidence(keys: Sequence[Tensor], inside: Tensor) -> Tensor:
    """How much each cell is like what was found in the same photo.

    keys: for each space [E, C_s, h_s, w_s], unit vectors. inside: probabilities [E, 1, h, w] of the first answer.
    Returns [E, OWN * spaces, h, w]. Each space gives: the probability carried along the similarities of cells (a
    softmax readout), the cosine to the mean of what is inside, and the cosine to the mean of what is not.
    No gradient flows through it.
    """
    grid = (inside.shape[-2], inside.shape[-1])
    planes = []
    with torch.no_grad(), torch.autocast(inside.device.type, enabled=False):
        for cells in keys:
            size = (cells.shape[-2], cells.shape[-1])
            share = F.adaptive_avg_pool2d(inside.float(), size).flatten(1)
            rows = cells.float().flatten(2)
            alike = (_SHARPNESS * rows.transpose(1, 2) @ rows).softmax(2)
            carried = (alike @ share[:, :, None]).transpose(1, 2)
            means = torch.stack([_mean_of(rows, share), _mean_of(rows, 1 - share)], 1)
            own = torch.cat([carried, means @ rows], 1).view(-1, OWN, *size)
            planes.append(own if size == grid else F.interpolate(own, grid, mode="bilinear", align_corners=False))
    return torch.cat(planes, 1)


def _mean_of(rows: Tensor, weights: Tensor) -> Tensor:
    """Unit mean [E, C] of cells [E, C, N] under weights [E, N]."""
    return F.normalize((rows * weights[:, None]).sum(2), dim=1)

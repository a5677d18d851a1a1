"""The training loss: smooth L1 on the hidden pixels that count."""

from __future__ import annotations

from torch import Tensor

BETA = 0.01


def smooth_l1(difference: Tensor, beta: float = BETA) -> Tensor:
    """Element by element: quadratic below `beta`, linear above."""
    size = difference.abs()
    return (size < beta) * (0.5 * size**2 / beta) + (size >= beta) * (size - 0.5 * beta)


def hidden_pixels(mask: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """Token mask [B, rows*columns] -> pixel mask [B, 1, H, W] of the same dtype."""
    tokens = mask.reshape(-1, 1, *grid)
    return tokens.repeat_interleave(patch_size, dim=2).repeat_interleave(patch_size, dim=3)


def in_context_loss(painted: Tensor, target: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
    """Mean loss over hidden, valid values; a scalar, nan when there are none (as published: no epsilon).

    painted, target: normalised canvases [B, 3, H, W]; the target is held constant. hidden: [B, 1, H, W].
    valid: [B, 3, H, W] or broadcastable; channels count one by one.
    """
    weight = (hidden * valid).to(painted.dtype).expand_as(painted)
    return (smooth_l1(painted - target.detach()) * weight).sum() / weight.sum()

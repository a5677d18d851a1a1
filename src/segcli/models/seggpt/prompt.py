"""In-context tuning: an example that is learned while the model stays frozen (arXiv 2304.03284, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segcli.models.seggpt.loss import hidden_pixels, in_context_loss
from segcli.models.seggpt.model import SegGPT, half_mask

INITIAL_STD = 0.02


class TunedPrompt(nn.Module):
    """A prompt photo and a prompt target, both [1, 3, side, side] in normalised space.

    The paper learns "an image tensor" without its shape or start; both halves of an example, started from a real
    pair or from small noise, are ours.
    """

    def __init__(self, photo: Tensor, target: Tensor) -> None:
        super().__init__()
        self.photo = nn.Parameter(photo.detach().clone())
        self.target = nn.Parameter(target.detach().clone())

    @classmethod
    def from_noise(cls, side: int, generator: torch.Generator) -> TunedPrompt:
        """A start without any example: N(0, 0.02 squared)."""
        photo, target = (torch.randn(1, 3, side, side, generator=generator) * INITIAL_STD for _ in range(2))
        return cls(photo, target)

    def canvases(self, queries: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The prompt above each of B normalised queries and labels [B, 3, side, side]: two of [B, 3, 2*side, side]."""
        upper = (len(queries), -1, -1, -1)
        photos = torch.cat([self.photo.expand(upper), queries], dim=2)
        return photos, torch.cat([self.target.expand(upper), labels], dim=2)


def prompt_loss(
    model: SegGPT, prompt: TunedPrompt, queries: Tensor, labels: Tensor, kind: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Loss of painting `labels` for `queries` from the prompt, on the lower half: (scalar, canvas [B, 3, H, W]).

    Gradients reach the prompt alone if the model's parameters do not require any; that is the caller's to see to.
    """
    photos, targets = prompt.canvases(queries, labels)
    grid = (photos.shape[2] // model.config.patch_size, photos.shape[3] // model.config.patch_size)
    mask = half_mask(grid).to(photos.device)
    canvas = model(photos, targets, mask, kind)
    hidden = hidden_pixels(mask, grid, model.config.patch_size)
    return in_context_loss(canvas, targets, hidden, torch.ones_like(targets)), canvas

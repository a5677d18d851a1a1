"""Trains the head that names masks, and what it says of photos that it was not trained on.

A language model that learns from what the head says of its own training photos learns to believe a head that is never
wrong. So photos are dealt into folds, and each fold hears a head that was trained on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.ras.names import Names
from segcli.train.ras_scenes import Scene

_BATCH, _RATE, _DECAY, _SMOOTH = 256, 2e-3, 0.1, 0.05
_RARE = 0.4  # how much more often rare names are drawn: their count to this power less often than they stand there
_PURE = 0.7  # share of an extra candidate that one object has, to be called what that object is
Say = Callable[[str], None]


def labels_of(scene: Scene, names: Sequence[str]) -> Tensor:
    """int64 [N + M] for objects and extra candidates: their name's number, `len(names)` for no object, -1 unknown."""
    number = {name: n for n, name in enumerate(names)}
    own = [number.get(name or "", -1) for name in scene.objects.categories]
    labels = list(own)
    for row in scene.objects.purity:
        best = int(row.argmax())
        labels.append(own[best] if row[best] >= _PURE else len(names))
    return torch.tensor(labels)


def fit(head: Names, features: Tensor, labels: Tensor, steps: int, noise: float, seed: int) -> Names:
    """Train the head on features [N, F] of mean 0 and deviation 1 with labels [N]; returns it, ready to be asked."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), lr=_RATE, weight_decay=_DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, steps)
    counts = torch.bincount(labels, minlength=int(labels.max()) + 1).float()
    often = counts[labels] ** -_RARE
    head.train()
    for _ in range(steps):
        drawn = torch.multinomial(often, _BATCH, replacement=True, generator=generator)
        shaken = features[drawn] + noise * torch.randn(_BATCH, features.shape[1], generator=generator)
        loss = F.cross_entropy(head(shaken), labels[drawn], label_smoothing=_SMOOTH)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rates.step()
    return head.eval()


def learn(
    head: Names, scenes: Sequence[Scene], names: Sequence[str], *, folds: int, steps: int, noise: float, say: Say
) -> list[Tensor]:
    """Train `head` on all scenes; returns what heads of other folds say of each, chances [N + M, names + 1]."""
    features = [torch.cat([s.features, s.extra]) for s in scenes]
    labels = [labels_of(s, names) for s in scenes]
    fold_of = np.array([s.photo % folds for s in scenes])
    chances: list[Tensor] = [torch.empty(0)] * len(scenes)
    right: list[Tensor] = []
    for fold in range(folds):
        others = [n for n in range(len(scenes)) if fold_of[n] != fold]
        if not others:
            raise ValueError(f"{folds} folds are too many for so few photos")
        copy = Names(features[0].shape[1], len(names) + 1, 1)
        _fit_known(copy, [features[n] for n in others], [labels[n] for n in others], steps, noise, fold)
        with torch.no_grad():
            for n in np.flatnonzero(fold_of == fold).tolist():
                chances[n] = copy(features[n]).softmax(1)
                own = labels[n][: len(scenes[n].features)]
                right.append((chances[n][: len(own)].argmax(1) == own)[own >= 0].float())
    say(f"names of objects in photos that a head was not trained on: {float(torch.cat(right).mean()):.3f} right")
    _fit_known(head, features, labels, steps, noise, folds)
    return chances


def _fit_known(
    head: Names, features: Sequence[Tensor], labels: Sequence[Tensor], steps: int, noise: float, seed: int
) -> None:
    every, known = torch.cat(list(features)), torch.cat(list(labels))
    fit(head, every[known >= 0], known[known >= 0], steps, noise, seed)

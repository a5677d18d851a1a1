"""Scores a model during training on views it never trains on, and draws what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor, nn

from segcli.core.errors import StorageError
from segcli.models.seem.nano import SeemNano
from segcli.train.seem import ObjectBatch, SeemRecipe, Users, collate
from segcli.train.views import TrainingPhoto, ViewConfig, views

_SHOWN = 8  # objects on a picture


def hold_out(photos: Sequence[TrainingPhoto], every: int = 40) -> tuple[list[TrainingPhoto], list[TrainingPhoto]]:
    """Training and validation photos: each `every`-th photo is kept back, of fewer photos the last one.

    Raises StorageError when there are fewer than two.
    """
    if len(photos) < 2:
        raise StorageError(f"{len(photos)} photos with masks: training needs two at least, one of them to validate")
    every = min(every, len(photos))
    kept = [p for i, p in enumerate(photos) if i % every == every - 1]
    return [p for i, p in enumerate(photos) if i % every != every - 1], kept


class ClickValidation:
    """Mean IoU after 1 to `clicks` careful clicks on fixed views; pictures go to `folder`."""

    def __init__(
        self, photos: Sequence[TrainingPhoto], view: ViewConfig, folder: Path, count: int = 40, clicks: int = 5
    ) -> None:
        count = min(count, 4 * len(photos))
        drawn = islice(views(photos, ViewConfig(view.side, view.targets, view.zoom, paste=0.0), seed=0), count)
        self.batches: list[ObjectBatch] = [collate([v]) for v in drawn]
        self.folder, self.clicks = folder, clicks

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """IoU@1 … IoU@clicks."""
        assert isinstance(model, SeemNano)
        model.eval()
        device = next(model.parameters()).device
        recipe = SeemRecipe(box=0, scribble=0, rough=0, careful=1.0, forget=0, hard=1.0)
        curves: list[NDArray[np.float64]] = []
        rows: list[NDArray[np.uint8]] = []
        with torch.inference_mode():
            for batch in (b.to(device) for b in self.batches):
                encoded = model.encode_features(model.encode_backbone(batch.images))
                users = Users(batch, recipe, np.random.default_rng(0))
                answers = []
                for _ in range(self.clicks):
                    answers.append(model.answer(encoded, users.prompts(), batch.image_of).final)
                    users.answer(answers[-1])
                curves.append(np.stack([iou(a[:, 0] > 0, batch) for a in answers], 1))
                if len(rows) < _SHOWN:
                    rows.append(_row(batch, answers))
        self.folder.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(np.concatenate(rows)).save(self.folder / f"{step:06d}.png")
        mean = np.concatenate(curves).mean(0)
        return {f"IoU@{k + 1}": round(float(v), 4) for k, v in enumerate(mean)}


def iou(taken: Tensor, batch: ObjectBatch) -> NDArray[np.float64]:
    """IoU [N] of bool masks [N, h, w] with the truth of a batch, over valid cells."""
    truth, valid = batch.truth > 0.5, batch.valid[batch.image_of]
    both = (taken & truth & valid).sum((1, 2)).double()
    either = ((taken | truth) & valid).sum((1, 2)).double()
    return (both / either.clamp(min=1)).cpu().numpy()


def _row(batch: ObjectBatch, answers: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Photo, truth, first and last answer of a batch's first object, side by side."""
    photo = batch.images[0].permute(1, 2, 0).cpu().numpy()
    size = photo.shape[:2]
    planes = [batch.truth[0], answers[0][0, 0].sigmoid(), answers[-1][0, 0].sigmoid()]
    grown = [F.interpolate(p[None, None].float(), size=size, mode="bilinear")[0, 0] for p in planes]
    tiles = [photo, *((p.cpu().numpy()[..., None].repeat(3, 2) * 255).astype(np.uint8) for p in grown)]
    return np.concatenate(tiles, 1)

"""Drawn photos with masks, and a backbone of random weights: what a short training needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from safetensors.torch import save_file

from segcli.models.backbones.efficientnet_lite import EfficientNetLite


def photos(folder: Path) -> Path:
    """Three photos with two objects each, in `folder/images` and `folder/masks`; returns `folder`."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(3):
        pixels = np.full((60, 80, 3), 40 * number, np.uint8)
        labels = np.zeros((60, 80), np.uint8)
        labels[15:45, 20:50], labels[20:40, 50:70] = 1, 2
        pixels[labels == 1], pixels[labels == 2] = 220, (250, 120, 0)
        Pillow.fromarray(pixels).save(folder / "images" / f"{number}.jpg")
        Pillow.fromarray(labels).save(folder / "masks" / f"{number}.png")
    return folder


def backbone(path: Path) -> Path:
    """A frozen backbone as it is bundled, untrained; returns `path`."""
    torch.manual_seed(0)
    save_file({f"backbone.{name}": tensor for name, tensor in EfficientNetLite().state_dict().items()}, path)
    return path

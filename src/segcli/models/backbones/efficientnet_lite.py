"""EfficientNet-Lite (Tan and Le 2019, the Lite variants of 2020): a small ImageNet backbone for the nano members.

Lite means: no squeeze-and-excite, ReLU6, and a stem and head that do not grow with the variant. Batch norms are
folded into the convolutions (`fold` does it once, from the published weights), so that a frozen backbone costs
one convolution a layer and carries one weight and one bias each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stage(NamedTuple):
    """One row of EfficientNet's table: `repeats` inverted bottlenecks, the first with `stride`."""

    kernel: int
    stride: int
    expand: int
    channels: int
    repeats: int


_STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
_VARIANTS = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}  # width, depth
_STEM = 32
_OUTPUTS = {0: "res1", 1: "res2", 2: "res3", 4: "res4", 6: "res5"}  # index of the stage -> name of its output
_BN_EPS = 1e-3
MEAN, SCALE = 127.0, 128.0


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: the odd pixel goes to the right and below.

    The published weights were trained so; PyTorch's symmetric padding would shift the strided ones by a pixel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', ceil(H / stride), ceil(W / stride)]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return self._convolve(x, kernel // 2)
        pads: list[int] = []
        for side in (x.shape[-1], x.shape[-2]):
            extra = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            pads += [extra // 2, extra - extra // 2]
        return self._convolve(F.pad(x, pads), 0)

    def _convolve(self, x: Tensor, padding: int) -> Tensor:
        slow = self.groups > 1 and (self.kernel_size[0] > 3 or self.stride[0] > 1) and x.device.type == "cpu"
        if slow and torch.is_grad_enabled() and self.weight.requires_grad:
            y: Tensor = _Depthwise.apply(x, self.weight, self.bias, self.stride[0], padding)  # type: ignore[no-untyped-call]
            return y
        return F.conv2d(x, self.weight, self.bias, self.stride[0], padding, 1, self.groups)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose gradients are computed in fp32.

    On a CPU the gradients of one in bf16 take 2 to 40 times as long as in fp32 (torch 2.13; 5x5 kernels and strides of
    2), a quarter of a training step of this backbone.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.geometry
        last = torch.channels_last
        grad = grads[0].float().contiguous(memory_format=last)
        to_x, to_weight, to_bias = torch.ops.aten.convolution_backward(
            grad,
            x.float().contiguous(memory_format=last),
            weight.float(),
            [len(weight)],
            [stride, stride],
            [padding, padding],
            [1, 1],
            False,
            [0, 0],
            len(weight),
            list(ctx.needs_input_grad[:3]),
        )
        return None if to_x is None else to_x.to(x.dtype), to_weight, to_bias, None, None


class InvertedBottleneck(nn.Module):
    """Expand 1x1, depthwise k x k, project 1x1; the residual where shapes allow."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = c_in * expand
        self.expand = SameConv(c_in, hidden, 1) if expand != 1 else None
        self.depthwise = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = SameConv(hidden, c_out, 1)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        y = F.relu6(self.expand(x)) if self.expand is not None else x
        y = self.project(F.relu6(self.depthwise(y)))
        out: Tensor = x + y if self.residual else y
        return out


class EfficientNetLite(nn.Module):
    """The feature extractor. `channels` maps res1..res5 (strides 2, 4, 8, 16, 32) to their widths."""

    def __init__(self, variant: str = "lite0") -> None:
        super().__init__()
        width, depth = _VARIANTS[variant]
        self.stem = SameConv(3, _STEM, 3, 2)
        self.stages = nn.ModuleList()
        self.channels: dict[str, int] = {}
        c_in = _STEM
        for index, stage in enumerate(_STAGES):
            c_out = _round_width(stage.channels, width)
            # the first and the last stage keep their depth in the Lite family
            fixed = index in (0, len(_STAGES) - 1)
            repeats = stage.repeats if fixed else math.ceil(stage.repeats * depth)
            blocks = []
            for block in range(repeats):
                stride = stage.stride if block == 0 else 1
                blocks.append(InvertedBottleneck(c_in, c_out, stage.kernel, stride, stage.expand))
                c_in = c_out
            self.stages.append(nn.Sequential(*blocks))
            if index in _OUTPUTS:
                self.channels[_OUTPUTS[index]] = c_out

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """RGB bytes as float [B, 3, H, W] in 0..255 -> res1..res5, each [B, C, H / stride, W / stride]."""
        x: Tensor = F.relu6(self.stem((image - MEAN) / SCALE))
        outputs: dict[str, Tensor] = {}
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _OUTPUTS:
                outputs[_OUTPUTS[index]] = x
        return outputs


def _round_width(channels: int, width: float) -> int:
    """Scale and round to a multiple of 8, never down by more than a tenth (EfficientNet's rule)."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def fold(published: Mapping[str, Tensor], variant: str = "lite0") -> dict[str, Tensor]:
    """The state dict of `EfficientNetLite` from the published one (`_conv_stem`, `_bn0`, `_blocks.N._…`).

    Each batch norm is folded into the convolution before it: with s = g / sqrt(v + eps), w' = w s and b' = beta - m s.
    """
    model = EfficientNetLite(variant)
    folded: dict[str, Tensor] = {}

    def put(target: str, conv: str, norm: str) -> None:
        scale = published[f"{norm}.weight"] * torch.rsqrt(published[f"{norm}.running_var"] + _BN_EPS)
        folded[f"{target}.weight"] = published[f"{conv}.weight"] * scale[:, None, None, None]
        folded[f"{target}.bias"] = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale

    put("stem", "_conv_stem", "_bn0")
    number = 0
    for index, stage in enumerate(model.stages):
        assert isinstance(stage, nn.Sequential)
        for block in range(len(stage)):
            target, source = f"stages.{index}.{block}", f"_blocks.{number}"
            if f"{source}._expand_conv.weight" in published:
                put(f"{target}.expand", f"{source}._expand_conv", f"{source}._bn0")
            put(f"{target}.depthwise", f"{source}._depthwise_conv", f"{source}._bn1")
            put(f"{target}.project", f"{source}._project_conv", f"{source}._bn2")
            number += 1
    return folded

"""The nano members' backbone: what folding and padding promise."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segcli.models.backbones.efficientnet_lite import MEAN, SCALE, EfficientNetLite, SameConv, fold


def published(variant: str = "lite0") -> dict[str, torch.Tensor]:
    """Random weights under the published names, with running statistics that matter."""
    draw = torch.Generator().manual_seed(3)
    model = EfficientNetLite(variant)
    tensors: dict[str, torch.Tensor] = {}

    def norm(name: str, channels: int) -> None:
        tensors[f"{name}.weight"] = torch.rand(channels, generator=draw) + 0.5
        tensors[f"{name}.bias"] = torch.randn(channels, generator=draw) * 0.1
        tensors[f"{name}.running_mean"] = torch.randn(channels, generator=draw) * 0.1
        tensors[f"{name}.running_var"] = torch.rand(channels, generator=draw) + 0.5

    def conv(name: str, of: SameConv, after: str) -> None:
        tensors[f"{name}.weight"] = torch.randn(of.weight.shape, generator=draw) * 0.1
        norm(after, of.out_channels)

    conv("_conv_stem", model.stem, "_bn0")
    number = 0
    for stage in model.stages:
        for block in stage:  # type: ignore[attr-defined]
            at = f"_blocks.{number}"
            if block.expand is not None:
                conv(f"{at}._expand_conv", block.expand, f"{at}._bn0")
            conv(f"{at}._depthwise_conv", block.depthwise, f"{at}._bn1")
            conv(f"{at}._project_conv", block.project, f"{at}._bn2")
            number += 1
    return tensors


def test_folded_weights_compute_convolution_and_batch_norm() -> None:
    tensors = published()
    model = EfficientNetLite()
    model.load_state_dict(fold(tensors))
    photo = torch.rand(1, 3, 32, 32) * 255
    stem = SameConv(3, 32, 3, 2, bias=False)
    stem.weight.data = tensors["_conv_stem.weight"]
    with torch.no_grad():
        plain = F.batch_norm(
            stem((photo - MEAN) / SCALE),
            *(tensors[f"_bn0.{name}"] for name in ("running_mean", "running_var", "weight", "bias")),
            eps=1e-3,
        )
        folded = model.stem((photo - MEAN) / SCALE)
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_every_level_has_its_stride_and_channels(variant: str) -> None:
    model = EfficientNetLite(variant)
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, 96, 64))
    for level, stride in zip(("res1", "res2", "res3", "res4", "res5"), (2, 4, 8, 16, 32), strict=True):
        assert maps[level].shape == (1, model.channels[level], 96 // stride, 64 // stride)


def test_a_strided_convolution_is_padded_right_and_below_as_in_training() -> None:
    conv = SameConv(1, 1, 3, 2, bias=False)
    conv.weight.data = torch.zeros(1, 1, 3, 3)
    conv.weight.data[0, 0, 0, 0] = 1.0  # reads the upper left of its window
    ramp = torch.arange(16.0).view(1, 1, 4, 4)
    with torch.no_grad():
        assert conv(ramp).flatten().tolist() == [0.0, 2.0, 8.0, 10.0]


@pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (5, 2), (3, 2), (3, 1)])
@pytest.mark.parametrize("bf16", [False, True])
def test_gradients_of_a_depthwise_convolution_are_those_of_torch(kernel: int, stride: int, bf16: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    conv = SameConv(8, 8, kernel, stride, groups=8)
    image = torch.randn(2, 8, 13, 12, generator=draw)
    bound = torch.randn(2, 8, -(-13 // stride), -(-12 // stride), generator=draw)

    def gradients(weight: torch.Tensor, bias: torch.Tensor, *, plain: bool) -> list[torch.Tensor]:
        x = image.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            if plain:
                extra = [(-(-v // stride) - 1) * stride + kernel - v for v in (12, 13)]
                pads = [p for e in extra for p in (max(e, 0) // 2, max(e, 0) - max(e, 0) // 2)]
                y = F.conv2d(F.pad(x, pads), weight, bias, stride, 0, 1, 8)
            else:
                y = conv(x)
        (y.float() * bound).sum().backward()  # type: ignore[no-untyped-call]
        return [y.detach(), *(t.grad for t in (x, weight, bias) if t.grad is not None)]

    assert conv.bias is not None
    ours = gradients(conv.weight, conv.bias, plain=False)
    twins = [p.detach().clone().requires_grad_(True) for p in (conv.weight, conv.bias)]
    theirs = gradients(twins[0], twins[1], plain=True)
    assert len(ours) == len(theirs) == 4
    assert torch.equal(ours[0], theirs[0])
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        close = 0.02 * float(other.float().abs().max()) if bf16 else 1e-4
        torch.testing.assert_close(mine.float(), other.float(), atol=close, rtol=0)

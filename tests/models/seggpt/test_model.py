from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from segcli.models.seggpt.block import drop_path, unwindowed, windowed
from segcli.models.seggpt.config import PRESETS, SegGPTConfig
from segcli.models.seggpt.loss import hidden_pixels, in_context_loss
from segcli.models.seggpt.model import SegGPT, half_mask
from segcli.models.seggpt.prompt import TunedPrompt, prompt_loss


def canvases(seed: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(seed))


def test_what_is_hidden_never_reaches_the_answer(model: SegGPT):
    photos, targets, other = canvases(1), canvases(2), canvases(2)
    other[:, :, 32:] = canvases(3)[:, :, 32:]
    mask, kind = half_mask(model.config.grid), torch.ones(1)
    with torch.no_grad():
        assert torch.equal(model(photos, targets, mask, kind), model(photos, other, mask, kind))


def test_the_query_halves_of_an_ensemble_stay_equal_bit_for_bit(model: SegGPT):
    photos, targets = canvases(4, 3), canvases(5, 3)
    photos[:, :, 32:] = photos[:1, :, 32:]
    seen = []
    hook = model.norm.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        model(photos, targets, half_mask(model.config.grid), torch.ones(3), ensemble=True)
    hook.remove()
    assert len(seen) == 4
    for skip in seen:
        assert torch.equal(skip[0, 8:], skip[2, 8:])
        assert not torch.equal(skip[0, :8], skip[2, :8])


def test_kinds_are_per_sample_and_an_unknown_one_adds_nothing(model: SegGPT):
    photos, targets, mask = canvases(6).repeat(3, 1, 1, 1), canvases(7).repeat(3, 1, 1, 1), half_mask((16, 8))
    with torch.no_grad():
        mixed = model(photos, targets, mask, torch.tensor([0, 1, 2]))
        for sample, kind in enumerate((torch.tensor([0]), torch.tensor([1]), None)):
            alone = model(photos[:1], targets[:1], mask, kind)
            torch.testing.assert_close(mixed[sample], alone[0], atol=1e-5, rtol=0)


def test_a_canvas_that_is_not_two_squares_of_patches_is_refused():
    for canvas in ((64, 64), (60, 30)):
        with pytest.raises(ValueError, match=f"{canvas[0]}x{canvas[1]}"):
            SegGPTConfig(canvas=canvas, patch_size=16)


def test_skips_must_be_different_blocks_of_the_model():
    for skips in ((2, 2, 3), (1, 24)):
        with pytest.raises(ValueError, match="of a model with 24 blocks"):
            SegGPTConfig(skips_after=skips)


@pytest.mark.parametrize(("height", "width", "window"), [(7, 5, 3), (6, 6, 3), (1, 4, 5)])
def test_windows_are_put_back_where_they_were(height: int, width: int, window: int):
    grid = torch.randn(2, height, width, 3)
    assert torch.equal(unwindowed(windowed(grid, window), (height, width)), grid)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 1, 1, 3), 0.25)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(dropped[..., 0], dropped[..., 2])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)


def test_drop_path_acts_only_while_training(random_model):
    model = random_model(0, SegGPTConfig((64, 32), 4, 16, 24, 2, 4.0, 16, 8, drop_path=0.5))
    inputs = canvases(8), canvases(9), half_mask((16, 8)), torch.zeros(1)
    with torch.no_grad():
        assert torch.equal(model(*inputs), model(*inputs))
        model.train()
        assert not torch.equal(model(*inputs), model(*inputs))


def test_the_loss_counts_hidden_valid_channels_alone():
    target = torch.zeros(1, 3, 4, 2)
    painted = torch.full((1, 3, 4, 2), 9.0)
    mask = torch.tensor([[0.0, 1.0]])  # two patches of 2x2, one above the other
    hidden = hidden_pixels(mask, (2, 1), 2)
    painted[:, 0, 2:] = 1.005  # smooth L1 with beta .01: 1
    valid = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    assert in_context_loss(painted, target, hidden, valid).item() == pytest.approx(1.0)
    assert in_context_loss(painted, target, hidden * 0, valid).isnan()


def test_a_prompt_learns_while_no_weight_of_the_model_moves(random_model):
    model = random_model(1)
    model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    prompt = TunedPrompt.from_noise(PRESETS["tiny"].side, generator)
    queries, labels = (torch.randn(2, 3, 32, 32, generator=generator) for _ in range(2))
    optimizer = torch.optim.Adam(prompt.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        loss, _ = prompt_loss(model, prompt, queries, labels, torch.zeros(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_blocks_that_are_computed_again_give_the_same_gradients(random_model):
    """With stochastic depth: the second pass draws what the first one drew."""
    config = replace(PRESETS["tiny"], drop_path=0.3)
    model = random_model(3, config).train()
    generator = torch.Generator().manual_seed(1)
    photos, targets = (torch.randn(2, 3, 64, 32, generator=generator) for _ in range(2))
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(5)
        model.zero_grad()
        canvas = model(photos, targets, half_mask(config.grid), torch.tensor([0, 1]), recompute=recompute)
        canvas.square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)

"""Simulated users of SEEM's recipe: what a second look at the same prompts is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.train.seem import ObjectBatch, SeemRecipe, Users, loss_of


def batch() -> ObjectBatch:
    """One drawn disc on one photo of 64 pixels."""
    ys, xs = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    disc = ((ys - 14) ** 2 + (xs - 17) ** 2 < 60).float()
    images = torch.full((1, 3, 64, 64), 90, dtype=torch.uint8)
    return ObjectBatch(images, disc[None], torch.ones(1, 32, 32, dtype=torch.bool), torch.zeros(1, dtype=torch.long))


def test_looking_again_keeps_the_clicks_and_shows_a_coarser_answer() -> None:
    recipe = SeemRecipe(box=0, scribble=0, rough=0)
    users = Users(batch(), recipe, np.random.default_rng(0))
    before = users.prompts()
    logits = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(2)) * 4
    shown = set()
    for _ in range(20):
        users.look_again(logits)
        after = users.prompts()
        assert torch.equal(after.points, before.points)
        assert after.previous.shape == (1, 1, 16, 16)
        assert float(after.previous.mean()) == pytest.approx(float(logits.sigmoid().mean()), abs=0.05)
        shown.add(round(float(after.previous.std()), 6))
    assert len(shown) == 4  # as fine as the answer itself, and averaged over two, four and eight cells
    assert max(shown) == pytest.approx(float(torch.nn.functional.avg_pool2d(logits.sigmoid(), 2).std()), abs=1e-6)


@pytest.mark.parametrize(("again", "answers"), [(0.0, 1), (1.0, 2)])
def test_a_session_of_one_answer_looks_again_when_the_recipe_says_so(
    again: float, answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = SeemNano(NanoConfig(dim=32, widths=(8, 8, 8), decoder=False))
    seen: list[float] = []
    plain = model.answer

    def counted(encoded, prompts, image_of, **options):  # type: ignore[no-untyped-def]
        seen.append(float(prompts.previous.abs().sum()))
        return plain(encoded, prompts, image_of, **options)

    monkeypatch.setattr(model, "answer", counted)
    recipe = SeemRecipe(first=1.0, again=again, box=0, scribble=0, rough=0, detail=False)
    losses = loss_of(recipe, np.random.default_rng(0), model, batch())
    assert all(bool(torch.isfinite(value)) for value in losses.values())
    assert len(seen) == answers
    assert seen[0] == 0
    assert all(total > 0 for total in seen[1:])

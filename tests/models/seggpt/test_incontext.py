"""The path that shares work gives the published forward pass's numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcli.models.seggpt import tiles
from segcli.models.seggpt.config import SegGPTConfig
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.model import SegGPT, half_mask

TOLERANCE = 2e-5  # float32 sums in another order, at outputs of about 1


def pictures(seed: int, count: int, side: int) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def published(
    model: SegGPT, photos: torch.Tensor, targets: torch.Tensor, query: torch.Tensor, kind: int | None
) -> torch.Tensor:
    """The lower half of sample 0 of N whole canvases."""
    count = len(photos)
    canvases = torch.cat([photos, query.expand(count, -1, -1, -1)], dim=2)
    colors = torch.cat([targets, targets], dim=2)
    each = None if kind is None else torch.full((count,), kind)
    with torch.no_grad():
        return model(canvases, colors, half_mask(model.config.grid), each, ensemble=True)[0, :, photos.shape[2] :]


@pytest.mark.parametrize("kind", [0, 1, None])
@pytest.mark.parametrize("examples", [1, 2, 5])
def test_shared_work_equals_whole_canvases(model: SegGPT, engine: InContext, examples: int, kind: int | None):
    photos, targets, query = pictures(1, examples, 32), pictures(2, examples, 32), pictures(3, 1, 32)[0]
    ours = engine.answer(engine.prepare(photos, targets, kind), query)
    torch.testing.assert_close(ours, published(model, photos, targets, query, kind), atol=TOLERANCE, rtol=0)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    columns=st.integers(1, 5),
    patch=st.sampled_from([2, 4]),
    heads=st.integers(1, 3),
    examples=st.integers(1, 4),
    merge=st.integers(0, 2),
    table=st.integers(1, 5),
)
def test_shared_work_equals_whole_canvases_for_any_size(
    seed: int, columns: int, patch: int, heads: int, examples: int, merge: int, table: int
):
    side = columns * patch
    config = SegGPTConfig(
        (2 * side, side), patch, 8 * heads, 4, heads, 2.0, table * patch, 4, merge, skips_after=(merge, 3)
    )
    generator = torch.Generator().manual_seed(seed)
    model = SegGPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    photos, targets, query = pictures(seed, examples, side), pictures(seed + 1, examples, side), pictures(7, 1, side)[0]
    engine = InContext(model)
    ours = engine.answer(engine.prepare(photos, targets, 0), query)
    torch.testing.assert_close(ours, published(model, photos, targets, query, 0), atol=TOLERANCE, rtol=1e-5)


def test_prepared_examples_serve_many_queries(model: SegGPT, engine: InContext):
    photos, targets = pictures(4, 3, 32), pictures(5, 3, 32)
    examples = engine.prepare(photos, targets, 1)
    for query in pictures(6, 3, 32):
        expected = published(model, photos, targets, query, 1)
        torch.testing.assert_close(engine.answer(examples, query), expected, atol=TOLERANCE, rtol=0)


def test_the_order_of_examples_matters_only_at_the_seam(engine: InContext):
    photos, targets, query = pictures(8, 3, 32), pictures(9, 3, 32), pictures(10, 1, 32)[0]
    forward = engine.answer(engine.prepare(photos, targets, 1), query)
    backward = engine.answer(engine.prepare(photos.flip(0), targets.flip(0), 1), query)
    torch.testing.assert_close(forward[:, 1:], backward[:, 1:], atol=TOLERANCE, rtol=0)
    assert (forward[:, 0] - backward[:, 0]).abs().max() > 0.01


def test_equal_examples_count_as_one(engine: InContext):
    photos, targets, query = pictures(11, 1, 32), pictures(12, 1, 32), pictures(13, 1, 32)[0]
    one = engine.answer(engine.prepare(photos, targets, 1), query)
    two = engine.answer(engine.prepare(photos.repeat(2, 1, 1, 1), targets.repeat(2, 1, 1, 1), 1), query)
    torch.testing.assert_close(one, two, atol=TOLERANCE, rtol=0)


def attention_inputs(rows: int, height: int, width: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    q = torch.randn(2, rows, 8, generator=generator)
    k, v = (torch.randn(2, height * width, 8, generator=generator) for _ in range(2))
    return q, k, v, torch.randn(2, rows, height, generator=generator), torch.randn(2, rows, width, generator=generator)


def test_tiles_equal_whole_attention(monkeypatch: pytest.MonkeyPatch):
    q, k, v, bias_rows, bias_columns = attention_inputs(23, 6, 4)
    bias = (bias_rows[..., :, None] + bias_columns[..., None, :]).flatten(2)
    whole = torch.softmax(q @ k.mT * 8**-0.5 + bias, dim=-1) @ v
    for rows in (1, 5, 23, 400):
        monkeypatch.setattr(tiles, "TILE_ROWS", rows)
        torch.testing.assert_close(tiles.attend(q, k, v, bias_rows, bias_columns), whole)
    torch.testing.assert_close(tiles.attend_fused(q, k, v, bias_rows, bias_columns), whole)


def test_a_shared_query_survives_logits_of_any_size():
    """One example far more attractive than the query itself, one far less: neither overflows."""
    q, k, v, bias_rows, bias_columns = attention_inputs(8, 4, 4)
    bias_rows[:, :4, :2] += 500  # key rows of the examples
    bias_rows[:, 4:, :2] -= 500
    prompts = [(k[:, :8], v[:, :8]), (-k[:, :8], v[:, :8] + 1)]
    shared = tiles.attend_each(q, prompts, (k[:, 8:], v[:, 8:]), bias_rows, bias_columns)
    bias = (bias_rows[..., :, None] + bias_columns[..., None, :]).flatten(2)
    each = []
    for prompt_k, prompt_v in prompts:
        logits = q @ torch.cat([prompt_k, k[:, 8:]], 1).mT * 8**-0.5 + bias
        each.append(torch.softmax(logits, dim=-1) @ torch.cat([prompt_v, v[:, 8:]], 1))
    torch.testing.assert_close(shared, (each[0] + each[1]) / 2, atol=1e-5, rtol=1e-5)

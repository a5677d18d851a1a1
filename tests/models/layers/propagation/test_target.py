from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.layers.propagation.evidence import Kept, evidence
from segcli.models.layers.propagation.looks import Look
from segcli.models.layers.propagation.target import WEIGHT, after, equations, fitted, mean_equations, target_logits

GRID = (12, 16)
LOOK = Look(0, 0, 128, 96, (96, 128))


def scene(seed: int, *, distractor: float = 0.6) -> tuple[Tensor, Tensor]:
    """Keys [8, 192] and values [192]: a block of the object on the left; most of every key says nothing of it."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.zeros(GRID)
    values[3:9, 2:7] = 1
    keys = torch.randn(8, *GRID, generator=generator) * distractor
    keys[0] += values - 0.5
    return F.normalize(keys, dim=0).flatten(1), values.flatten()


def kept(seed: int) -> Kept:
    keys, values = scene(seed)
    return Kept(LOOK, keys, values)


def test_a_filter_tells_an_object_from_its_surroundings_in_a_new_look():
    weights = fitted(equations(kept(0)), None)
    keys, values = scene(1)
    logits = target_logits(weights, keys, GRID)
    right = ((logits > 0) == (values > 0.5)).float().mean()
    _, votes = evidence(keys, LOOK, [kept(0)], [], torch.tensor(0.05))
    nearest = ((votes[0].flatten() > 0) == (values > 0.5)).float().mean()
    assert right > 0.9
    assert right > nearest


def test_the_filter_is_the_exact_answer_to_the_weighed_ridge_regression():
    keys, values = scene(0)
    weights = fitted(equations(Kept(LOOK, keys, values)), None).double().numpy()
    padded = np.pad(keys.view(8, *GRID).numpy().astype(float), ((0, 0), (1, 1), (1, 1)))
    inputs = np.array(
        [[*padded[:, y : y + 3, x : x + 3].reshape(-1), 1.0] for y in range(GRID[0]) for x in range(GRID[1])]
    )
    inside = values.numpy().astype(float)
    share = np.sqrt((inside / inside.sum() + (1 - inside) / (1 - inside).sum()) / 2)
    held = np.sqrt(0.01) * np.eye(inputs.shape[1])
    held[-1, -1] = 0
    wanted, *_ = np.linalg.lstsq(
        np.concatenate([inputs * share[:, None], held]),
        np.concatenate([(2 * inside - 1) * share, np.zeros(inputs.shape[1])]),
        rcond=None,
    )
    np.testing.assert_allclose(weights, wanted, atol=2e-4)


def test_an_object_of_a_few_cells_counts_as_much_as_all_that_is_around_it():
    keys, _ = scene(0)
    few = torch.zeros(GRID)
    few[5, 5] = few[5, 6] = 1
    keys = torch.zeros_like(keys)
    constant = fitted(equations(Kept(LOOK, keys, few.flatten())), None)[-1]
    assert abs(float(constant)) < 1e-5


def test_answers_move_the_filter_and_the_newest_ones_most():
    given, first, second = equations(kept(0)), equations(kept(1)), equations(kept(2))
    running = after(after(None, kept(1)), kept(2))
    torch.testing.assert_close(running.gram, 0.7 * first.gram + 0.3 * second.gram)
    torch.testing.assert_close(running.moment, 0.7 * first.moment + 0.3 * second.moment)
    assert not torch.equal(fitted(given, running), fitted(given, None))


def test_two_equal_views_say_what_one_says():
    once, twice = mean_equations([kept(0)]), mean_equations([kept(0), kept(0)])
    torch.testing.assert_close(fitted(twice, None), fitted(once, None))


def test_looks_that_are_all_object_or_have_none_of_it_are_fitted_too():
    for value in (0.0, 1.0):
        keys, values = scene(0)
        weights = fitted(equations(Kept(LOOK, keys, torch.full_like(values, value))), None)
        logits = target_logits(weights, keys, GRID)
        assert bool((logits > 0).all()) == (value == 1.0)
        assert logits.abs().max() <= 2 * WEIGHT


def test_a_target_model_joins_both_votes():
    keys, _ = scene(0)
    target = torch.linspace(-1, 1, keys.shape[1])
    tau = torch.tensor(0.2)
    plain = evidence(keys, LOOK, [kept(0)], [kept(1)], tau)
    joined = evidence(keys, LOOK, [kept(0)], [kept(1)], tau, target=target)
    for vote in range(2):
        torch.testing.assert_close(joined[1][vote] - plain[1][vote], target.view(GRID), atol=1e-5, rtol=1e-4)
        assert not torch.equal(joined[0][3 * vote], plain[0][3 * vote])
        torch.testing.assert_close(joined[0][3 * vote + 1 : 3 * vote + 3], plain[0][3 * vote + 1 : 3 * vote + 3])

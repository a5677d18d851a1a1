"""The training loop: schedule, averaging, stopping and going on."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segcli.core.errors import UsageError
from segcli.train.loop import LoopConfig, averaged, learning_rate, train
from segcli.train.state import load_state

CONFIG = LoopConfig(steps=30, lr=0.05, warmup=3, save_every=5, log_every=5, validate_every=10, autocast=False)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(16, 3, generator=draw)
        yield x, x @ torch.tensor([[1.0], [-2.0], [0.5]])


def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return {"square": (network(batch[0]) - batch[1]).square().mean()}


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_rate_warms_up_and_falls_to_its_last_value() -> None:
    rates = [learning_rate(s, CONFIG) for s in range(31)]
    assert rates[:3] == pytest.approx([0.05 / 3, 0.1 / 3, 0.05])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[30] == pytest.approx(0.05 * CONFIG.final_lr)


def test_training_lowers_the_loss_and_logs_it(tmp_path: Path) -> None:
    network = model()
    assert train(network, batches, loss, replace(CONFIG, steps=200), tmp_path) == 200
    losses = [row["square"] for row in lines(tmp_path) if "square" in row]
    assert losses[-1] < 0.05 * losses[0]


def broken_from(number: int):
    """The loss above, but that batches from `number` on give NaN."""
    seen = iter(range(10_000))

    def loss_of(network: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        square = loss(network, batch)["square"]
        return {"square": square * math.nan if next(seen) >= number else square}

    return loss_of


def test_a_loss_that_stays_nan_ends_the_run_in_a_line_and_keeps_the_state_of_before(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"step 32: no finite gradient in 20 steps; the state saved before is kept"):
        train(model(), batches, broken_from(12), replace(CONFIG, steps=1000), tmp_path)
    state = load_state(tmp_path / "state.pt")
    assert all(torch.isfinite(value).all() for value in state["average"].values())
    assert all("NaN" not in text for text in (tmp_path / "log.jsonl").read_text().splitlines())
    assert lines(tmp_path)[-1]["square"] is None
    assert train(model(), batches, loss, replace(CONFIG, steps=40), tmp_path) == 40  # and it can go on


@pytest.mark.parametrize(
    "other", [nn.Linear(4, 1), nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 1)), nn.Bilinear(1, 1, 1)]
)
def test_a_state_of_another_network_is_refused_in_a_line(tmp_path: Path, other: nn.Module) -> None:
    train(model(), batches, loss, replace(CONFIG, steps=2), tmp_path)
    with pytest.raises(UsageError, match=r"state.pt: belongs to a plan with other sizes or legs .*change --out"):
        train(other, batches, loss, CONFIG, tmp_path)
    assert load_state(tmp_path / "state.pt")["step"] == 2


def test_one_broken_batch_does_no_harm(tmp_path: Path) -> None:
    bad = iter([False] * 7 + [True] + [False] * 1000)
    train(model(), batches, lambda m, b: {"s": loss(m, b)["square"] * (math.nan if next(bad) else 1)}, CONFIG, tmp_path)
    assert load_state(tmp_path / "state.pt")["step"] == 30


def test_weights_that_are_no_numbers_never_replace_a_state(tmp_path: Path) -> None:
    train(model(), batches, loss, replace(CONFIG, steps=5), tmp_path)
    wild = model()
    count = iter(range(100))

    def loss_of(network: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        if next(count) == 2:
            with torch.no_grad():
                network.weight.fill_(math.inf)
        return loss(network, batch)

    with pytest.raises(UsageError, match=r"weight is not finite; the state saved before is kept"):
        train(wild, batches, loss_of, replace(CONFIG, steps=9), tmp_path)
    assert load_state(tmp_path / "state.pt")["step"] == 5


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    states = []
    for name in "ab":
        train(model(), batches, loss, CONFIG, tmp_path / name)
        states.append(averaged(model(), tmp_path / name / "state.pt"))
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_stopped_run_goes_on_at_its_step_with_its_weights(tmp_path: Path) -> None:
    assert train(model(), batches, loss, replace(CONFIG, steps=10), tmp_path) == 10
    saved = load_state(tmp_path / "state.pt")
    resumed = model()
    nn.init.constant_(resumed.weight, 99.0)
    assert train(resumed, batches, loss, replace(CONFIG, steps=10), tmp_path) == 10  # nothing left to do
    assert torch.equal(resumed.weight.detach(), saved["model"]["weight"])
    assert train(resumed, batches, loss, CONFIG, tmp_path) == 30
    assert load_state(tmp_path / "state.pt")["step"] == 30


def test_a_leg_ends_when_its_minutes_are_over(tmp_path: Path) -> None:
    assert train(model(), batches, loss, replace(CONFIG, steps=10**9, minutes=0.002), tmp_path) < 10**9
    assert (tmp_path / "state.pt").exists()


def test_a_validation_sees_the_averaged_weights_and_training_keeps_its_own(tmp_path: Path) -> None:
    network = model()
    seen: list[Tensor] = []

    def validate(scored: nn.Module, step: int) -> dict[str, float]:
        seen.append(scored.weight.detach().clone())
        return {"step": float(step)}

    train(network, batches, loss, CONFIG, tmp_path, validate=validate)
    assert [row["step"] for row in lines(tmp_path) if "validation" in row] == [10, 20, 30]
    average = averaged(model(), tmp_path / "state.pt")["weight"]
    torch.testing.assert_close(seen[-1], average)
    assert not torch.equal(network.weight.detach(), average)


def test_frozen_parameters_are_neither_trained_nor_saved(tmp_path: Path) -> None:
    network = nn.Sequential(model(), nn.Linear(1, 1))
    network[1].requires_grad_(False)
    before = network[1].weight.clone()
    train(network, batches, loss, CONFIG, tmp_path)
    assert torch.equal(network[1].weight, before)
    assert set(load_state(tmp_path / "state.pt")["model"]) == {"0.weight", "0.bias"}


def test_a_step_whose_gradient_is_not_finite_is_left_out(tmp_path: Path) -> None:
    network = model()
    train(network, batches, broken_from(0), replace(CONFIG, steps=9), tmp_path)
    assert torch.equal(network.weight, model().weight)


TOGETHER = """
import os, sys
from dataclasses import replace
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from test_loop import CONFIG, batches, loss, model
from segcli.train.loop import train

rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))

def share(seed):
    for x, y in batches(11):  # every process draws the same and takes its part
        yield x[rank::processes], y[rank::processes]

spread = len(sys.argv) > 3

def network():
    if not spread:
        return model()
    whole = torch.nn.Sequential(model(), torch.nn.Tanh(), torch.nn.Linear(1, 1))
    torch.nn.init.constant_(whole[2].weight, 0.7)
    torch.nn.init.zeros_(whole[2].bias)
    return whole

shards = (lambda whole: [whole[0]]) if spread else None
for steps in (CONFIG.steps // 2, CONFIG.steps):
    train(network(), share, loss, replace(CONFIG, steps=steps), Path(sys.argv[1]), shards=shards)
"""


@pytest.mark.parametrize("more", [[], ["spread"]], ids=["copies", "spread"])
def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path: Path, more: list[str]) -> None:
    """Also with the parameters of a module spread over both (FSDP2), and taken up again half-way."""
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    here = str(Path(__file__).parent)
    command = [sys.executable, str(script), str(tmp_path / "one"), here, *more]
    subprocess.run(command, check=True, timeout=200, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    pair = []
    for rank in "01":
        place = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        pair.append(subprocess.Popen([*command[:2], str(tmp_path / "two"), here, *more], env={**os.environ, **place}))
    assert [process.wait(timeout=200) for process in pair] == [0, 0]
    one, two = (load_state(tmp_path / n / "state.pt") for n in ("one", "two"))
    assert one["model"].keys() == two["model"].keys()
    for part in ("model", "average"):
        for name in one[part]:
            torch.testing.assert_close(one[part][name], two[part][name], atol=1e-5, rtol=1e-5)
    curves = [[json.loads(t) for t in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("one", "two")]
    assert [line["step"] for line in curves[0]] == [line["step"] for line in curves[1]]

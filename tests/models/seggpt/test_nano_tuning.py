"""A tuned prompt of seggpt-nano."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from tests.models.seggpt.nano_scenes import BALL, BOX, only, scene

from segcli.core.ask import Ask
from segcli.core.errors import UsageError
from segcli.core.example import Example, Task
from segcli.models.seggpt.nano_predictor import NanoInContext
from segcli.registry.load import open_model

ONE = Task("semantic", {1: None})
TWO = Task("semantic", {BALL: "ball", BOX: "box"})


@pytest.fixture(scope="module")
def nano() -> NanoInContext:
    model = open_model("seggpt-nano", device="cpu", dtype="fp32", say=lambda line: None)
    assert isinstance(model, NanoInContext)
    return model


def weights(model: NanoInContext) -> str:
    whole = hashlib.sha256()
    for tensor in model.network.state_dict().values():
        whole.update(tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()


def test_a_prompt_begins_as_its_examples(nano: NanoInContext) -> None:
    query = scene(2)
    nano.learn([scene(1)])
    (encoded,) = nano.encode([query.photo])
    (shown,) = nano.decode(encoded, [Ask()])
    fork = nano.fork()
    fork.tune(nano.tunable([scene(1)], TWO), TWO)
    (tuned,) = fork.decode(encoded, [Ask()])
    assert tuned.ids == shown.ids
    for index in range(len(shown)):
        one, other = shown.dense(index), tuned.dense(index)
        assert (one & other).sum() / (one | other).sum() > 0.95


def test_tuning_lowers_its_loss_and_leaves_the_weights_alone(nano: NanoInContext) -> None:
    before = weights(nano)
    tensors = nano.tunable([only(scene(1), BALL)], ONE)
    parameters = {name: torch.nn.Parameter(value) for name, value in tensors.items()}
    optimiser = torch.optim.Adam(parameters.values(), lr=1e-2)
    queries = [only(scene(2), BALL)]
    losses = []
    for _ in range(4):
        loss = nano.tuning_loss(parameters, queries, ONE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert weights(nano) == before


def test_ignored_pixels_do_not_count(nano: NanoInContext) -> None:
    tensors = nano.tunable([only(scene(1), BALL)], ONE)
    query = only(scene(2), BALL)
    ignore = np.zeros(query.ids.shape, np.bool_)
    ignore[:120] = True
    wrong = query.ids.copy()
    wrong[:120] = 1 - wrong[:120]
    losses = [
        float(nano.tuning_loss(tensors, [Example(query.photo, ids, ignore=ignore)], ONE)) for ids in (query.ids, wrong)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("examples", "task", "words"),
    [
        ([], ONE, "begin from one"),
        ([only(scene(1), BALL)], TWO, "no example shows id 2"),
        ([scene(1)], Task("panoptic", {1: "ball"}), "not for whole photos"),
        ([Example(scene(1).photo, np.zeros((240, 320), np.uint8))], ONE, "all black"),
    ],
)
def test_it_says_from_what_it_cannot_be_tuned(
    nano: NanoInContext, examples: list[Example], task: Task, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        nano.tunable(examples, task)


def test_a_prompt_of_another_task_or_size_is_refused(nano: NanoInContext) -> None:
    tensors = nano.tunable([only(scene(1), BALL)], ONE)
    with pytest.raises(UsageError, match="first odd one"):
        nano.fork().tune(tensors, TWO)
    with pytest.raises(UsageError, match="another size"):
        nano.fork().tune({**tensors, "1.keys.0": torch.zeros(3, 5)}, ONE)

"""SegGPT behind `Learning` and `Tunable`: forks, descriptions, tuned prompts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from segcli.core.ask import Ask
from segcli.core.errors import UsageError
from segcli.core.example import Example, Task
from segcli.core.image import Image
from segcli.models.api import Learning, Tunable
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.model import SegGPT
from segcli.models.seggpt.palette import colors_of
from segcli.models.seggpt.predictor import SegGPTPredictor

from .test_predictor import marked, photo

ONE = Task("instance", {1: None})
WHOLE = Task("panoptic", {1: "sky", 2: "cat"}, frozenset({2}))


def weights_hash(model: SegGPT) -> str:
    whole = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        whole.update(name.encode() + value.numpy().tobytes())
    return whole.hexdigest()


@pytest.fixture
def predictor(engine: InContext) -> SegGPTPredictor:
    engine.model.requires_grad_(False)
    return SegGPTPredictor(engine, "seggpt.tiny", "0")


def whole_example(seed: int) -> Example:
    shown = marked(seed, (1, 2))
    return Example(shown.photo, shown.ids, None, np.where(shown.ids == 2, 9, 0))


def test_it_offers_what_learning_and_tuning_ask_of_a_model(predictor: SegGPTPredictor):
    assert isinstance(predictor, Learning)
    assert isinstance(predictor, Tunable)


def test_forks_learn_apart_and_share_the_weights(predictor: SegGPTPredictor):
    encoded = predictor.encode([photo(3)])[0]
    predictor.learn([marked(1)])
    before = predictor.paint(encoded)
    fork = predictor.fork()
    assert fork.engine is predictor.engine
    assert (fork.held, predictor.held > 0) == (0, True)
    fork.learn([marked(2, (4,))])
    np.testing.assert_array_equal(predictor.paint(encoded), before)
    assert set(fork.probabilities(encoded)) == {4}
    assert set(predictor.probabilities(encoded)) == {1}


def test_masks_are_where_the_probability_is_above_the_threshold(predictor: SegGPTPredictor):
    predictor.learn([marked(1, (2, 5))])
    (encoded,) = predictor.encode([photo(3, (32, 32))])
    planes = predictor.probabilities(encoded)
    (answer,) = predictor.decode(encoded, [Ask()])
    assert len(answer)
    for index, number in enumerate(answer.ids):
        np.testing.assert_array_equal(answer.dense(index), planes[number] > predictor.threshold)


def test_a_photo_is_described_by_itself_alone_and_is_likest_to_itself(predictor: SegGPTPredictor):
    photos = [photo(n) for n in range(4)] + [Image(np.full((9, 9, 3), 90, np.uint8), (9, 9))]
    vectors = predictor.describe(photos)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(predictor.describe(photos[2:3])[0], vectors[2])
    assert ((vectors @ vectors.T).argmax(1) == np.arange(5)).all()


def test_a_prompt_that_was_not_tuned_yet_answers_as_its_example(predictor: SegGPTPredictor):
    (encoded,) = predictor.encode([photo(3)])
    predictor.learn([marked(1)])
    expected = predictor.paint(encoded)
    tensors = predictor.tunable([marked(1)], ONE)
    predictor.learn([marked(2)])
    predictor.tune(tensors, ONE)
    np.testing.assert_array_equal(predictor.paint(encoded), expected)


def test_tuning_lowers_the_loss_and_never_changes_a_weight(predictor: SegGPTPredictor):
    model = predictor.engine.model
    before = weights_hash(model)
    tensors = {name: value.requires_grad_() for name, value in predictor.tunable([marked(1)], ONE).items()}
    optimiser = torch.optim.Adam(tensors.values(), lr=0.05)
    losses = []
    for _ in range(12):
        loss = predictor.tuning_loss(tensors, [marked(2), marked(3)], ONE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 1e-3
    predictor.tune({name: value.detach() for name, value in tensors.items()}, ONE)
    predictor.decode(predictor.encode([photo(3)])[0], [Ask()])
    assert weights_hash(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_pixels_of_which_nothing_is_known_carry_no_loss(predictor: SegGPTPredictor):
    tensors = predictor.tunable([], ONE)
    shown = marked(2)
    unknown = np.zeros(shown.ids.shape, np.bool_)
    unknown[20:] = True
    other = np.where(unknown, 1 - shown.ids, shown.ids)
    ignoring = [Example(shown.photo, ids, unknown) for ids in (shown.ids, other)]
    first, second = (float(predictor.tuning_loss(tensors, [query], ONE)) for query in ignoring)
    assert first == second
    assert first != float(predictor.tuning_loss(tensors, [shown], ONE))


def test_a_panoptic_prompt_paints_classes_and_places_and_names_its_segments(predictor: SegGPTPredictor, monkeypatch):
    tensors = predictor.tunable([whole_example(1)], WHOLE)
    assert set(tensors) == {"photo", "target", "places.photo", "places.target"}
    assert float(predictor.tuning_loss(tensors, [whole_example(2)], WHOLE)) > 0
    predictor.tune(tensors, WHOLE)
    sky = np.broadcast_to(colors_of((1, 2))[1].astype(float), (32, 32, 3))
    painted = iter([sky, np.zeros((32, 32, 3))])  # classes, then places: no thing anywhere
    monkeypatch.setattr(predictor, "_paint", lambda examples, _: next(painted))
    (answer,) = predictor.decode(predictor.encode([photo(3)])[0], [Ask()])
    assert answer.labels == ("sky",)
    assert answer.things == (False,)
    with pytest.raises(UsageError, match="does not say which thing a pixel is of"):
        predictor.tuning_loss(tensors, [marked(2, (1, 2))], WHOLE)


def test_prompts_of_another_task_or_size_are_refused(predictor: SegGPTPredictor):
    tensors = predictor.tunable([], ONE)
    with pytest.raises(UsageError, match=r"a panoptic prompt of SegGPT has photo, places\.photo"):
        predictor.tune(tensors, WHOLE)
    with pytest.raises(UsageError, match=r"photo is \(1, 3, 8, 8\), the model reads 1x3x32x32"):
        predictor.tune(tensors | {"photo": torch.zeros(1, 3, 8, 8)}, ONE)
    with pytest.raises(UsageError, match="2 examples to begin from"):
        predictor.tunable([marked(1), marked(2)], ONE)

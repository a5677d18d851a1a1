"""Models that learn by example, dressed as models that are asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.cli.plugin.shades import Shades

from segcli.core.ask import Ask
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.io.pairs import Examples, Pair
from segcli.models.api import Learning, Promptable
from segcli.pipeline.incontext import ByClass, ByExample, Manner, Taught, learner, tunable

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


class Counting(Shades):
    """Counts what all forks learn."""

    learned: list[int]

    def __init__(self, *named: str) -> None:
        super().__init__(*named)
        self.learned = []

    def fork(self) -> Counting:
        fork = Counting(self.name, self.revision)
        fork.learned = self.learned
        return fork

    def learn(self, examples, ensemble="feature", kind="instance") -> None:
        super().learn(examples, ensemble, kind)
        self.learned.append(len(examples))


@pytest.fixture
def model() -> Counting:
    return Counting("shades", "0")


def examples(folder: Path, name: str, *, one_target: bool = False) -> Examples:
    """Two pairs: grey photos with a square of the colour, marked."""
    pairs = []
    for number in range(2):
        pixels = np.full((30, 40, 3), 128, np.uint8)
        ids = np.zeros((30, 40), np.uint8)
        pixels[5:20, 5 + number : 20], ids[5:20, 5 + number : 20] = COLOURS[name], 255
        for sub, picture in (("p", pixels), ("m", ids)):
            PIL.Image.fromarray(picture).save(folder / f"{name}{number}{sub}.png")
        pairs.append(Pair(folder / f"{name}{number}p.png", folder / f"{name}{number}m.png"))
    return Examples(pairs, one_target=one_target)


def query(*names: str, size: tuple[int, int] = (60, 90)) -> Image:
    pixels = np.full((*size, 3), 128, np.uint8)
    for place, name in enumerate(names):
        pixels[10:25, 30 * place : 30 * place + 15] = COLOURS[name]
    return Image(pixels, size, "query.png")


def test_dressed_models_are_what_the_pipeline_runs(tmp_path: Path, model: Counting):
    assert isinstance(model, Learning)
    shown = examples(tmp_path, "red")
    for dressed in (ByExample(model, shown), ByExample(model, shown, nearest=1), ByClass(model, {"red": shown})):
        assert isinstance(dressed, Promptable)
        (encoded,) = dressed.encode([query("red")])
        first, second = dressed.decode(encoded, [Ask(), Ask(id="b")])
        np.testing.assert_array_equal(first.dense(0), second.dense(0))
        assert encoded.nbytes > 0


def test_examples_for_all_photos_are_learned_once(tmp_path: Path, model: Counting):
    dressed = ByExample(model, examples(tmp_path, "red"))
    for _ in range(3):
        dressed.decode(dressed.encode([query("red")])[0], [Ask()])
    assert model.learned == [2]


@pytest.mark.parametrize("memory", [0, 100, 450, 10_000])
def test_any_budget_gives_the_same_classes_and_a_large_one_learns_them_once(
    tmp_path: Path, model: Counting, memory: int
):
    classes = {name: examples(tmp_path, name, one_target=True) for name in COLOURS}
    dressed = ByClass(model, classes, Manner(memory=memory))
    for _ in range(3):
        (answer,) = dressed.decode(dressed.encode([query("blue", "red")])[0], [Ask()])
        assert dict(zip(answer.labels, answer.ids, strict=True)) == {"red": 1, "blue": 3}
        assert answer.dense(0).sum() == answer.dense(1).sum() == 15 * 15
    # a class holds 200 bytes here: none, none, two or all of the three stay after they were learned once
    assert len(model.learned) == {0: 12, 100: 12, 450: 6, 10_000: 3}[memory]


def test_the_latest_choices_of_a_bank_stay_learned(tmp_path: Path, model: Counting):
    shown = examples(tmp_path, "red")
    taught = Taught(model, Manner(memory=250))
    for chosen in ((0,), (1,), (0,), (0, 1), (0, 1), (1,)):
        taught.by(shown, chosen)
    # 100 bytes each: the pair of both drives the others out
    assert model.learned == [1, 1, 2, 1]


def test_a_threshold_reaches_every_fork(tmp_path: Path, model: Counting):
    low, high = (ByExample(model, examples(tmp_path, "red"), Manner(threshold=threshold)) for threshold in (0.05, 0.95))
    photo = Image(np.full((9, 9, 3), (190, 60, 60), np.uint8), (9, 9))
    found = [dressed.decode(dressed.encode([photo])[0], [Ask()])[0] for dressed in (low, high)]
    assert [len(answer) for answer in found] == [1, 0]
    assert model.threshold == 0.5


def test_windows_find_what_the_whole_photo_shows(tmp_path: Path, model: Counting):
    shown = examples(tmp_path, "red")
    photo = query("red", "green", "red", size=(150, 170))
    answers = []
    for tiles in (None, 64, 200):
        dressed = ByExample(model, shown, Manner(tiles=tiles))
        (encoded,) = dressed.encode([photo])
        answers.append(dressed.decode(encoded, [Ask()])[0].dense(0))
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_a_photo_of_a_class_that_cant_be_decoded_is_named_before_any_photo_is_asked(tmp_path: Path, model: Counting):
    shown = examples(tmp_path, "red", one_target=True)
    whole = shown.pairs[0].photo.read_bytes()
    shown.pairs[0].photo.write_bytes(whole[: len(whole) // 2])  # its header still says its size
    again = Examples(shown.pairs, one_target=True)
    for dress in (lambda: ByClass(model, {"red": again}), lambda: ByExample(model, again)):
        with pytest.raises(UsageError, match=r"red0p\.png:.*red0m\.png: .*truncated"):
            dress()


def test_models_that_do_not_learn_or_have_no_prompt_are_refused_by_name(model: Counting):
    class Deaf:
        name = "deaf"

    with pytest.raises(UsageError, match="deaf: does not learn from examples"):
        learner(Deaf())
    with pytest.raises(UsageError, match="deaf: has no prompt that can be tuned"):
        tunable(Deaf())
    assert learner(model) is model

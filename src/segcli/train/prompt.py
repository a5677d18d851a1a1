"""In-context tuning: a prompt is learned, the model stays as it is (SegGPT, section 3.4 and its Tables 5 and 6).

What an example is to the model becomes a parameter (`segcli.models.api.Tunable`); photos with masks say what the model
should have answered. Nothing else is trained, so a prompt of a megabyte or two serves a model of any size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from torch import Tensor, nn

from segcli.core.ask import Ask
from segcli.core.errors import UsageError
from segcli.core.example import Example, Task
from segcli.models.api import Learning, Promptable, Tunable
from segcli.registry.tuned import PromptCard, write_prompt
from segcli.train.loop import LoopConfig, Losses, train
from segcli.train.prompt_data import Lessons, richest
from segcli.train.state import load_state

Say = Callable[[str], None]


class TunableModel(Promptable, Learning, Tunable, Protocol):
    """A model that answers from examples, and from tuned tensors in their place."""


def tunable(model: Promptable) -> TunableModel:
    """The model as one whose prompts can be tuned. Raises UsageError when they can't."""
    if not isinstance(model, Learning) or not isinstance(model, Tunable):
        raise UsageError(f"{model.name}: has no prompt that can be tuned; choose another with -m")
    return cast(TunableModel, model)


@dataclass(frozen=True)
class TuningPlan:
    """How a prompt is tuned. photos_a_step: queries behind one step. examples: how many it begins from."""

    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=300, lr=1e-2, warmup=10, weight_decay=0.0, clip=1.0, average=0.95, save_every=50
        )
    )
    photos_a_step: int = 2
    examples: int = 1


class TunedTensors(nn.Module):
    """The tensors of a prompt as parameters."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = tuple(tensors)
        self.values = nn.ParameterList(nn.Parameter(tensor.detach().clone()) for tensor in tensors.values())

    def tensors(self) -> dict[str, Tensor]:
        """The parameters by their names."""
        return dict(zip(self.names, self.values, strict=True))


def tune(model: TunableModel, lessons: Lessons, plan: TuningPlan, out: Path, *, device: str, say: Say = print) -> Path:
    """Tune a prompt and write it to `out`; returns `out`. The model's weights are never touched.

    State and log lie in `out` with the suffix .tuning; the same call goes on there after a stop. The card in the file
    holds the mean IoU on the photos kept back, of the examples it began from and of the tuned prompt.
    Raises UsageError when that folder is another run's, or for examples that the model can't begin from.
    """
    folder = out.with_suffix(".tuning")
    data = lessons.fingerprint()
    _claim(folder, {"model": model.name, "revision": model.revision, "data": data, "plan": asdict(plan)})
    photos = richest(lessons, plan.examples)
    starts = [lessons.read(photo) for photo in photos]
    begun = model.tunable(starts, lessons.task)
    say(f"{len(lessons.learned)} photos to learn from, {len(lessons.kept)} kept back; {_words(lessons.task)}")
    prompt = TunedTensors(begun)

    def loss_of(prompt: nn.Module, batch: Sequence[Example]) -> Losses:
        assert isinstance(prompt, TunedTensors)
        return {"loss": model.tuning_loss(prompt.tensors(), batch, lessons.task)}

    step = train(prompt, lambda seed: _batches(lessons, plan, seed), loss_of, plan.loop, folder, device=device)
    saved = load_state(folder / "state.pt")["average"]
    tuned = {name: saved[f"values.{index}"] for index, name in enumerate(prompt.names)}
    figures = _figures(model, lessons, {"start": begun, "tuned": tuned})
    for name, value in figures.items():
        say(f"{name}: {value:.4f}")
    write_prompt(
        out,
        tuned,
        PromptCard(
            model=model.name,
            revision=model.revision,
            task=lessons.task,
            steps=step,
            seed=plan.loop.seed,
            data=data,
            start=tuple(photo.name for photo in photos),
            figures=figures,
        ),
    )
    return out


def mean_iou(model: Promptable, queries: Sequence[Example], task: Task) -> float:
    """Mean over photos and the ids that each shows: IoU of what is answered for the id, ignored pixels left out."""
    values = []
    for query in queries:
        (encoded,) = model.encode([query.photo])
        (answer,) = model.decode(encoded, [Ask()])
        counted = np.ones(query.ids.shape, np.bool_) if query.ignore is None else ~query.ignore
        for number in np.unique(query.ids[query.ids > 0]).tolist():
            painted = np.zeros(query.ids.shape, np.bool_)
            for index in range(len(answer)):
                same = (
                    answer.labels[index] == task.names[number]
                    if task.kind == "panoptic"
                    else answer.ids[index] == number
                )
                if same:
                    painted |= answer.dense(index)
            truth = (query.ids == number) & counted
            painted &= counted
            values.append(float((truth & painted).sum() / max(1, (truth | painted).sum())))
    return float(np.mean(values)) if values else 0.0


def _figures(model: TunableModel, lessons: Lessons, prompts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
    """Mean IoU of each prompt on the photos kept back; nothing without such photos."""
    kept = [lessons.read(photo) for photo in lessons.kept]
    figures = {}
    for name, tensors in prompts.items():
        fork = model.fork()
        fork.tune(tensors, lessons.task)
        if kept:
            figures[f"iou_{name}"] = round(mean_iou(fork, kept, lessons.task), 4)
    return figures


def _batches(lessons: Lessons, plan: TuningPlan, seed: int) -> Iterator[list[Example]]:
    """Endless batches; the n-th depends on `seed` + n alone, so that a run that was stopped misses nothing."""
    small = plan.loop.accumulate
    number = 0
    while True:
        rng = np.random.default_rng((seed + number // small, number % small))
        chosen = rng.integers(len(lessons.learned), size=plan.photos_a_step)
        yield [_flipped(lessons.read(lessons.learned[int(index)]), rng) for index in chosen]
        number += 1


def _flipped(example: Example, rng: np.random.Generator) -> Example:
    """The example, or its mirror image."""
    if rng.random() < 0.5:
        return example
    return Example(
        replace(example.photo, pixels=np.ascontiguousarray(example.photo.pixels[:, ::-1])),
        example.ids[:, ::-1],
        None if example.ignore is None else example.ignore[:, ::-1],
        None if example.instances is None else example.instances[:, ::-1],
    )


def _claim(folder: Path, what: Mapping[str, object]) -> None:
    """Note in `folder` what is tuned there. Raises UsageError when that is something else already."""
    text = json.dumps(what, sort_keys=True, default=str)
    note = folder / "tuning.json"
    if note.exists() and note.read_text() != text:
        raise UsageError(
            f"{folder}: was begun with another model, other photos or options; take it away, or change --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(text)


def _words(task: Task) -> str:
    named = [name for number in task.ids if (name := task.names[number]) is not None]
    return f"{task.kind}, {len(task.ids)} id(s){': ' + ', '.join(named[:8]) if named else ''}"

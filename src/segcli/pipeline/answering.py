"""Where photos are answered: `Here`, by a model in this process, or somewhere else that does the same (see `crew`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from segcli.core.errors import DeviceError, SegError
from segcli.models.api import Promptable
from segcli.pipeline.work import Answer, Question, answer

Key = TypeVar("Key", bound=Hashable)
"""What the one who gives a question knows it by."""


class Answering(Protocol[Key]):
    """Takes questions in batches and gives answers, or what went wrong, in any order; each exactly once.

    What concerns all photos is raised by `start` and `take`: a checkpoint or a device that can't be used.
    """

    @property
    def batch(self) -> int:
        """How many questions a batch should have at most."""
        ...

    @property
    def places(self) -> int:
        """How many batches are worked on at the same time."""
        ...

    @property
    def reads(self) -> int | None:
        """The longest side in pixels that the model looks at, or None for all; after `start`."""
        ...

    @property
    def free(self) -> bool:
        """True when another batch may be given."""
        ...

    @property
    def busy(self) -> bool:
        """True while answers are to come."""
        ...

    def start(self) -> None:
        """Open the model, unless it is open; called when the first photo turns out to need it."""
        ...

    def give(self, questions: Sequence[tuple[Key, Question]]) -> None:
        """Take a batch."""
        ...

    def take(self, *, wait: bool) -> Iterator[tuple[Key, Answer | Exception]]:
        """Answers that are there. With `wait`, time may pass until there is one, but not long: there may be none."""
        ...

    def close(self) -> None:
        """Nothing more is wanted; what is under way is dropped."""
        ...


class Model:
    """A model that is asked a batch at a time: in halves when memory runs out, one by one when a photo breaks it.

    batch:  how many photos may be encoded at once; sinks when memory runs out, which is said to `notice`.
    """

    def __init__(self, model: Promptable | Callable[[], Promptable], batch: int, notice: Callable[[str], None]) -> None:
        self.batch, self._notice = batch, notice
        self._model = model
        self._opened: Promptable | None = None

    @property
    def opened(self) -> Promptable:
        """The model, opened when this is first asked for. Raises what opening it raises."""
        if self._opened is None:
            self._opened = self._model if isinstance(self._model, Promptable) else self._model()
        return self._opened

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer | Exception]:
        """An answer to each question, in order, or the error that is this photo's own. Each as soon as it is there."""
        if not questions:
            return
        model = self.opened
        start = time.perf_counter()
        try:
            encoded = model.encode([question.image for question in questions])
        except Exception as error:  # a bug at one photo must not cost a night's batch; exit code 1
            yield from self._split(questions, error)
            return
        share = (time.perf_counter() - start) / len(questions)
        for question, one in zip(questions, encoded, strict=True):
            start = time.perf_counter()
            try:
                asks, predictions = answer(model, one, question.rounds)
            except Exception as error:
                yield named(question.name, error)
            else:
                yield Answer(asks, predictions, share + time.perf_counter() - start)

    def _split(self, questions: Sequence[Question], error: Exception) -> Iterator[Answer | Exception]:
        """A batch failed: try smaller ones; at one photo it is that photo's failure."""
        if len(questions) == 1:
            yield named(questions[0].name, error)
            return
        size = 1
        if isinstance(error, DeviceError | MemoryError):
            size = len(questions) // 2
            if size < self.batch:
                self.batch = size
                self._notice(f"out of memory with {len(questions)} photos at a time: going on with {size}")
        for first in range(0, len(questions), size):
            yield from self.answers(questions[first : first + size])


class Here(Generic[Key]):
    """`Answering` by a model in this process, while `take` is called."""

    places = 1

    def __init__(self, model: Promptable | Callable[[], Promptable], batch: int, notice: Callable[[str], None]) -> None:
        self._model = Model(model, batch, notice)
        self._given: Sequence[tuple[Key, Question]] = ()

    @property
    def batch(self) -> int:
        """As many as the model has memory for."""
        return self._model.batch

    @property
    def reads(self) -> int | None:
        """As the model."""
        return self._model.opened.reads

    @property
    def free(self) -> bool:
        """Until a batch is given, and after it was taken."""
        return not self._given

    @property
    def busy(self) -> bool:
        """While a batch is there that was not taken."""
        return bool(self._given)

    def start(self) -> None:
        """Open the model. Raises what opening it raises."""
        _ = self._model.opened

    def give(self, questions: Sequence[tuple[Key, Question]]) -> None:
        """Keep a batch for `take`."""
        self._given = questions

    def take(self, *, wait: bool) -> Iterator[tuple[Key, Answer | Exception]]:
        """Answer what was given, whether or not there is time to `wait`."""
        given, self._given = self._given, ()
        answers = self._model.answers([question for _, question in given])
        for (key, _), one in zip(given, answers, strict=True):
            yield key, one

    def close(self) -> None:
        """Nothing is under way outside of `take`."""


def named(name: str, error: Exception) -> Exception:
    """A model's error with the photo's name before it."""
    if isinstance(error, MemoryError):
        error = DeviceError("out of memory: give a smaller photo, or fewer asks at a time")
    if isinstance(error, SegError) and name not in str(error):
        return type(error)(f"{name}: {error}")
    return error

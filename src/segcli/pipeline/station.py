"""The workers' side of a crew: a model that is opened once and asked many times, wherever an engine has put it.

What goes back and forth is pickled here, as plain bytes: an engine carries them and need not understand them, and
arrays are the receiver's own.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from segcli import __version__
from segcli.models.api import Promptable
from segcli.pipeline.answering import Model
from segcli.pipeline.work import Answer, Question

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many threads torch takes, and so in which order it sums."""


@dataclass(frozen=True)
class Hello:
    """What a worker says of itself once its model is open; `said` are lines for people."""

    version: str
    model: str
    revision: str
    reads: int | None
    said: tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """A worker's answers to one batch, in its order, and lines for people."""

    answers: tuple[Answer | Exception, ...]
    said: tuple[str, ...]


@dataclass(frozen=True)
class Surroundings:
    """Where a plain run would have run: its directory, for names of files, and the variables of `THREADS`."""

    directory: str
    environment: Mapping[str, str]

    @staticmethod
    def here() -> Surroundings:
        """Those of this process."""
        return Surroundings(str(os.getcwd()), {name: os.environ[name] for name in THREADS if name in os.environ})  # noqa: PTH109

    def enter(self) -> None:
        """Make them this process's own; to be called before torch is imported.

        On a machine without that directory names of files are looked up where the process is.
        """
        with contextlib.suppress(OSError):
            os.chdir(self.directory)
        for name in THREADS:
            os.environ.pop(name, None)
        os.environ.update(self.environment)


class Station:
    """A worker's model. `opener` opens it; it gets the names of photos that it answers in batches of `batch`."""

    def __init__(self, opener: Callable[[], Promptable], batch: int) -> None:
        self._lines: list[str] = []
        self._model = Model(opener, batch, self._lines.append)

    def open(self) -> bytes:
        """Open the model: a Hello, or the error of opening it."""
        try:
            with self._heard():
                model = self._model.opened
                reads = model.reads
        except Exception as error:
            return pickle.dumps(portable(error))
        return pickle.dumps(Hello(__version__, model.name, model.revision, reads, self._said()))

    def answer(self, questions: bytes) -> bytes:
        """A Said to a batch of pickled questions."""
        asked: Sequence[Question] = pickle.loads(questions)
        with self._heard():
            answers = tuple(
                portable(one) if isinstance(one, Exception) else one
                for first in range(0, len(asked), self._model.batch)
                for one in self._model.answers(asked[first : first + self._model.batch])
            )
        return pickle.dumps(Said(answers, self._said()), protocol=pickle.HIGHEST_PROTOCOL)

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        """What is said on stderr meanwhile is kept for those who asked."""
        spoken = io.StringIO()
        with contextlib.redirect_stderr(spoken):
            yield
        self._lines += spoken.getvalue().splitlines()

    def _said(self) -> tuple[str, ...]:
        said = tuple(line.removeprefix("seg: ") for line in self._lines if line.strip())
        self._lines.clear()
        return said


def portable(error: Exception) -> Exception:
    """The error as it can be pickled, its traceback as a note; one that can't be pickled becomes a RuntimeError."""
    told = "".join(traceback.format_exception(error)).rstrip()
    try:
        found = pickle.loads(pickle.dumps(error))
        same = type(found) is type(error) and str(found) == str(error)
    except Exception:
        same = False
    if not same:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a worker:\n{told}")
    return error

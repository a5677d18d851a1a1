"""A crew: workers elsewhere, each with the model open. Who answers what, and what happens when one is lost.

Any engine that can keep a `Station` somewhere can carry a crew (`Cluster`); `on_ray` is one. A worker has a batch in
work and one that waits, so that it is never idle; which of them is lost with it is known by their order:

- the batch in work may be what killed the worker: its photos are asked again one by one, at most `LOSSES` times each;
- the batches behind it are asked again as they are.

So a photo that kills its worker each time becomes that photo's failure, and no other's.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol

from segcli import __version__
from segcli.core.errors import DeviceError, ItemError
from segcli.pipeline.answering import Key
from segcli.pipeline.signals import Stop
from segcli.pipeline.station import Hello, Said
from segcli.pipeline.work import Answer, Question

LOSSES = 3
"""Workers that one photo may cost."""

_AHEAD = 2
"""Batches that a worker has: one in work, one that waits for it."""

_OPENINGS = 3
"""Workers in a row that may be lost while they open the model."""

_GIVEN_UP = 5
"""Photos in a row that may cost all their workers: then it is not the photos."""

_POLL = 0.2  # seconds after which signals are looked at

Batch = list[tuple[Key, Question]]
Ticket = Hashable
"""Stands for what a worker was told to do."""


class LostError(Exception):
    """The worker that should have done it is no more; the text says why, as far as that is known, or is empty."""


class Worker(Protocol):
    """One `Station` somewhere."""

    arrived: Ticket  # done when the engine has found a place for it

    def open(self) -> Ticket:
        """Have `Station.open` called."""
        ...

    def answer(self, questions: bytes) -> Ticket:
        """Have `Station.answer` called, after all that was told before."""
        ...

    def dismiss(self) -> None:
        """End it, whatever it is at; what it was told is lost."""
        ...


class Cluster(Protocol):
    """What a crew needs of an engine."""

    workers: int  # that there shall be

    def hire(self) -> Worker:
        """Start a worker; it arrives when there is room for it. Raises DeviceError when the engine itself is gone."""
        ...

    def wait(self, tickets: Sequence[Ticket], seconds: float) -> list[Ticket]:
        """Those that are done or lost; some time may pass until there is one."""
        ...

    def result(self, ticket: Ticket) -> bytes:
        """What a ticket that is done came to. Raises LostError."""
        ...

    def close(self) -> None:
        """End all workers and let go of the engine."""
        ...


@dataclass(eq=False)
class _Post(Generic[Key]):
    """A worker with what it was told: to come or to open the model (`opening`), then batches in order."""

    worker: Worker
    opening: Ticket | None
    arrived: bool = False
    jobs: deque[tuple[Ticket, Batch[Key]]] = field(default_factory=deque)


class Crew(Generic[Key]):
    """`segcli.pipeline.answering.Answering` by workers.

    engage:   starts the engine, or connects to one.
    patience: seconds after which it is an error that no worker has found a place.
    """

    def __init__(
        self,
        engage: Callable[[], Cluster],
        batch: int,
        notice: Callable[[str], None],
        stop: Stop,
        patience: float = 600,
    ) -> None:
        self.batch = batch
        self._engage, self._notice, self._stop, self._patience = engage, notice, stop, patience
        self._cluster: Cluster | None = None
        self._posts: list[_Post[Key]] = []
        self._hello: Hello | None = None
        self._queue: deque[Batch[Key]] = deque()
        self._done: deque[tuple[Key, Answer | Exception]] = deque()
        self._losses: dict[Key, int] = {}
        self._openings_lost = self._given_up = 0
        self._told: set[str] = set()
        self._deserted = 0.0  # since when no worker has a place, or 0
        self._patient = False  # a person knows that we wait

    @property
    def places(self) -> int:
        """As many as there shall be workers."""
        return 1 if self._cluster is None else self._cluster.workers

    @property
    def reads(self) -> int | None:
        """As the workers' model; None also when the run was stopped before one was there."""
        return None if self._hello is None else self._hello.reads

    @property
    def free(self) -> bool:
        """While a worker has not enough to do."""
        ready = [post for post in self._posts if post.opening is None]
        return len(self._queue) + sum(len(post.jobs) for post in ready) < _AHEAD * len(ready)

    @property
    def busy(self) -> bool:
        """While something was given that was not taken."""
        return bool(self._queue or self._done or any(post.jobs for post in self._posts))

    def start(self) -> None:
        """Start the engine and wait for the first worker, or for the run to be stopped.

        Raises DeviceError (no engine, no place, workers that die or are of another version), and what opening the model
        raises.
        """
        if self._cluster is None:
            self._cluster = self._engage()
            self._posts = [self._hired() for _ in range(self._cluster.workers)]
        while self._hello is None and not self._stop.now:
            self._advance(_POLL)

    def give(self, questions: Sequence[tuple[Key, Question]]) -> None:
        """Take a batch."""
        self._queue.append(list(questions))
        self._assign()

    def take(self, *, wait: bool) -> Iterator[tuple[Key, Answer | Exception]]:
        """Answers that are there; with `wait`, those that come within a moment. Raises as `start` does."""
        self._advance(_POLL if wait and not self._done else 0.0)
        while self._done:
            yield self._done.popleft()

    def close(self) -> None:
        """End the workers, whatever they are at."""
        if self._cluster is not None:
            for post in self._posts:
                post.worker.dismiss()
            self._cluster.close()
            self._posts, self._cluster = [], None

    def _hired(self) -> _Post[Key]:
        assert self._cluster is not None
        worker = self._cluster.hire()
        return _Post(worker, worker.arrived)

    def _assign(self) -> None:
        """Hand out what is queued, to those who have least to do first."""
        while self._queue:
            ready = [post for post in self._posts if post.opening is None and len(post.jobs) < _AHEAD]
            if not ready:
                return
            post = min(ready, key=lambda post: len(post.jobs))
            batch = self._queue.popleft()
            questions = pickle.dumps([question for _, question in batch], protocol=pickle.HIGHEST_PROTOCOL)
            post.jobs.append((post.worker.answer(questions), batch))

    def _advance(self, seconds: float) -> None:
        """Look at what has happened, and wait for something to happen if nothing has."""
        if self._cluster is None:
            return
        self._assign()
        told = {ticket: post for post in self._posts for ticket in _tickets(post)}
        for ticket in self._cluster.wait(list(told), seconds) if told else ():
            post = told[ticket]
            if post not in self._posts:  # lost together with an earlier ticket
                continue
            try:
                value = pickle.loads(self._cluster.result(ticket))
            except LostError as error:
                self._lose(post, error)
                continue
            if ticket == post.opening:
                self._opened(post, value)
            else:
                self._answered(post, ticket, value)
        self._assign()
        self._wait_for_a_place()

    def _opened(self, post: _Post[Key], value: Hello | Exception | None) -> None:
        """A worker has arrived (None), or opened its model."""
        if value is None:
            post.arrived, post.opening = True, post.worker.open()
            return
        if isinstance(value, Exception):
            raise value
        if value.version != __version__:
            raise DeviceError(f"a worker has seg {value.version}, here is {__version__}: install the same everywhere")
        first = self._hello or value
        if (value.model, value.revision, value.reads) != (first.model, first.revision, first.reads):
            raise DeviceError(f"workers have different files of {value.model}: clear their caches with seg models rm")
        self._hello, post.opening, self._openings_lost = first, None, 0
        self._tell(value.said)

    def _answered(self, post: _Post[Key], ticket: Ticket, said: Said) -> None:
        batch = next(batch for known, batch in post.jobs if known == ticket)
        post.jobs.remove((ticket, batch))
        for (key, _), answer in zip(batch, said.answers, strict=True):
            self._losses.pop(key, None)
            self._done.append((key, answer))
        self._given_up = 0
        self._tell(said.said)

    def _tell(self, lines: Sequence[str]) -> None:
        """Say what workers say; what several of them say, once."""
        for line in lines:
            if line not in self._told:
                self._told.add(line)
                self._notice(line)

    def _lose(self, post: _Post[Key], error: LostError) -> None:
        """Replace a worker, and queue what it had before all else."""
        assert self._cluster is not None
        post.worker.dismiss()
        again: list[Batch[Key]] = []
        blamed = False
        for ticket, batch in list(post.jobs):
            try:  # an answer may have been on its way when the worker was lost
                self._answered(post, ticket, pickle.loads(self._cluster.result(ticket)))
            except LostError:
                again += [batch] if blamed else self._blamed(batch, str(error))
                blamed = True
        self._queue.extendleft(reversed(again))
        self._posts.remove(post)
        why = f" ({error})" if str(error) else ""
        if post.opening is not None:
            self._openings_lost += 1
            if self._openings_lost >= _OPENINGS:
                raise DeviceError(
                    f"{_OPENINGS} workers were lost before their model was open{why}: is there room for it?"
                )
        if self._given_up >= _GIVEN_UP:
            raise DeviceError(
                f"{_GIVEN_UP} photos in a row cost {LOSSES} workers each{why}: type fewer --actors, or --batch 1"
            )
        if post.arrived:
            count = sum(map(len, again))
            self._notice(f"a worker was lost{why}{f': {count} photos are asked again' if count else ''}")
        self._posts.append(self._hired())

    def _blamed(self, batch: Batch[Key], why: str) -> list[Batch[Key]]:
        """The photos of a batch that was lost in work, one by one; those that cost too many workers are given up."""
        again: list[Batch[Key]] = []
        for key, question in batch:
            self._losses[key] = self._losses.get(key, 0) + 1
            if self._losses[key] < LOSSES:
                again.append([(key, question)])
                continue
            del self._losses[key]
            self._given_up += 1
            reason = f" ({why})" if why else ""
            self._done.append(
                (key, ItemError(f"{question.name}: cost {LOSSES} workers{reason}: try it alone, without --on"))
            )
        return again

    def _wait_for_a_place(self) -> None:
        """Say that all workers wait for a place; give up after a while."""
        assert self._cluster is not None
        if any(post.arrived for post in self._posts):
            self._deserted, self._patient = 0.0, False
            return
        now = time.monotonic()
        self._deserted = self._deserted or now
        if now - self._deserted > self._patience:
            raise DeviceError(f"no worker found a place in {self._patience:.0f} s: others hold the machines; try later")
        if now - self._deserted > min(30, self._patience) and not self._patient:
            self._patient = True
            self._notice("waiting until there is room for a worker")


def _tickets(post: _Post[Key]) -> list[Ticket]:
    return [*(ticket for ticket, _ in post.jobs), *([] if post.opening is None else [post.opening])]

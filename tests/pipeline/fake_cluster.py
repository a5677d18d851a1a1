"""An engine without machines: every worker is a Station in this process, and dies when the test says so."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from segcli.pipeline.crew import LostError
from segcli.pipeline.station import Station

Dies = Callable[[int, str, tuple[str, ...]], bool]
"""A worker's number (in the order of hiring), what it is told ("arrive", "open", "answer"), and photos, if any."""


@dataclass(eq=False)
class Told:
    what: str
    questions: bytes = b""
    value: bytes | None = None
    lost: bool = False


class FakeWorker:
    def __init__(self, cluster: FakeCluster, number: int) -> None:
        self.cluster, self.number = cluster, number
        self.station = Station(cluster.opener, cluster.batch)
        self.told: list[Told] = []
        self.alive = True
        self.arrived = self._tell("arrive")

    def open(self) -> Told:
        return self._tell("open")

    def answer(self, questions: bytes) -> Told:
        return self._tell("answer", questions)

    def dismiss(self) -> None:
        self.alive = False
        for told in self.told:
            told.lost = True
        self.told = []

    def _tell(self, what: str, questions: bytes = b"") -> Told:
        told = Told(what, questions, lost=not self.alive)
        if self.alive:
            self.told.append(told)
        return told

    def work(self) -> None:
        """Do what was told first, or die of it."""
        told = self.told[0]
        names = tuple(one.name for one in pickle.loads(told.questions)) if told.questions else ()
        if self.cluster.dies(self.number, told.what, names):
            self.dismiss()
            return
        done = {
            "arrive": lambda: pickle.dumps(None),
            "open": self.station.open,
            "answer": lambda: self.station.answer(told.questions),
        }
        told.value = self.cluster.changed(self.number, told.what, done[told.what]())
        self.told.remove(told)


@dataclass
class FakeCluster:
    """A `Cluster`. `turns`: of the workers that have something to do, those that do it in a call of `wait`."""

    opener: Callable[[], object]
    batch: int
    workers: int
    dies: Dies = lambda number, what, names: False
    room: Callable[[int], bool] = lambda number: True
    turns: Callable[[list[int]], list[int]] = lambda numbers: numbers
    changed: Callable[[int, str, bytes], bytes] = lambda number, what, value: value
    hired: list[FakeWorker] = field(default_factory=list)
    most: int = 0  # questions that were ever with the workers at a time
    closed: bool = False

    def hire(self) -> FakeWorker:
        self.hired.append(FakeWorker(self, len(self.hired)))
        return self.hired[-1]

    def wait(self, tickets: Sequence[Told], seconds: float) -> list[Told]:
        ready = {worker.number: worker for worker in self.hired if worker.told and self.room(worker.number)}
        held = sum(len(pickle.loads(t.questions)) for w in self.hired for t in w.told if t.questions)
        self.most = max(self.most, held)
        for number in self.turns(sorted(ready)):
            ready[number].work()
        return [told for told in tickets if told.lost or told.value is not None]

    def result(self, ticket: Told) -> bytes:
        if ticket.value is None:
            raise LostError("its machine was lost")
        return ticket.value

    def close(self) -> None:
        self.closed = True

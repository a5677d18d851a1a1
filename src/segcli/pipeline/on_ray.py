"""A crew on Ray: actors, one a GPU or a few CPUs each. Ray is imported when a run needs its first answer.

Plain actors, and not Ray Data: a run has its order, its retries and its files already, and Ray Data would bring a
second set of them, with pyarrow and pandas. Ray's own restarts are off, since they can't tell a photo that kills its
worker from a machine that went away; `crew` can.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from segcli.core.errors import DeviceError
from segcli.models.api import Promptable
from segcli.pipeline.crew import LostError
from segcli.pipeline.ray_connection import Connection, one_line
from segcli.pipeline.station import Station, Surroundings

_RESULT = 30  # seconds to fetch what is done


@dataclass(frozen=True)
class Wish:
    """What was asked for.

    address: HOST:PORT of a cluster's head, "auto" for the cluster that this machine is part of, or None for the one
             that RAY_ADDRESS names; without that, Ray is started on this machine for the length of the run.
    actors:  how many workers; None: as many as there is room for.
    cpus:    CPUs that each one reserves; None: as many as a plain run uses there.
    device, threads: as for a plain run.
    """

    address: str | None = None
    actors: int | None = None
    cpus: int | None = None
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class Size:
    """How many workers, and what each one reserves."""

    workers: int
    cpus: int
    gpus: int


def size(wish: Wish, machines: Sequence[Mapping[str, float]], threads: int | None) -> Size:
    """The crew for a cluster of `machines`, of which Ray tells CPU and GPU.

    One worker a GPU; without GPUs, as many as fit. A worker reserves the `threads` that a plain run uses where that is
    known, otherwise a whole machine, or its part of all machines when the number of workers is given.

    Raises DeviceError when a worker fits nowhere.
    """
    cpus = [int(machine.get("CPU", 0)) for machine in machines]
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    largest = max(cpus, default=0)
    if wish.cpus is not None and wish.cpus > largest:
        raise DeviceError(
            f"--cpus-per-actor {wish.cpus}: the largest machine has {largest} CPUs; type {largest} or less"
        )
    if largest < 1:
        raise DeviceError("--on ray: no machine of the cluster has a CPU for a worker; add one with ray start")
    if wish.device.startswith("cuda") and not gpus:
        raise DeviceError(f"--device {wish.device}: no machine of the cluster has a GPU; type --device cpu")
    if gpus and wish.device in ("auto", "cuda"):
        return Size(wish.actors or gpus, wish.cpus or 1, 1)
    each = wish.cpus
    if each is None and wish.actors is not None:
        each = min(threads or largest, max(1, sum(cpus) // wish.actors), largest)
    if each is None:
        each = min(threads or largest, min(count for count in cpus if count))
    return Size(wish.actors or max(1, sum(count // each for count in cpus)), each, 0)


def engage(wish: Wish, opener: Callable[[], Promptable], batch: int, notice: Callable[[str], None]) -> RayCluster:
    """Connect to the cluster, or start Ray on this machine. Raises DeviceError with the address and the reason."""
    address = wish.address or os.environ.get("RAY_ADDRESS") or "local"
    connection = Connection()
    try:
        if address == "local":
            connection.start(max(_cores(), wish.actors or 1))
        else:
            connection.join(address)
        ray = connection.ray
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        planned = size(wish, machines, wish.threads or _threads())
        used = wish.threads or _threads() or _cores()
        notice(_words(planned))
        if address == "local" and not planned.gpus and planned.workers > 1 and planned.workers * used > _cores():
            notice(
                f"{planned.workers} workers with {used} threads each on {_cores()} CPUs: "
                f"--threads {max(1, _cores() // planned.workers)} may be faster"
            )
        return RayCluster(connection, planned, opener, batch)
    except BaseException:
        connection.close()
        raise


class RayCluster:
    """`segcli.pipeline.crew.Cluster` on Ray."""

    def __init__(self, connection: Connection, planned: Size, opener: Callable[[], Promptable], batch: int) -> None:
        ray = connection.ray
        self.workers = planned.workers
        self._connection, self._ray = connection, ray
        self._job = ray.put((ray.cloudpickle.dumps(opener), batch, Surroundings.here()))
        self._actor = ray.remote(_Actor).options(
            num_cpus=planned.cpus,
            num_gpus=planned.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )

    def hire(self) -> _Hand:
        """As the contract. Raises DeviceError when Ray is gone."""
        try:
            return _Hand(self._ray, self._actor.remote(self._job))
        except self._ray.exceptions.RayError as error:
            raise DeviceError(f"--on ray: the cluster is gone: {one_line(error)}") from error

    def wait(self, tickets: Sequence[Hashable], seconds: float) -> list[Hashable]:
        """As the contract."""
        done, _ = self._ray.wait(list(tickets), num_returns=1, timeout=seconds)
        if done:  # and whatever else is there by now
            done, _ = self._ray.wait(list(tickets), num_returns=len(tickets), timeout=0)
        return cast(list[Hashable], done)

    def result(self, ticket: Hashable) -> bytes:
        """As the contract. Raises DeviceError for a worker that can't run seg."""
        errors = self._ray.exceptions
        try:
            return cast(bytes, self._ray.get(ticket, timeout=_RESULT))
        except errors.RayError as error:
            if isinstance(error, errors.RayTaskError) or "raised in its creation task" in str(error):
                # not the model's, which comes as an answer: seg itself can't be imported there, or is another one
                told = str(error).strip().rpartition("\n")[2].strip()
                raise DeviceError(f"a worker can't run seg: {told}; install the same there as here") from error
            raise LostError(_cause(error)) from None

    def close(self) -> None:
        """As the contract."""
        self._connection.close()


class _Hand:
    """`segcli.pipeline.crew.Worker` as an actor."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self.arrived: Hashable = actor.arrive.remote()

    def open(self) -> Hashable:
        """As the contract."""
        return cast(Hashable, self._actor.open.remote())

    def answer(self, questions: bytes) -> Hashable:
        """As the contract."""
        return cast(Hashable, self._actor.answer.remote(questions))

    def dismiss(self) -> None:
        """As the contract."""
        with contextlib.suppress(Exception):  # it is gone already, or Ray is
            self._ray.kill(self._actor)


class _Actor:
    """What runs in Ray's process: a Station in surroundings like those of the run."""

    def __init__(self, job: tuple[bytes, int, Surroundings]) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends us
        self._job = job
        self._station: Station | None = None

    def arrive(self) -> bytes:
        import pickle

        return pickle.dumps(None)

    def open(self) -> bytes:
        import pickle

        packed, batch, surroundings = self._job
        surroundings.enter()

        def opener() -> Promptable:
            return cast(Promptable, pickle.loads(packed)())

        self._station = Station(opener, batch)
        return self._station.open()

    def answer(self, questions: bytes) -> bytes:
        assert self._station is not None
        return self._station.answer(questions)


def _cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads() -> int | None:
    """Threads of a plain run where a variable says so."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(said) if said.isdecimal() and int(said) else None


def _words(planned: Size) -> str:
    def some(count: int, what: str) -> str:
        return f"{count} {what}{'' if count == 1 else 's'}"

    each = some(planned.gpus, "GPU") if planned.gpus else some(planned.cpus, "CPU")
    return f"{some(planned.workers, 'worker')} on Ray, {each} each"


def _cause(error: BaseException) -> str:
    """Why a worker was lost, where Ray knows it. It lists what may be reasons each time, so only its findings count."""
    text = str(error)
    if "running low on memory" in text:
        return "out of memory"
    return "its machine was lost" if "its node has died" in text else ""

"""Measure items, several at a time, and take up an interrupted run where it ended."""

from __future__ import annotations

import fcntl
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

from segcli.bench.records import Measure, ReadsAhead, Record, digest_json
from segcli.core.errors import StorageError, UsageError

Tell = Callable[[int, int], None]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's parameters
_LARGEST_ARRAY = 1 << 25  # bytes, the most that mallopt takes
_KEPT = 1 << 28


def run(
    measure: Measure,
    *,
    workers: int = 1,
    journal: Path | None = None,
    identity: str = "",
    subset: int | None = None,
    seed: int = 0,
    tell: Tell | None = None,
) -> list[Record]:
    """Records of all items (or of `subset` of them, drawn with `seed`), in the order of the items.

    workers: processes; `measure` must be picklable for more than one. journal: a file of finished records; the same
    command goes on from it. identity: what else must be equal for that (the model's revision).
    tell: called with the number of items done and of all.

    Raises UsageError when there is no item or the journal belongs to another run, ItemError from the first bad item.
    """
    names = _chosen(measure.items(), subset, seed)
    with _journal(journal, _run_key(measure, identity)) as (done, keep):
        missing = [name for name in names if name not in done]
        for count, record in enumerate(_measured(measure, missing, workers), len(names) - len(missing) + 1):
            done[record.name] = record
            keep(record)
            if tell is not None:
                tell(count, len(names))
    return [done[name] for name in names]


def _chosen(items: Sequence[str], subset: int | None, seed: int) -> list[str]:
    names = list(items)
    if not names:
        raise UsageError("the data set is empty: there is nothing to measure")
    if len(set(names)) != len(names):
        twice = next(n for i, n in enumerate(names) if n in names[:i])
        raise UsageError(f"{twice}: is in the data set twice")
    if subset is not None and subset < len(names):
        names = [names[i] for i in sorted(random.Random(seed).sample(range(len(names)), subset))]
    return names


def _measured(measure: Measure, names: Sequence[str], workers: int) -> Iterator[Record]:
    if workers == 1 or len(names) < 2:
        yield from _one_by_one(measure, names)
        return
    # A window of tasks: results are taken in order, and no more than a few wait at a time.
    # The measure goes to each process once, not with each item: it may hold a file of results.
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(measure,)) as pool:
        waiting: list[Future[Record]] = []
        try:
            for name in names:
                waiting.append(pool.submit(_measure_here, name))
                if len(waiting) > 4 * workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _one_by_one(measure: Measure, names: Sequence[str]) -> Iterator[Record]:
    """In this process; a measure that can read ahead does so in a thread while the item before is measured."""
    if not isinstance(measure, ReadsAhead):
        yield from map(measure.measure, names)
        return
    with ThreadPoolExecutor(1) as pool:
        ready: Future[None] | None = None
        for name, following in zip(names, [*names[1:], None], strict=True):
            if ready is not None:
                wait([ready])  # what went wrong there is said when the item is measured
            ready = None if following is None else pool.submit(measure.ahead, following)
            yield measure.measure(name)


_here: list[Measure] = []
"""What a process of the pool measures with."""


def _begin(measure: Measure) -> None:
    """Keep the measure; several processes with several threads each would only get in each other's way."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    _keep_memory()
    _here[:] = [measure]


def _keep_memory() -> None:
    """Let the C library keep what arrays gave back.

    By default glibc maps and unmaps every array of some size, and the kernel clears its pages each time. Several
    processes at once wait for each other there: two scored 1.5 times as fast as one, and 1.9 times with this.
    Elsewhere than with glibc nothing is done.
    """
    from ctypes import CDLL

    mallopt = getattr(CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_ARRAY)
        mallopt(_TRIM_THRESHOLD, _KEPT)


def _measure_here(name: str) -> Record:
    return _here[0].measure(name)


def _run_key(measure: Measure, identity: str) -> str:
    return digest_json([measure.name, measure.settings, identity])[:16]


@contextmanager
def _journal(path: Path | None, key: str) -> Iterator[tuple[dict[str, Record], Callable[[Record], None]]]:
    """Finished records of an earlier run, and a function that adds one; a line that was cut is dropped.

    The file is locked as long as it is used; the system gives the lock back however its process ends. Raises
    StorageError when another process has it or it can't be written, UsageError when it belongs to another run.
    """
    if path is None:
        yield {}, lambda record: None
        return
    try:
        with path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageError(
                    f"{path}: another seg process is writing to it: wait until that ends, or give another --journal"
                ) from None
            done, size = _read_journal(file, path, key)
            file.truncate(size)
            if not size:
                file.write(json.dumps({"seg_bench_journal": 1, "run": key}).encode() + b"\n")

            def keep(record: Record) -> None:
                file.write(json.dumps(asdict(record)).encode() + b"\n")
                file.flush()

            yield done, keep
    except OSError as error:
        raise StorageError(f"{path}: can't be written ({error.strerror})") from None


def _read_journal(lines: BinaryIO, path: Path, key: str) -> tuple[dict[str, Record], int]:
    """Records, and how many bytes of the file are whole lines."""
    done: dict[str, Record] = {}
    size = 0
    lines.seek(0)
    for number, line in enumerate(lines):
        try:
            value: dict[str, Any] = json.loads(line)
            if number == 0:
                if value.get("run") != key:
                    raise UsageError(f"{path}: belongs to another run; give another --journal, or remove it")
            else:
                value["warnings"] = tuple(value["warnings"])
                record = Record(**value)
                done[record.name] = record
        except (ValueError, TypeError, KeyError, AttributeError):
            if number == 0:
                raise UsageError(f"{path}: is not a journal of seg bench; give another --journal") from None
            break
        if not line.endswith(b"\n"):
            break
        size += len(line)
    return done, size

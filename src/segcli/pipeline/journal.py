"""The journal of an output directory: what is done, so that a stopped run goes on where it was.

`.seg-journal.jsonl` (`.seg-journal-2-of-8.jsonl` for a shard) is only appended to while a run lasts. A line is one of

    {"begin": key, "fingerprint": …, "files": [path, …]}              before an item's files get their names
    {"done": key, "fingerprint": …, "input": …, "files": [[path, bytes, sha256], …], "seconds": …, …}    after it
    {"failed": key, "fingerprint": …, "error": …, "code": …}          tried again by the next run
    {"run": path, "fingerprint": …, "files": [[path, bytes, sha256]]}   a file for the whole run was put together

Paths are relative to the directory. Of a directory in an object store the journal is kept there too
(`segcli.pipeline.mirror`), and read and appended to in a copy on this machine. What survives what:
- The process dies (`kill -9`) at any moment: files are complete or absent, for they are written under another name and
  renamed; a half-written last line is cut off by the next run; a `begin` without its `done` tells that run which files
  it may replace; temporary files of dead processes are removed when a journal is opened.
- The power fails: a `begin` is on the disk (fsync) before its files get their names, and files are before their `done`
  is written. A `done` may be lost, and its item is then done again; a `done` that is there never lies.

When a run ends by itself the journal is rewritten in the plan's order, without what later lines have replaced: two runs
that did the same work leave the same journal, apart from `seconds`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from segcli.core.errors import SegError, StorageError
from segcli.io import atomic, outputs
from segcli.io.remote import Remote, Source
from segcli.pipeline.identity import Identity
from segcli.pipeline.lock import Lock
from segcli.pipeline.mirror import Mirror
from segcli.pipeline.shard import Shard

Wrote = tuple[str, int, str]
"""A file that was written: path relative to the directory, bytes, sha256."""

_Pair = tuple[str, str]
"""An item's key and the fingerprint with which it was done."""


@dataclass(frozen=True)
class Entry:
    """A `done` line: which files answer the item `key`, and made from which input.

    fragments: the item's parts of files for the whole run, by the name of that file.
    masks:     how many masks the answer to each of its asks has.
    records:   its JSON lines for stdout, when they were asked for.
    """

    key: str
    fingerprint: str
    input: Identity
    files: tuple[Wrote, ...]
    seconds: float
    formats: tuple[str, ...]
    fragments: dict[str, list[Any]]
    masks: tuple[int, ...] = ()
    records: list[dict[str, Any]] | None = None

    def line(self) -> dict[str, Any]:
        """The entry as its line of the journal."""
        line = {
            "done": self.key,
            "fingerprint": self.fingerprint,
            "input": self.input.line(),
            "files": [list(file) for file in self.files],
            "formats": list(self.formats),
            "fragments": self.fragments,
            "masks": list(self.masks),
            "seconds": self.seconds,
        }
        return line if self.records is None else {**line, "records": self.records}

    @classmethod
    def of(cls, line: dict[str, Any]) -> Entry:
        """The entry of a `done` line."""
        return cls(
            key=line["done"],
            fingerprint=line["fingerprint"],
            input=Identity(**line["input"]),
            files=tuple((path, size, sha256) for path, size, sha256 in line["files"]),
            seconds=line["seconds"],
            formats=tuple(line["formats"]),
            fragments=line["fragments"],
            masks=tuple(line.get("masks", ())),
            records=line.get("records"),
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a line lies, so that entries need no memory of their own. `own`: in this process's own journal."""

    own: bool
    file: int
    offset: int
    length: int


class Journal:
    """The journals of one output directory: reads all of them, appends to the one of its own shard.

    Opening makes the directory, takes the lock and removes what dead processes left; `readonly` does none of it and
    serves only to look. Raises StorageError when another process has the lock, or when the directory or a journal
    can't be read or written. Methods may be called from several threads.
    """

    def __init__(self, directory: Source, shard: Shard | None = None, *, readonly: bool = False) -> None:
        self.directory = directory
        self._mutex = threading.Lock()
        self._readers: list[int] = []
        self._writer = -1
        self._lock: Lock | None = None
        self._end = self._own_reader = 0
        self._mirror: Mirror | None = None
        self._home: Path  # where the journals can be read
        if isinstance(directory, Remote):
            self._mirror = Mirror(directory, shard)
            self._home = self._mirror.home
        else:
            self._home = directory
        self._own = self._home / f".seg-journal{shard.suffix if shard else ''}.jsonl"
        try:
            if not readonly:
                self._open(shard)
            elif self._mirror is not None:
                self._mirror.fetch()
            self.refresh()
        except OSError as error:
            self.close()
            raise _unusable(self._own, error) from error
        except SegError:
            self.close()
            raise

    def _open(self, shard: Shard | None) -> None:
        if self._mirror is None:
            atomic.make_directory(self._home)
            self._lock = Lock(self._home, shard)
            atomic.sweep(self._home)
        else:
            self._lock = Lock(self._mirror.lock_home(), shard, self.directory)
            self._mirror.fetch()
            self._mirror.begin()
        self._writer = atomic.os_open(self._own, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        _cut_torn_line(self._writer)
        self._end = os.fstat(self._writer).st_size

    def refresh(self) -> None:
        """Read all journals of the directory again (other shards may have gone on). Raises StorageError."""
        with self._mutex:
            if self._mirror is not None and self._readers:
                self._mirror.fetch_others()
            self._close_readers()
            self._done: dict[_Pair, _Place] = {}
            self._failed: dict[_Pair, bytes] = {}
            self._of_key: dict[str, list[str]] = {}
            self._owner: dict[str, _Pair] = {}
            self._begun: dict[str, tuple[_Pair, bool]] = {}  # path -> by whom, and whether in the own journal
            self._run_files: dict[str, tuple[str, bytes]] = {}
            self.damaged = 0
            # The latest word on a file counts: journals of other divisions are read in the order of their last change.
            for path in sorted(self._home.glob(".seg-journal*.jsonl"), key=lambda path: path.stat().st_mtime_ns):
                self._readers.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                if path == self._own:
                    self._own_reader = len(self._readers) - 1
                with os.fdopen(os.dup(self._readers[-1]), "rb") as lines:
                    offset = 0
                    for raw in lines:
                        if raw.endswith(b"\n"):  # else another shard is just writing it
                            self._take(raw, _Place(path == self._own, len(self._readers) - 1, offset, len(raw)))
                        offset += len(raw)

    def find(self, key: str, fingerprint: str) -> Entry | None:
        """The entry of an item that was done with this fingerprint and whose files were not replaced since."""
        with self._mutex:
            place = self._done.get((key, fingerprint))
            if place is None:
                return None
            entry = Entry.of(json.loads(self._raw(place)))
            return entry if self._whole((key, fingerprint), entry) else None

    def others(self, key: str, fingerprint: str) -> Iterator[Entry]:
        """The entries of the same item with any other fingerprint."""
        for other in list(self._of_key.get(key, ())):
            if other != fingerprint and (entry := self.find(key, other)) is not None:
                yield entry

    def settled(self, key: str, fingerprint: str) -> bool:
        """True when the item is done, or failed when it was last tried."""
        return (key, fingerprint) in self._done or (key, fingerprint) in self._failed

    def began(self, path: str, fingerprint: str) -> bool:
        """True when a run with this fingerprint was about to write that file and did not live to say that it did."""
        pair, _ = self._begun.get(path, (("", ""), False))
        return pair[1] == fingerprint

    def made(self) -> dict[str, int | None]:
        """The files that runs made for photos, with their bytes; None for those begun by a run that died since."""
        found: dict[str, int | None] = {}
        for pair in list(self._done):
            if (entry := self.find(*pair)) is not None:
                found.update((path, size) for path, size, _ in entry.files)
        return {**found, **dict.fromkeys(self._begun)}

    def run_file(self, path: str) -> str | None:
        """The fingerprint with which a file for the whole run was written, or None."""
        found = self._run_files.get(path)
        return found[0] if found else None

    def lost(self, path: str, kept: Container[str]) -> str | None:
        """The key of an item that has a part in that file for the whole run and is not among these, or None."""
        for key, fingerprint in list(self._done):
            if key not in kept and (entry := self.find(key, fingerprint)) is not None and path in entry.fragments:
                return key
        return None

    def write_begin(self, key: str, fingerprint: str, files: Sequence[str]) -> None:
        """Say that these files are about to be written; on the disk when this returns."""
        self._append({"begin": key, "fingerprint": fingerprint, "files": list(files)}, sync=True)

    def write_done(self, entry: Entry) -> None:
        """Say that an item is done."""
        self._append(entry.line())

    def write_failed(self, key: str, fingerprint: str, error: str, code: int) -> None:
        """Say that an item failed."""
        self._append({"failed": key, "fingerprint": fingerprint, "error": error, "code": code})

    def write_run(self, wrote: Wrote, fingerprint: str) -> None:
        """Say that a file for the whole run was written."""
        self._append({"run": wrote[0], "fingerprint": fingerprint, "files": [list(wrote)]})

    def rewrite(self, order: Mapping[_Pair, int]) -> None:
        """Put the own journal into the order given, leave out what later lines replaced, and close it."""
        with self._mutex:
            own = [pair for pair, place in self._done.items() if place.own]
            own = [pair for pair in own if self._whole(pair, Entry.of(json.loads(self._raw(self._done[pair]))))]
            own.sort(key=lambda pair: order.get(pair, len(order)))
            failed = sorted(self._failed, key=lambda pair: order.get(pair, len(order)))
            begun: dict[_Pair, list[str]] = {}
            for path, (pair, mine) in self._begun.items():
                if mine and outputs.is_there(self.directory / path):  # left by an item that failed half-way
                    begun.setdefault(pair, []).append(path)
            rest = [_raw({"begin": key, "fingerprint": of, "files": paths}) for (key, of), paths in begun.items()]
            rest += [self._failed[pair] for pair in failed] + [raw for _, raw in sorted(self._run_files.values())]
            atomic.write(self._own, chain((self._raw(self._done[pair]) for pair in own), rest))
            if self._mirror is not None:
                self._mirror.replace(self._own)
        self.close(sync=False)  # what is open is the file that was just replaced

    def close(self, *, sync: bool = True) -> None:
        """Put everything on the disk and give the directory free. May be called twice."""
        if self._writer >= 0:
            if sync:
                with suppress(OSError, StorageError):  # costs at most that items are done again; hides no other error
                    atomic.os_fsync(self._writer)
                    if self._mirror is not None:
                        self._mirror.commit()
            os.close(self._writer)
            self._writer = -1
        self._close_readers()
        if self._mirror is not None:
            self._mirror.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _close_readers(self) -> None:
        for reader in self._readers:
            os.close(reader)
        self._readers = []

    def _raw(self, place: _Place) -> bytes:
        return os.pread(self._readers[place.file], place.length, place.offset)

    def _whole(self, pair: _Pair, entry: Entry) -> bool:
        """True when nothing of the entry was replaced by a later one."""
        return all(self._owner.get(path) == pair for path in _owned(entry.key, entry.files, entry.fragments))

    def _append(self, line: dict[str, Any], *, sync: bool = False) -> None:
        raw = _raw(line)
        with self._mutex:
            try:
                written = atomic.os_write(self._writer, raw)
                while written < len(raw):  # a nearly full disk takes a part
                    written += atomic.os_write(self._writer, raw[written:])
                if sync and self._mirror is None:
                    atomic.os_fsync(self._writer)
            except OSError as error:
                with suppress(OSError):  # works on a full disk; if not, the next run cuts the torn line off
                    os.ftruncate(self._writer, self._end)
                raise _unusable(self._own, error) from error
            place = _Place(True, self._own_reader, self._end, len(raw))
            self._end += len(raw)
            self._take(raw, place)
            if self._mirror is not None:
                self._mirror.add(raw)
        if sync and self._mirror is not None:
            self._mirror.commit()  # outside of the lock: lines of several threads go in one request

    def _take(self, raw: bytes, place: _Place) -> None:
        """Let one line change what is known; a damaged one is counted and its item done again."""
        try:
            line = json.loads(raw)
            pair = (
                line.get("begin") or line.get("done") or line.get("failed") or line["run"],
                sys.intern(line["fingerprint"]),
            )
            paths = [file if isinstance(file, str) else file[0] for file in line.get("files", ())]
            if "done" in line:
                paths = _owned(line["done"], line["files"], line["fragments"])
        except (ValueError, KeyError, TypeError, AttributeError):
            self.damaged += 1
            return
        for path in paths:
            self._begun.pop(path, None)
        if "begin" in line:
            for path in paths:
                self._owner.pop(path, None)
                self._begun[path] = (pair, place.own)
        elif "done" in line:
            self._failed.pop(pair, None)
            self._done.pop(pair, None)  # so that the latest comes last
            self._done[pair] = place
            self._owner.update(dict.fromkeys(paths, pair))
            if pair[1] not in (known := self._of_key.setdefault(pair[0], [])):
                known.append(pair[1])
        elif "failed" in line:
            self._done.pop(pair, None)
            self._failed[pair] = raw if place.own else b""
        else:
            self._run_files[pair[0]] = (pair[1], raw if place.own else b"")


def _raw(line: dict[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def _owned(key: str, files: Iterable[Sequence[Any]], fragments: Iterable[str]) -> list[str]:
    """What an entry owns: its files, and its part of each file for the whole run (named so that no file is)."""
    return [*(file[0] for file in files), *(f"{path}\0{key}" for path in fragments)]


def _cut_torn_line(descriptor: int) -> None:
    """Cut off what follows the last newline: the line that was being written when the process died."""
    end = os.fstat(descriptor).st_size
    position = end
    while position > 0:
        start = max(0, position - 65536)
        block = os.pread(descriptor, position - start, start)
        if (newline := block.rfind(b"\n")) >= 0:
            position = start + newline + 1
            break
        position = start
    if position < end:
        os.ftruncate(descriptor, position)


def _unusable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: can't be written: {atomic.describe(error)}: mend that, or give another -o")

"""The journal of an output directory that lies in an object store.

Objects can't be appended to. So a run writes its lines to objects of its own below `.seg-journal/`, each sent whole
and sent again while it grows, and goes on with a next one when it has 256 kB:

    .seg-journal/000007-1f0a9c3e.jsonl          7: larger than all that were there when the run began
    .seg-journal/000007-2-of-8-77e01b24.jsonl   the same for a shard

On file servers, where a file that is replaced may be gone for a moment, every request goes to a next one.

Read by their numbers, one after the other, they are the journal. What must be on the disk of a local journal before
files get their names must be in the store here: `commit` returns when it is. Lines of several threads that wait go in
one request. Nothing is kept on this machine beyond the run, so any machine goes on where this one was killed.

When a run ends by itself its journal is put in order, as one object with the highest number, and those before it are
removed. A store that forbids to remove loses nothing: what comes later counts.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

from segcli.core.errors import StorageError
from segcli.io import upload
from segcli.io.remote import Remote, sizes, unseen
from segcli.pipeline.shard import Shard

FOLDER = ".seg-journal"
_PART = re.compile(r"(?P<number>[0-9]{6,})(?P<shard>(?:-[0-9]+-of-[0-9]+)?)-[0-9a-f]{8}\.jsonl")
_FULL = 256 << 10
"""Bytes after which a next object is begun: what has to be sent again with a new line stays small."""


_AT_ONCE = 8  # objects that are read side by side
_LISTINGS = 5


class _Part(NamedTuple):
    """One object of a journal."""

    number: int
    name: str
    shard: str


class Mirror:
    """The journals of a directory in a store as files in `home`, and what this run adds to its own there.

    `add` is called by one thread at a time, `commit` by any. Raises StorageError for a store that can't be used.
    """

    def __init__(self, directory: Remote, shard: Shard | None) -> None:
        self._directory = directory
        self._suffix = shard.suffix if shard else ""
        self._run = secrets.token_hex(4)
        self.home = Path(tempfile.mkdtemp(prefix="seg-journal-"))
        self._stored: list[str] = []  # names of the own journal's objects, in their order
        self._fetched = _digest(())
        self._number = 0
        self._change = threading.Condition()
        self._lines = bytearray()  # of the object that grows
        self._added = self._safe = 0  # bytes of this run: all, and those in the store
        self._sending = False
        self._full = _FULL

    def lock_home(self) -> Path:
        """A directory of this machine for the lock: stores have none. Raises OSError."""
        user = str(os.getuid()) if hasattr(os, "getuid") else ""
        name = hashlib.sha256(self._directory.url.rstrip("/").encode()).hexdigest()[:24]
        path = Path(tempfile.gettempdir()) / f"seg-locks-{user}" / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def fetch(self) -> None:
        """Put all journals into `home`."""
        self._fetch(own=True)
        path = self.home / _copy(self._suffix)
        if path.exists():
            self._fetched = _digest(_chunks(path))

    def fetch_others(self) -> None:
        """Put the journals of other shards into `home` again."""
        self._fetch(own=False)

    def begin(self) -> None:
        """Begin the first object of this run, by which a store that takes nothing is noticed at once."""
        upload.sweep(self._directory)
        self._number += 1
        self._send(b"")
        if not upload.takes_whole(self._directory):
            self._full = 0
            self._number += 1

    def add(self, raw: bytes) -> None:
        """Note a line of the own journal."""
        with self._change:
            self._lines += raw
            self._added += len(raw)

    def commit(self) -> None:
        """Return when all lines that were noted are in the store."""
        with self._change:
            wanted = self._added
            while self._safe < wanted:
                if self._sending:
                    self._change.wait()
                    continue
                self._sending = True
                lines, upto = bytes(self._lines), self._added
                self._change.release()
                try:
                    self._send(lines)
                finally:
                    self._change.acquire()
                    self._sending = False
                    self._change.notify_all()
                self._safe = upto
                if len(lines) > self._full:
                    del self._lines[: len(lines)]
                    self._number += 1

    def replace(self, whole: Path) -> None:
        """Let this file be the own journal from now on."""
        before = list(self._stored)
        if _digest(_chunks(whole)) != self._fetched:
            self._number += 1
            self._send(_chunks(whole))
        else:  # it says what it said before: what this run added goes
            before = [name for name in before if self._run in name]
        for name in before:
            upload.remove(self._directory / FOLDER / name)

    def close(self) -> None:
        """Remove what lies on this machine."""
        shutil.rmtree(self.home, ignore_errors=True)

    def _send(self, content: bytes | Iterable[bytes]) -> None:
        name = f"{self._number:06d}{self._suffix}-{self._run}.jsonl"
        upload.write(self._directory / FOLDER / name, content, self._directory)
        if name not in self._stored:
            self._stored.append(name)

    def _fetch(self, *, own: bool) -> None:
        for _ in range(_LISTINGS):
            found = self._listed()
            try:
                self._read([part for part in found if own or part.shard != self._suffix])
            except FileNotFoundError:  # a shard has just put its journal in order
                continue
            if own:
                self._number = max((part.number for part in found), default=0)
                self._stored = [part.name for part in found if part.shard == self._suffix]
            return
        raise StorageError(f"{self._directory}: its journal changes all the time: wait until other shards have ended")

    def _listed(self) -> list[_Part]:
        matches = map(_PART.fullmatch, sizes((self._directory / FOLDER).url, self._directory.url))
        return sorted(_Part(int(match["number"]), match[0], match["shard"]) for match in matches if match is not None)

    def _read(self, parts: Sequence[_Part]) -> None:
        """Put these objects into `home`, those of a shard one behind the other. Raises FileNotFoundError."""
        journals: dict[str, IO[bytes]] = {}
        with ExitStack() as stack, ThreadPoolExecutor(_AT_ONCE, "seg-journal") as pool:
            for part in parts:
                if part.shard not in journals:
                    journals[part.shard] = stack.enter_context((self.home / _copy(part.shard)).open("wb"))
            for first in range(0, len(parts), _AT_ONCE):
                some = parts[first : first + _AT_ONCE]
                for part, content in zip(some, pool.map(self._content, some), strict=True):
                    journals[part.shard].write(content)
        for part in parts:  # in the end the latest one's number, which is the order in which journals are read
            os.utime(self.home / _copy(part.shard), ns=(part.number, part.number))

    def _content(self, part: _Part) -> bytes:
        source = self._directory / FOLDER / part.name
        try:
            return source.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unseen(self._directory.url, error) from None


def _copy(shard: str) -> str:
    return f"{FOLDER}{shard}.jsonl"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()

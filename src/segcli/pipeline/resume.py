"""What may be skipped, and which existing files may be replaced.

An item is skipped when its journal entry has the same fingerprint (verb, weights, options, asks), its photo has the
same content, and its files are there with their sizes. A file that exists is replaced only when this very item with
this very fingerprint and content made it (or was about to, when its process died); anything else is refused, unless
`force`. A photo of the plan is never replaced, whatever is forced.
"""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path

from segcli.core.errors import ItemError, StorageError
from segcli.pipeline.identity import Identity
from segcli.pipeline.journal import Entry, Journal
from segcli.pipeline.plan import Item, Plan


class RefusedError(ItemError):
    """An output exists and is not this run's to replace. What the journal says of it stays."""


class Existing:
    """The output directory as earlier runs left it. `begin` may be called from several threads."""

    def __init__(self, journal: Journal, plan: Plan, *, force: bool) -> None:
        self.journal = journal
        self.directory: Path = journal.directory
        self._plan = plan
        self._force = force
        self._mutex = threading.Lock()
        self._claimed: dict[str, str] = {}

    def entry(self, item: Item, fingerprint: str) -> Entry | None:
        """The entry that answers the item, or None when it has to be done.

        Raises RefusedError when writing would be refused: the files were made with other options or from another photo.
        """
        if self._force:
            return None
        entry = self.journal.find(item.key, fingerprint)
        if entry is not None:
            found = [self._size(path) for path, _, _ in entry.files]
            if (same := _same_input(entry.input, item)) is None:
                return None  # it can't be read any more: reading it says why
            if not same:
                if any(size is not None for size in found):
                    raise RefusedError(
                        f"{item.name}: the photo has changed since {self._first(entry)} was made: --force replaces it"
                    )
            elif found == [size for _, size, _ in entry.files]:
                return entry
        for other in self.journal.others(item.key, fingerprint):
            if set(other.formats) & set(self._plan.output.formats):
                for path, _, _ in other.files:
                    if self._size(path) is not None and not self.journal.began(path, fingerprint):
                        raise RefusedError(
                            f"{item.name}: {self.directory / path} exists, made with other options: "
                            "--force replaces it, another -o keeps it"
                        )
        return None

    def begin(self, item: Item, source: Identity, fingerprint: str, paths: list[str]) -> None:
        """Make sure that these files may be written, and say in the journal that they are about to be.

        Raises RefusedError when one may not; then nothing is said.
        """
        for path in paths:
            with self._mutex:
                other = self._claimed.setdefault(path, item.key)
            if other != item.key:
                raise RefusedError(f"{item.name}: {path} is the file of {other} already: use {{name}} in the template")
            self._check(item, source, fingerprint, path)
        self.journal.write_begin(item.key, fingerprint, paths)

    def check_run_file(self, path: str, fingerprints: dict[str, str]) -> None:
        """Raise StorageError when a file for the whole run exists and is not this plan's to replace."""
        target = self.directory / path
        if self._force or not target.exists():
            return
        made_with = self.journal.run_file(path)
        if made_with is None:
            raise StorageError(f"{target}: exists, made by another program: --force replaces it, another -o keeps it")
        if made_with != self._plan.run_fingerprint:
            raise StorageError(f"{target}: exists, made with other options: --force replaces it, another -o keeps it")
        if lost := next(self.journal.done_keys(fingerprints), None):
            raise StorageError(
                f"{target}: holds other photos too ({lost}): name them as well, --force leaves them out, "
                "another -o keeps it"
            )

    def _check(self, item: Item, source: Identity, fingerprint: str, path: str) -> None:
        target = self.directory / path
        try:
            status = target.lstat()
        except OSError:  # not there; or not to be looked at, which writing will say better
            return
        if (status.st_dev, status.st_ino) in self._photos:
            raise RefusedError(f"{item.name}: {target} is one of the photos: give another -o")
        if self._force or self.journal.began(path, fingerprint):
            return
        entry = self.journal.find(item.key, fingerprint)
        if entry is None or path not in {file[0] for file in entry.files}:
            raise RefusedError(
                f"{item.name}: {target} exists, made by other options or another program: --force replaces it"
            )
        size = next(size for file, size, _ in entry.files if file == path)
        if entry.input.sha256 != source.sha256 or status.st_size != size:
            raise RefusedError(f"{item.name}: {target} has changed since it was made: --force replaces it")

    @cached_property
    def _photos(self) -> frozenset[tuple[int, int]]:
        """The plan's photos as (device, inode); looked up when the first file is to be replaced."""
        found = set()
        for item in self._plan.items:
            try:
                status = item.source.stat() if item.source else None
            except OSError:
                continue
            if status:
                found.add((status.st_dev, status.st_ino))
        return frozenset(found)

    def _size(self, path: str) -> int | None:
        try:
            return (self.directory / path).lstat().st_size
        except OSError:
            return None

    def _first(self, entry: Entry) -> Path:
        return self.directory / entry.files[0][0]


def _same_input(made_from: Identity, item: Item) -> bool | None:
    if item.source is None:
        return made_from.is_bytes(item.data or b"")
    try:
        return made_from.is_of(item.source)
    except OSError:
        return None

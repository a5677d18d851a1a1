"""What may be skipped, and which existing files may be replaced.

An item is skipped when its journal entry has the same fingerprint (verb, weights, options, asks), its photo has the
same content, and its files are there with their sizes. A file that exists is replaced only when this very item with
this very fingerprint and content made it (or was about to, when its process died); anything else is refused.

`force` replaces what would be refused, and takes nobody's word for a file: those whose content is not what the journal
says are done again. So a forced run that was stopped goes on where it was, too. A photo of the plan is never replaced,
whatever is forced.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Container, Sequence
from functools import cached_property

from segcli.core.errors import ItemError, StorageError
from segcli.io import outputs
from segcli.io.remote import Remote, Source, unseen
from segcli.pipeline.identity import Identity
from segcli.pipeline.journal import Entry, Journal, Wrote
from segcli.pipeline.plan import Item, Plan


class RefusedError(ItemError):
    """An output exists and is not this run's to replace. What the journal says of it stays."""


class Existing:
    """The output directory as earlier runs left it. `begin` may be called from several threads."""

    def __init__(self, journal: Journal, plan: Plan, run_files: Sequence[str], *, force: bool) -> None:
        self.journal = journal
        self.directory: Source = journal.directory
        self._sizes = outputs.Sizes(journal.directory)
        self._plan = plan
        self._run_files = run_files
        self._force = force
        self._mutex = threading.Lock()
        self._claimed: dict[str, str] = {}

    def entry(self, item: Item, fingerprint: str) -> Entry | None:
        """The entry that answers the item, or None when it has to be done.

        Raises RefusedError when writing would be refused: the files were made with other options or from another photo.
        """
        entry = self.journal.find(item.key, fingerprint)
        if entry is not None:
            same = _same_input(entry.input, item)
            if same is None:
                return None  # it can't be read any more: reading it says why
            if same and all(self._intact(file) for file in entry.files):
                return entry
            if not (same or self._force) and (path := self._there(entry, fingerprint)):
                raise RefusedError(f"{item.name}: the photo has changed since {path} was made: --force replaces it")
        if self._force:
            return None
        for other in self.journal.others(item.key, fingerprint):
            if set(other.formats) & set(self._plan.output.formats) and (path := self._there(other, fingerprint)):
                raise RefusedError(
                    f"{item.name}: {path} exists, made with other options: --force replaces it, another -o keeps it"
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

    def check_run_files(self, kept: Container[str]) -> None:
        """Raise StorageError when a file for the whole run exists and is not this plan's, of these keys, to replace."""
        for path in self._run_files:
            target = self.directory / path
            made_with = self.journal.run_file(path)
            print_ = self._plan.run_fingerprint
            if self._force or self.journal.began(path, print_) or not outputs.is_there(target):
                continue
            if made_with is None:
                raise StorageError(f"{target}: exists, made by another program: give another -o, or --force")
            if made_with != print_:
                raise StorageError(f"{target}: exists, made with other options: give another -o, or --force")
            if (lost := self.journal.lost(path, kept)) is not None:
                raise StorageError(
                    f"{target}: holds other photos too ({lost}): name them as well, or give another -o; "
                    "--force leaves them out"
                )

    def _check(self, item: Item, source: Identity, fingerprint: str, path: str) -> None:
        target = self.directory / path
        try:
            status = target.lstat()
        except OSError as error:  # not there; or not to be looked at, which writing will say better
            if isinstance(target, Remote) and not isinstance(error, FileNotFoundError | IsADirectoryError):
                raise unseen(target.url, error) from None
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

    def _intact(self, file: Wrote) -> bool:
        """True when a file is as it was written: by its size, or with `force` by its content."""
        path, size, sha256 = file
        target = self.directory / path
        try:
            if self._sizes.of(path) != size:
                return False
            return not self._force or hashlib.sha256(target.read_bytes()).hexdigest() == sha256
        except OSError:
            return False

    def _there(self, entry: Entry, fingerprint: str) -> Source | None:
        """A file that holds this entry's answer and would be lost."""
        for path, _, _ in entry.files:
            if not self.journal.began(path, fingerprint) and outputs.is_there(self.directory / path):
                return self.directory / path
        for path in entry.fragments:
            if path in self._run_files and outputs.is_there(self.directory / path):
                return self.directory / path
        return None


def _same_input(made_from: Identity, item: Item) -> bool | None:
    if item.source is None:
        return made_from.is_bytes(item.data or b"")
    try:
        return made_from.is_of(item.source)
    except OSError:
        return None

"""One process on one part of an output directory."""

from __future__ import annotations

import re
from pathlib import Path

import filelock

from segcli.core.errors import StorageError
from segcli.io.remote import Source
from segcli.pipeline.shard import Shard


class Lock:
    """Held from the moment it is made. A whole run excludes everybody; shards i/n of one n may work side by side.

    Each process takes its own file first and then tries those of the ones it can't work beside; of two that start at
    the same time at least one sees the other. `place` is what messages call it, where the lock files lie elsewhere.
    Raises StorageError with the line to show.
    """

    def __init__(self, directory: Path, shard: Shard | None, place: Source | None = None) -> None:
        place = place or directory
        own = directory / f".seg-lock{shard.suffix if shard else ''}"
        self._lock = filelock.FileLock(own)
        try:
            self._lock.acquire(timeout=0)
            for other in sorted(directory.glob(".seg-lock*")):
                if other != own and not _beside(other, shard):
                    with filelock.FileLock(other).acquire(timeout=0):
                        pass
        except filelock.Timeout as error:
            self.release()
            raise StorageError(
                f"{place}: another seg process is writing to it: wait until that ends, or give another -o"
            ) from error
        except OSError as error:
            self.release()
            raise StorageError(f"{place}: can't be locked ({error.strerror}): give another -o") from error

    def release(self) -> None:
        """Give the directory free."""
        self._lock.release()


def _beside(lock: Path, shard: Shard | None) -> bool:
    """True when the holder of that lock is another shard of the same division."""
    found = re.fullmatch(r"\.seg-lock-\d+-of-(\d+)", lock.name)
    return shard is not None and found is not None and int(found[1]) == shard.count

"""Where results go, whatever the place: the one seam that every file of every format passes through."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from segcli.core.errors import UsageError
from segcli.io import atomic, upload
from segcli.io.remote import Remote, Source, sizes, unseen


def write(target: Source, data: bytes | Iterable[bytes], *, sync: bool = True) -> None:
    """Put `data` (or its chunks) at a path or URL, all or nothing, replacing what was there; directories are made.

    sync: see `atomic.write`; a store answers when it has the object. Raises StorageError or ItemError with one line.
    """
    if isinstance(target, Remote):
        upload.write(target, data)
        return
    atomic.make_directory(target.parent)
    atomic.write(target, data, sync=sync)


def is_there(target: Source) -> bool:
    """Whether something of that name exists. Raises StorageError where a store does not say."""
    if not isinstance(target, Remote):
        return os.path.lexists(target)
    try:
        return target.exists()
    except OSError as error:
        raise unseen(target.url, error) from None


def size(target: Source) -> int | None:
    """Bytes of a file or object, None where there is none. Raises StorageError where a store does not say."""
    try:
        return target.lstat().st_size
    except OSError as error:
        if isinstance(target, Remote) and not isinstance(error, FileNotFoundError | IsADirectoryError):
            raise unseen(target.url, error) from None
        return None


class Sizes:
    """Bytes of many files below one place, as they were when first asked about. Stores list a directory at once, for
    a request a file would take longer than the files did. Not for several threads."""

    def __init__(self, directory: Source) -> None:
        self._directory = directory
        self._listed: dict[str, dict[str, int]] = {}

    def of(self, path: str) -> int | None:
        """Bytes of one file by its path below the place, None where there is none. Raises StorageError."""
        if isinstance(self._directory, Path):
            return size(self._directory / path)
        parent, _, name = path.rpartition("/")
        if parent not in self._listed:
            self._listed[parent] = sizes((self._directory / parent).url if parent else self._directory.url)
        return self._listed[parent].get(name)


def split(text: str, suffixes: Iterable[str]) -> tuple[Remote, str | None]:
    """A typed URL as the place that results go to, and the template (or name of one file) below it, if there is one.

    The template begins with the first part in braces; a last part with one of the suffixes is a file's name, unless
    it is the only one, which names a bucket. Raises UsageError for a URL whose bucket would be a template.
    """
    protocol, _, rest = text.partition("://")
    parts = rest.split("/")
    first = next((n for n, part in enumerate(parts) if "{" in part), None)
    named = [n for n, part in enumerate(parts) if part]
    if first is None and len(named) > 1 and named[-1] == len(parts) - 1:
        suffix = os.path.splitext(parts[-1])[1].lower()  # noqa: PTH122 - a URL's part is no path
        first = named[-1] if suffix in set(suffixes) else None
    if first is None:
        return Remote(text if rest.strip("/") == "" else text.rstrip("/")), None
    if first == named[0]:
        raise UsageError(f"-o {text}: name the bucket before the first braces")
    return Remote(f"{protocol}://{'/'.join(parts[:first])}"), "/".join(parts[first:])

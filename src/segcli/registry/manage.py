"""What of an entry is on this machine, how much room it takes, and how to free it."""

from __future__ import annotations

from pathlib import Path

from segcli.core.errors import StorageError, UsageError
from segcli.registry import notes, places, plugins
from segcli.registry.weights import Entry, File


def state(entry: Entry) -> str:
    """One word: bundled, cached, partly, local, missing, unpublished, gated or available. Touches no network."""
    if entry.bundled and not entry.files:
        return "bundled" if all(path.is_file() for path in places.bundled(entry)) else "missing"
    if not entry.files:
        return "unpublished"
    here = [places.ready(entry, file) or places.original(entry, file) for file in entry.files]
    if entry.folder:
        return "local" if all(here) else "missing"
    if all(here):
        return "cached"
    if any(here):
        return "partly"
    return "gated" if entry.gated else "available"


def remark(entry: Entry) -> str:
    """What keeps the entry from being opened by this seg, or ""."""
    return "" if plugins.is_built(entry.system) else "not built"


def holdings(entry: Entry) -> dict[Path, int]:
    """Files of the entry that seg pulled or made, with the bytes they take; partial downloads count."""
    paths: list[Path] = []
    for file in entry.files:
        if entry.folder:
            continue
        if original := places.original(entry, file):
            paths.append(original)
        paths += _partials(entry, file)
    folder = places.cache_home() / "converted" / entry.name
    if folder.is_dir():
        paths += sorted(path for path in folder.iterdir() if path.suffix != ".lock")
    return {path: path.stat().st_size for path in paths if path.is_file()}


def remove(entry: Entry) -> int:
    """Remove those files and return the bytes that became free. What other revisions share stays.

    Raises UsageError for bundled files and the user's own, StorageError when a file can't be removed.
    """
    if entry.bundled:
        raise UsageError(f"{entry.name}: comes with seg and stays; pull and rm are for the others")
    if entry.folder:
        raise UsageError(f"{entry.name}: lies in your own folder {entry.folder}; remove it there")
    freed = 0
    for path, size in holdings(entry).items():
        blob = path.resolve()
        try:
            path.unlink()
            if blob != path and not _shared(entry, blob):
                blob.unlink(missing_ok=True)
            freed += size if not blob.exists() else 0
        except OSError as error:
            raise StorageError(f"{path}: can't be removed ({error.strerror or error})") from error
    for file in entry.files:
        notes.note(f"{entry.name}/{file.name}", None)
    return freed


def _partials(entry: Entry, file: File) -> list[Path]:
    if entry.url:
        return [places.cache_home() / "files" / entry.name / (file.name + ".incomplete")]
    return [places.repository_folder(entry) / "blobs" / f"{file.sha256}.incomplete"] if file.sha256 else []


def _shared(entry: Entry, blob: Path) -> bool:
    """True while a snapshot still links to `blob`."""
    snapshots = places.repository_folder(entry) / "snapshots"
    return any(link.is_symlink() and link.resolve() == blob for link in snapshots.rglob("*"))

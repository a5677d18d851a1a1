"""Make the files of an entry ready to open: pulled from where they are published, pickles converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segcli.core.errors import CheckpointError
from segcli.registry import hashes, hub, notes, places
from segcli.registry.download import Progress, Wanted, download, nothing
from segcli.registry.files import locked
from segcli.registry.local import describe
from segcli.registry.sizes import words
from segcli.registry.web import Patience
from segcli.registry.weights import Entry, File

Say = Callable[[str], None]


def make_ready(
    entry: Entry,
    file: File,
    *,
    offline: bool = False,
    say: Say,
    progress: Progress = nothing,
    patience: Patience | None = None,
) -> Path:
    """The safetensors file of `file`, after pulling and converting whatever is not here yet.

    Raises CheckpointError (not to be had, offline, broken), StorageError (no room, not writable).
    """
    if here := places.ready(entry, file):
        return here
    path = _original(entry, file, offline=offline, say=say, progress=progress, patience=patience)
    if not file.is_pickle:
        hashes.check_pin(entry, file, path)
        return path
    return _converted(entry, file, path, say)


def _original(
    entry: Entry, file: File, *, offline: bool, say: Say, progress: Progress, patience: Patience | None
) -> Path:
    """The published file on this machine."""
    if here := places.original(entry, file):
        return here
    if link := places.stray(entry, file):
        raise CheckpointError(f"{entry.name}: {link} leads out of the hub's cache; remove it, then pull again")
    if entry.folder:
        raise CheckpointError(f"{entry.name}: {Path(entry.folder) / file.name} is missing; correct {entry.source}")
    if hub.is_offline(offline):
        raise CheckpointError(
            f"{entry.name}: is not on this machine and seg is offline; type `seg models pull {entry.name}` "
            "where there is a network"
        )
    key = f"{entry.name}/{file.name}"
    pinned = notes.pinned(entry, file)
    if entry.url:
        path, sha256, size, commit = *_from_web(entry, pinned, say, progress, patience), ""
    else:
        path, published, sha256 = hub.fetch(entry, pinned, say=say, patience=patience, progress=progress)
        size, commit = path.stat().st_size, published.commit
    notes.note(key, {"sha256": sha256, "size": size, "commit": commit})
    return path


def _from_web(
    entry: Entry, file: File, say: Say, progress: Progress, patience: Patience | None
) -> tuple[Path, str, int]:
    """A file that lies outside of the hub, into seg's own cache."""
    place = places.cache_home() / "files" / entry.name / file.name
    what = f"{entry.name}: {file.name}"
    with locked(
        place.with_name(place.name + ".lock"), f"{entry.name}: another process is downloading it; waiting", say
    ):
        sha256 = file.sha256
        if not place.is_file():
            size = words(file.size) if file.size else file.about or "of unknown size"
            say(f"seg: pulling {what}, {size}, from {entry.url} ({entry.licence or 'no licence given'})")
            wanted = Wanted(entry.url.rstrip("/") + "/" + file.name, {}, file.size or None, sha256, "", what)
            sha256 = download(wanted, place, patience or Patience.from_environment(), progress)
    return place, sha256, place.stat().st_size


def _converted(entry: Entry, file: File, pickle: Path, say: Say) -> Path:
    """The pickle as sealed safetensors in seg's cache; processes that want the same wait for the one that writes."""
    target = places.converted(entry, file)
    waiting = f"{entry.name}: another process is converting it; waiting"
    with locked(target.with_name(target.name + ".lock"), waiting, say):
        if not target.is_file():
            from segcli.registry.convert import convert

            hashes.check_pin(entry, file, pickle)
            say(f"seg: converting {entry.name}: {file.name} to safetensors, once")
            convert(pickle, target, describe(entry), say=say)
    return target

"""Make the files of an entry ready to open: pulled from where they are published, pickles converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segcli.core.errors import CheckpointError
from segcli.registry import hub, notes, places
from segcli.registry.download import Progress, Wanted, download, nothing
from segcli.registry.files import locked, sha256_of
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
    path, sha256 = _original(entry, file, offline=offline, say=say, progress=progress, patience=patience)
    if not file.is_pickle:
        return path
    return _converted(entry, file, path, sha256, say)


def _original(
    entry: Entry, file: File, *, offline: bool, say: Say, progress: Progress, patience: Patience | None
) -> tuple[Path, str]:
    """The published file on this machine and its sha256 ("" when it was here before)."""
    if here := places.original(entry, file):
        return here, ""
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
    noted = notes.recall().get(key, {})
    if not file.sha256 and isinstance(noted.get("sha256"), str):
        # Pinned at the first pull: the publisher gave no hash, but the file must stay the same one.
        file = File(file.name, file.size, noted["sha256"], file.about)
    if entry.url:
        path, sha256, size, commit = *_from_web(entry, file, say, progress, patience), ""
    else:
        path, published, sha256 = hub.fetch(entry, file, say=say, patience=patience, progress=progress)
        size, commit = path.stat().st_size, published.commit
    notes.note(key, {"sha256": sha256, "size": size, "commit": commit})
    return path, sha256


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


def _converted(entry: Entry, file: File, pickle: Path, sha256: str, say: Say) -> Path:
    """The pickle as sealed safetensors in seg's cache; processes that want the same wait for the one that writes."""
    target = places.converted(entry, file)
    waiting = f"{entry.name}: another process is converting it; waiting"
    with locked(target.with_name(target.name + ".lock"), waiting, say):
        if not target.is_file():
            from segcli.registry.convert import convert

            _check(entry, file, pickle, sha256)
            say(f"seg: converting {entry.name}: {file.name} to safetensors, once")
            convert(pickle, target, describe(entry), say=say)
    return target


def _check(entry: Entry, file: File, pickle: Path, sha256: str) -> None:
    """Hold a pickle to its pins before it is read; `sha256` is given when it was downloaded just now."""
    places.check_size(entry, file, pickle)
    if not file.sha256 or sha256 == file.sha256:
        return
    found = sha256_of(pickle)
    if found != file.sha256:
        raise CheckpointError(
            f"{entry.name}: {pickle} is not the pinned file (sha256 {found[:12]}…); "
            f"type `seg models rm {entry.name}`, then pull it again"
        )

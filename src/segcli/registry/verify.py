"""Whether the files of an entry, as they lie here, are what they should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from segcli.core.errors import SegError
from segcli.registry import hashes, notes, places, writer
from segcli.registry.files import sha256_of
from segcli.registry.header import read_header
from segcli.registry.weights import Entry, File


@dataclass(frozen=True)
class Finding:
    """One file: sound, broken, or not here. `words` says what was checked or what is wrong."""

    entry: str
    path: Path | None
    state: str  # "sound", "broken", "absent"
    words: str


def verify(entry: Entry) -> Iterator[Finding]:
    """Read every file of `entry` to its end: size, hash, header, seal, NaN."""
    for shipped in places.bundled(entry):
        yield _finding(entry.name, shipped, _safetensors, shipped)
    for file in entry.files:
        path = places.original(entry, file)
        made = places.converted(entry, file) if file.is_pickle else None
        if path is not None:
            yield _finding(entry.name, path, _published, entry, file, path)
        if made is not None and made.is_file():
            yield _finding(entry.name, made, _safetensors, made)
        elif path is None:
            yield Finding(entry.name, None, "absent", f"{file.name}: not here; type `seg models pull {entry.name}`")


def verify_file(path: Path) -> Finding:
    """Read a safetensors file that no entry names to its end."""
    return _finding(path.name, path, _safetensors, path)


def _finding(name: str, path: Path, check: Callable[..., str], *about: object) -> Finding:
    try:
        return Finding(name, path, "sound", check(*about))
    except SegError as error:
        return Finding(name, path, "broken", str(error))


def _published(entry: Entry, file: File, path: Path) -> str:
    """Against the pinned hash, the one noted at the first pull, or the one that the hub's cache names it by."""
    pinned = notes.pinned(entry, file)
    blob = path.resolve()
    origin = "the pinned sha256" if file.sha256 else "the sha256 noted at the first pull"
    if not pinned.sha256 and blob.parent.name == "blobs" and len(blob.name) == 64:
        pinned, origin = replace(file, sha256=blob.name), "the sha256 of the hub's cache"
    hashes.check_pin(entry, pinned, path, read=sha256_of)
    checked = [origin] if pinned.sha256 else []
    if path.suffix == ".safetensors":
        checked.append(_safetensors(path))
    return "; ".join(checked) or "readable; no hash is known"


def _safetensors(path: Path) -> str:
    from segcli.registry.tensors import TensorFiles

    read_header(path)
    seal = writer.check_seal(path)
    with TensorFiles([path]) as tensors:
        for name in tensors:
            tensors[name]
        count = len(tensors)
    return f"{'seal, ' if seal else ''}header, {count} tensors without NaN"

"""The index of a checkpoint in several safetensors files: which tensor is in which file."""

from __future__ import annotations

import json
from pathlib import Path

from segcli.core.errors import CheckpointError
from segcli.registry.header import read_header
from segcli.registry.weights import is_plain

SUFFIX = ".safetensors.index.json"
_LARGEST = 64_000_000


def shards(index: Path) -> list[Path]:
    """The files that `index` names, each in the index's own folder, together holding exactly the tensors it names.

    Raises CheckpointError, also for names or links that lead out of the folder.
    """
    try:
        if index.stat().st_size > _LARGEST:
            raise CheckpointError(f"{index}: is too large for an index; give the one of the checkpoint's folder")
        table = json.loads(index.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{index}: can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{index}: is not JSON; get it again") from error
    places = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(v, str) for v in places.values()):
        raise CheckpointError(f"{index}: has no weight_map of tensors and files; get it again")
    folder = index.resolve().parent
    paths = []
    for name in dict.fromkeys(places.values()):
        path = index.parent / name
        if "/" in name or not is_plain(name) or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"{index}: names the file {name[:80]!r}, which is not one of its folder; do not use it"
            )
        if not path.is_file():
            raise CheckpointError(f"{index}: its file {name} is missing; get it again")
        _stays(path, folder, index)
        held = set(read_header(path).tensors)
        named = {key for key, place in places.items() if place == name}
        if held != named:
            odd = sorted(held ^ named)[0]
            raise CheckpointError(f"{index}: it and {name} disagree about tensor {odd[:80]!r}; get both again")
        paths.append(path)
    return paths


def _stays(path: Path, folder: Path, index: Path) -> None:
    """A link may lead to the blobs of the same repository in a hub's cache (two folders up), and nowhere else."""
    real = path.resolve()
    roots = [folder]
    if folder.parent.name == "snapshots":
        roots.append(folder.parent.parent / "blobs")
    if folder.name == "blobs":  # the index itself was a link into the cache
        roots.append(index.absolute().parent)
    if not any(real.is_relative_to(root) for root in roots):
        raise CheckpointError(f"{index}: its file {path.name} is a link to somewhere else; do not use it")

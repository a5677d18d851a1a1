"""What seg learned by itself: hashes and sizes of files whose publisher gives none, noted at their first pull.

One JSON file in the state folder; weights.toml is never written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segcli.core.errors import StorageError
from segcli.registry import places
from segcli.registry.files import locked, write_text
from segcli.registry.weights import Entry, File


def _path() -> Path:
    return places.state_home() / "checkpoints.json"


def recall() -> dict[str, dict[str, Any]]:
    """All notes: "entry/file" -> sha256, size, commit. Raises StorageError when the file is damaged."""
    path = _path()
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{path}: can't be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(notes, dict) or not all(isinstance(note, dict) for note in notes.values()):
        raise _damaged(path)
    return notes


def pinned(entry: Entry, file: File) -> File:
    """`file`, with the sha256 noted at its first pull where weights.toml has none: it must stay the same file."""
    if file.sha256:
        return file
    noted = recall().get(f"{entry.name}/{file.name}", {}).get("sha256")
    return replace(file, sha256=noted) if isinstance(noted, str) else file


def note(key: str, facts: Mapping[str, Any] | None) -> None:
    """Keep `facts` under `key`; None forgets them. Raises StorageError."""
    path = _path()
    with locked(path.with_suffix(".lock"), f"{path}: another process writes it; waiting", lambda line: None):
        notes = recall()
        if facts is None:
            if notes.pop(key, None) is None:
                return
        elif notes.get(key) == dict(facts):
            return
        else:
            notes[key] = dict(facts)
        try:
            write_text(path, json.dumps(notes, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise StorageError(f"{path}: can't be written ({error.strerror or error}); set SEG_STATE") from error


def _damaged(path: Path) -> StorageError:
    return StorageError(f"{path}: is damaged; remove it, the next pull writes it again")

"""A safetensors file as a checkpoint: it says itself, in its metadata, what it is.

seg.system    seem                  seg.config    a preset's name, or the config's values as a JSON object
seg.accepts   point,box             seg.keys      the key table; "seg" (our own names) when absent
seg.licence   words                 seg.bundled   files of seg that are read before this one, separated by commas
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcli.core.errors import CheckpointError, UsageError
from segcli.registry.header import read_header
from segcli.registry.weights import ACCEPTS, Entry, File, is_plain


def entry_of_file(path: Path) -> Entry:
    """The entry that a safetensors file describes.

    Raises CheckpointError (missing, broken, does not say what it is) or UsageError (a pickle).
    """
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: seg opens safetensors only; first type `seg models convert {path}`")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; see `seg models list` for checkpoints that seg knows")
    metadata = read_header(path).metadata
    for key in ("seg.system", "seg.config", "seg.accepts"):
        if not metadata.get(key):
            raise CheckpointError(
                f"{path}: does not say what it is (no {key} in its metadata); "
                f"type `seg models convert {path} -o NEW.safetensors --as NAME` with the entry that it is like"
            )
    accepts = frozenset(filter(None, metadata["seg.accepts"].split(",")))
    bundled = tuple(filter(None, metadata.get("seg.bundled", "").split(",")))
    if not accepts <= set(ACCEPTS) or not all(is_plain(name) for name in bundled):
        raise CheckpointError(f"{path}: seg.accepts or seg.bundled in its metadata can't be true; convert it again")
    return Entry(
        name=path.stem,
        system=metadata["seg.system"],
        config=_config(path, metadata["seg.config"]),
        keys=metadata.get("seg.keys", "seg"),
        licence=metadata.get("seg.licence", ""),
        accepts=accepts,
        folder=str(path.parent),
        files=(File(path.name, path.stat().st_size),),
        bundled=bundled,
        source=str(path),
    )


def describe(entry: Entry) -> dict[str, str]:
    """Metadata that makes a file stand for `entry` on its own."""
    config = entry.config if isinstance(entry.config, str) else json.dumps(dict(entry.config), sort_keys=True)
    metadata = {
        "seg.system": entry.system,
        "seg.config": config,
        "seg.accepts": ",".join(sorted(entry.accepts)),
        "seg.keys": entry.keys,
        "seg.licence": entry.licence,
    }
    return {key: value for key, value in metadata.items() if value}


def _config(path: Path, text: str) -> str | Mapping[str, Any]:
    if not text.startswith("{"):
        return text
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: seg.config in its metadata is not JSON; convert it again") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: seg.config in its metadata is not a table; convert it again")
    return config

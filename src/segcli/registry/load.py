"""From a checkpoint's name to a model that answers."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from segcli.core.errors import CheckpointError, DeviceError
from segcli.registry import hashes, places, plugins
from segcli.registry.device import check_words, resolve
from segcli.registry.weights import Entry, find

if TYPE_CHECKING:
    from segcli.models.api import Promptable

Say = Callable[[str], None]


def to_stderr(line: str) -> None:
    """The default for everything that a person should know."""
    print(line, file=sys.stderr, flush=True)


def open_model(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    threads: int | None = None,
    offline: bool = False,
    say: Say = to_stderr,
    quiet: bool = False,
) -> Promptable:
    """Open the checkpoint that `name` means (an entry, a glob that fits one, or a safetensors file).

    Files that are not here are pulled first, after a line that says how large they are, unless `offline`.
    `say` gets those lines and the device that "auto" chose; `quiet` leaves the progress bars of downloads away.

    Raises UsageError (unknown name, device or dtype word), CheckpointError (missing, broken, not to be had, keys that
    do not fit), DeviceError (no such device, no memory), StorageError (no room for the download).
    """
    entry = find(name)
    check_words(device, dtype)
    build = plugins.builder(entry.system)
    paths = files_of(entry, offline=offline, say=say, quiet=quiet)
    revision = revision_of(paths)
    place = resolve(device, dtype)
    if place.chosen:
        say(f"seg: {entry.name} on {place}")
    import torch

    from segcli.registry.tensors import TensorFiles

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        weights = [path for path in paths if path.suffix == ".safetensors"]
        beside = {path.name: path for path in paths if path not in weights}
        with TensorFiles(weights, place.device, place.dtype, beside) as tensors:
            model: Promptable = build(
                entry.config,
                tensors,
                keys=entry.keys,
                name=entry.name,
                revision=revision,
                device=place.device,
                dtype=place.dtype,
                seed=seed,
            )
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{entry.name}: {place.device} has not enough memory for it; type --dtype bf16, or --device cpu"
        ) from error
    return model


def files_of(entry: Entry, *, offline: bool = False, say: Say = to_stderr, quiet: bool = False) -> list[Path]:
    """The files of `entry` in the order in which they are read, pulled and converted to safetensors when needed.

    Raises CheckpointError or StorageError as `open_model` does.
    """
    paths = places.bundled(entry)
    for path in paths:
        if not path.is_file():
            raise CheckpointError(f"{entry.name}: {path.name} is missing from this installation; install seg again")
    for file in entry.files:
        path_now = places.ready(entry, file)
        if path_now is None:
            from segcli.registry.bars import Bars
            from segcli.registry.pull import make_ready

            with Bars(show=not quiet) as bars:
                path_now = make_ready(entry, file, offline=offline, say=say, progress=bars.bar(file.name))
        elif not file.is_pickle:
            hashes.check_pin(entry, file, path_now)
        paths.append(path_now)
    if not paths:
        raise CheckpointError(f"{entry.name}: has no files to open{': ' + entry.notes if entry.notes else ''}")
    return paths


def revision_of(paths: list[Path]) -> str:
    """Hash of the weights' bytes, the part of a journal's fingerprint that names the model: 16 hex digits.

    Raises CheckpointError when a sealed file was changed since it was written.
    """
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashes.content(path).encode())
    return whole.hexdigest()[:16]

"""What the commands of `seg train` share: options that mean the same everywhere, and the way into a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from segcli.core.errors import StorageError

Masked = Annotated[
    list[str],
    typer.Option("--data", metavar="DIR", help="A folder with images/ and masks/, or one of such folders. Repeatable."),
]
MaskedOrPacked = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="DIR|FILE",
        help="A folder with images/ and masks/ (object ids, 255 ignored), or a pack. Repeatable.",
    ),
]
Named = Annotated[
    list[str],
    typer.Option("--data", metavar="DIR", help="Photos with masks; objects.jsonl names their classes. Repeatable."),
]
Out = Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Where state, log and checkpoint go.")]
Backbone = Annotated[
    str | None, typer.Option("--backbone", metavar="FILE", help="Frozen backbone (default: the bundled one).")
]
NanoBackbone = Annotated[
    str | None, typer.Option("--backbone", metavar="FILE", help="nano: frozen backbone, if not the bundled one.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:N or auto.")]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")]


def begin(folders: Sequence[str], device: str, threads: int | None) -> Callable[[], str]:
    """Check what can be checked before torch is imported, then set its threads; what it returns names the device.

    Raises StorageError for a folder that is not there, UsageError for an unknown device.
    """
    from segcli.registry.device import check_words, resolve

    check_words(device, "auto")
    there(folders)
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return lambda: str(resolve(device).device)


def there(folders: Sequence[str], *, packs: bool = True) -> None:
    """Raise StorageError for data that is not there, or is a file where packs are not taken."""
    for typed in folders:
        if not (Path(typed).exists() if packs else Path(typed).is_dir()):
            what = "no such folder or pack" if packs else "no such folder"
            raise StorageError(f"{typed}: {what}; give a folder that holds images/ and masks/")


@contextmanager
def owned(out: Path) -> Iterator[None]:
    """A run's folder for this process alone, until it ends in whatever way; made if it is not there.

    Under torchrun the first process has it for all. Raises StorageError when another run is writing there.
    """
    if int(os.environ.get("RANK", "0")):
        yield
        return
    from segcli.io import atomic
    from segcli.pipeline.lock import Lock

    atomic.make_directory(out)
    lock = Lock(out, None)
    try:
        yield
    finally:
        lock.release()


def lite(given: str | None) -> Path:
    """The frozen backbone: the one that was typed, or the bundled one."""
    from segcli.registry.places import BUNDLED

    return Path(given) if given else BUNDLED / "lite0.safetensors"


def paths(given: Sequence[str]) -> tuple[Path, ...]:
    """Words as paths."""
    return tuple(Path(word) for word in given)


def optional(text: str | None) -> Path | None:
    """A path, where one was typed."""
    return None if text is None else Path(text)


def say(what: str) -> Callable[[str], None]:
    """What tells people how a run goes on."""
    return lambda line: print(f"seg train {what}: {line}", file=sys.stderr, flush=True)

"""What a verb hands to the pipeline: everything that will be done, decided before any weight is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from segcli.core.ask import Ask
from segcli.io.formats.contract import Options


@dataclass(frozen=True)
class Item:
    """One photo with its asks.

    source:   a file, or None for image bytes on stdin (`data`).
    relative: path below the directory that was given, mirrored in the output; a plain name for single files.
    asks:     functions of the photo's size are resolved by `Item.asks` being given in pixels or fractions upstream.
    """

    relative: PurePosixPath
    source: Path | None
    asks: tuple[Ask, ...]
    data: bytes | None = None

    @property
    def key(self) -> str:
        """Stable name of the item: sharding and the journal go by it."""
        return str(self.relative)


@dataclass(frozen=True)
class Output:
    """Where results go. `template` is relative to `directory`; None uses the formats' default names."""

    directory: Path | None  # None: stdout
    template: str | None = None
    formats: tuple[str, ...] = ("mask",)
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Plan:
    """A whole run. `fingerprint` names everything that decides the bytes of the results (verb, model revision,
    options, seed); an existing output is skipped when its journal entry carries the same one."""

    items: Sequence[Item]
    output: Output
    fingerprint: str
    model: str

"""What a verb hands to the pipeline: everything that will be done, decided before any weight is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from segcli.core.ask import Ask
from segcli.io.formats.contract import Format, Options
from segcli.io.remote import Source

Rounds = tuple[Ask, ...]
"""One object asked for in one or more rounds: each round's best mask is the next round's `previous`."""

Asks = Callable[[tuple[int, int]], Sequence[Ask | Rounds]]
"""From a photo's size (H, W) to its asks: how prompts in fractions, or mask files to be checked, enter a plan."""


@dataclass(frozen=True)
class Item:
    """One photo with its asks.

    source:   a file or an object in a store, or None for image bytes on stdin (`data`).
    relative: path below the directory that was given, mirrored in the output; a plain name for single files.
    asks:     the asks themselves (an inner tuple is one object asked in rounds), or a function from the photo's size
              to them; such a function raises UsageError when a prompt does not fit the photo.
    asked:    a stable text that says what a function of `asks` will ask (its prompt line); needed with a function,
              because the journal compares what was asked.
    name:     what messages and records call the photo; the source as the user gave it.
    """

    relative: PurePosixPath
    source: Source | None
    asks: tuple[Ask | Rounds, ...] | Asks
    data: bytes | None = None
    asked: str = ""

    def __post_init__(self) -> None:
        if callable(self.asks) and not self.asked:
            raise ValueError("asks that are a function need `asked`, a text that names them")
        if (self.source is None) == (self.data is None):
            raise ValueError("an item is a file or bytes")

    @property
    def key(self) -> str:
        """Stable name of the item: sharding and the journal go by it."""
        return str(self.relative)

    @property
    def name(self) -> str:
        """What messages and records call the photo."""
        return "-" if self.source is None else str(self.source)

    def rounds(self, size: tuple[int, int]) -> list[Rounds]:
        """The asks for a photo of that size (H, W), each as its rounds."""
        asks = self.asks(size) if callable(self.asks) else self.asks
        return [(ask,) if isinstance(ask, Ask) else ask for ask in asks]


ONE_FILE = {"coco": ".json", "jsonl": ".jsonl"}
"""Formats that write nothing but one file for the whole run, with its suffix."""


@dataclass(frozen=True)
class Output:
    """Where results go. `template` is relative to `directory`; None uses the default names (see `names`)."""

    directory: Source | None  # None: stdout
    template: str | None = None
    formats: tuple[str, ...] = ("mask",)
    options: Options = field(default_factory=Options)

    @property
    def one_file(self) -> str | None:
        """What the one file for the whole run was named, where there will be no other ("all.jsonl"), or None."""
        if self.template is None or "{" in self.template or len(self.formats) != 1:
            return None
        return self.template if self.template.lower().endswith(ONE_FILE.get(self.formats[0], "/")) else None

    def joins(self, asks: Sequence[Ask]) -> bool:
        """Whether a photo's asks go into one file of formats that can hold several objects.

        So it is, unless the template names the ask, or one of them is about the whole photo.
        """
        apart = self.template is not None and "{ask}" in self.template
        return len(asks) > 1 and not apart and all(ask.kind is None for ask in asks)

    def run_file(self, form: Format) -> str | None:
        """What a format's file for the whole run is called, by its path below the directory, or None."""
        return self.one_file or form.run_file


@dataclass(frozen=True)
class Plan:
    """A whole run, the same one for every shard of it.

    fingerprint: names what decides the results besides the asks and the output, which the pipeline adds itself:
                 verb, model revision, seed, dtype, … (see `fingerprint`). An existing output is skipped when its
                 journal entry carries the same one.
    model:       the model's name, as records show it.
    """

    items: Sequence[Item]
    output: Output
    fingerprint: str
    model: str

    @cached_property
    def run_fingerprint(self) -> str:
        """The fingerprint with the output's template, formats and options in it."""
        output = self.output
        named = {} if output.one_file is None else {"one_file": output.one_file}
        return fingerprint(
            run=self.fingerprint,
            template=output.template,
            formats=output.formats,
            options=asdict(output.options),
            **named,
        )

    def item_fingerprint(self, item: Item) -> str:
        """The run's fingerprint with what is asked of one photo in it."""
        asked = item.asked if callable(item.asks) else repr(item.asks)
        return fingerprint(run=self.run_fingerprint, asked=asked)


def fingerprint(**parts: Any) -> str:
    """A short hash of plain values by name; equal values give equal hashes on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]

"""`--prompts FILE`: many photos with many asks, a JSON line each.

    {"image": "a.jpg", "at": [[120, 80]], "id": "cat"}
    {"image": "a.jpg", "box": [["10%", "10%", "60%", "90%"]]}
    {"image": "b.jpg", "rounds": [{"at": [[9, 9]]}, {"at": [[9, 9]], "not_at": [[90, 9]]}]}

Lines about one photo make one item. All lines are understood before anything is read; what depends on a photo (its
size, a mask file) fails that photo alone.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcli.core.ask import Ask
from segcli.core.errors import ItemError, UsageError
from segcli.core.rle import Rle
from segcli.io.images import read_mask
from segcli.io.inputs import expand
from segcli.io.stream import ask_from_json, loads
from segcli.pipeline.plan import Item, Rounds

_NOWHERE = Rle((1, 1), b"1")
"""Stands for a mask file until its photo's turn comes."""


@dataclass(frozen=True)
class Line:
    """One line, understood: `asks` are its rounds as JSON, `files` the masks that they name."""

    image: str
    where: str
    asks: tuple[dict[str, Any], ...]
    files: tuple[str, ...]
    kinds: frozenset[str]

    def rounds(self) -> Rounds:
        """The asks, with their mask files read. Raises ItemError."""
        return tuple(ask_from_json(ask, self.where, lambda path: read_mask(Path(path), path)) for ask in self.asks)

    @property
    def asked(self) -> str:
        """A text that is equal when the same is asked, mask files included."""
        return json.dumps([self.asks, [(file, *_state(file)) for file in self.files]], sort_keys=True)


def read(source: str) -> list[Line]:
    """The lines of a prompts file. Raises UsageError that names the file and the line."""
    try:
        text = Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"--prompts {source}: can't be read: {reason.lower()}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise UsageError(f'--prompts {source}: is empty; a line is for example {{"image": "a.jpg", "at": [[120, 80]]}}')
    return [line_of(line, f"{source}:{number}") for number, line in lines]


def line_of(text: bytes | str, where: str) -> Line:
    """One line. Raises UsageError that starts with `where`."""
    try:
        value = loads(text, where)
        image = value.pop("image", None)
        if not isinstance(image, str) or not image:
            raise ItemError(f'{where}: "image" must name a photo')
        rounds = value.pop("rounds", None)
        if rounds is None:
            rounds = [value]
        elif not isinstance(rounds, list) or not rounds or set(value) - {"id"}:
            raise ItemError(f'{where}: "rounds" is a list of asks and stands beside "image" and "id" only')
        named: list[str] = []
        asks = [ask_from_json(ask, where, _collect(named)) for ask in rounds]
        if any(not ask.has_positive for ask in asks):
            raise ItemError(f'{where}: nothing is pointed at; give "at", "box" or another prompt')
    except ItemError as error:
        raise UsageError(str(error)) from None
    if "id" in value:
        rounds = [{**ask, "id": value["id"]} for ask in rounds]
    kinds = frozenset(str(kind) for ask in asks for kind in ask.kinds)
    return Line(image, where, tuple(rounds), tuple(named), kinds)


def items(lines: list[Line]) -> list[Item]:
    """One item a photo, in the order in which the photos are first named. Raises UsageError, StorageError."""
    by_image: dict[str, list[Line]] = {}
    for line in lines:
        by_image.setdefault(str(Path(line.image)), []).append(line)
    names = b"\0".join(os.fsencode(name) for name in by_image)
    found = expand([], files_from="-", null=True, stdin=io.BytesIO(names))
    return [
        Item(
            one.relative,
            one.source,
            _asks(by_image[one.name]),
            asked="\n".join(line.asked for line in by_image[one.name]),
        )
        for one in found.inputs
    ]


def _asks(lines: list[Line]) -> Callable[[tuple[int, int]], list[Ask | Rounds]]:
    def asks(size: tuple[int, int]) -> list[Ask | Rounds]:
        return [line.rounds() for line in lines]

    return asks


def _collect(named: list[str]) -> Callable[[str], Rle]:
    def note(path: str) -> Rle:
        named.append(path)
        return _NOWHERE

    return note


def _state(file: str) -> tuple[int, int]:
    """Size and time of a file, which tell whether it is the one of the last run; (-1, -1) when it is not there."""
    try:
        status = Path(file).stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns

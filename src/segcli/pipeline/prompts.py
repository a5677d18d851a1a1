"""Prompt lines: one JSON object an ask, from a file for many photos or from a pipe for a session.

    {"image": "a.jpg", "id": "7", "at": [[120, 80]], "not_at": [[10, "50%"]]}
    {"image": "a.jpg", "id": "7", "at": [[120, 80], [90, 60]], "refine": true}
    {"image": "b.jpg", "rounds": [{"at": [[5, 5]]}, {"at": [[5, 5]], "not_at": [[9, 9]]}]}

`image` names the photo, `id` the object; everything else is an ask as `segcli.io.stream` reads it. `rounds` asks for
one object several times: each round's answer is the memory of the next. `refine` (in a session) takes the memory from
the latest answer to the same `image` and `id`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segcli.core.ask import Ask
from segcli.core.errors import ItemError
from segcli.core.rle import Rle
from segcli.io import stream
from segcli.io.images import read_mask
from segcli.pipeline.plan import Rounds


@dataclass(frozen=True)
class PromptLine:
    """One line: a photo, and one object asked for in one or more rounds."""

    image: str
    rounds: Rounds
    refine: bool = False

    @property
    def id(self) -> str | None:
        """The object's name."""
        return self.rounds[0].id


def parse(text: bytes | str, name: str) -> PromptLine:
    """Read one line. Mask files that it names are read. Raises ItemError with one line that starts with `name`."""
    value = stream.loads(text, name)
    image, rounds, refine = (value.pop(key, None) for key in ("image", "rounds", "refine"))
    if not isinstance(image, str) or not image:
        raise ItemError(f'{name}: which photo? give "image": "FILE"')
    if refine not in (None, True, False):
        raise ItemError(f"{name}: 'refine' is true or false")
    if rounds is None:
        asks: tuple[Ask, ...] = (_ask(value, name),)
    else:
        if not isinstance(rounds, list) or not rounds:
            raise ItemError(f"{name}: 'rounds' is a list of asks, such as [{{\"at\": [[120, 80]]}}]")
        if extra := [key for key in value if key != "id"]:
            raise ItemError(f"{name}: '{extra[0]}' belongs into one of the rounds")
        ident = None if value.get("id") is None else str(value["id"])
        asks = tuple(
            replace(_ask(entry, f"{name}: round {number}"), id=ident) for number, entry in enumerate(rounds, 1)
        )
    return PromptLine(image, asks, bool(refine))


def _ask(value: Any, name: str) -> Ask:
    def mask(path: str) -> Rle:
        return read_mask(Path(path), path)

    ask = stream.ask_from_json(value, name, mask)
    if not ask.kinds:
        raise ItemError(f'{name}: nothing is asked: give for example "at": [[120, 80]]')
    return ask

"""Large JSON objects in passing: where their entries lie in the file, without holding the file.

The file is scanned as Latin-1, in which a character is a byte: what is not ASCII stands only inside of strings, where
the scanner does not look. An entry is then read as UTF-8, by its place.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from segcli.core.errors import ItemError
from segcli.io.images import open_bytes

_BLOCK = 1 << 18
_SPACE = " \t\r\n"
_BEHIND = (*_SPACE, ",", "]", "}")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Place:
    """Where a value stands in a file, in bytes, and under which key. `listed`: as an entry of the key's list."""

    key: str
    start: int
    stop: int
    listed: bool

    def read(self, file: BinaryIO) -> Any:
        """The value."""
        file.seek(self.start)
        return json.loads(file.read(self.stop - self.start))


def scan(file: BinaryIO, lists: Container[str]) -> Iterator[tuple[Place, Any]]:
    """Every value of the JSON object that a file holds, with its place.

    The lists of these keys come entry by entry, an empty one as such.
    Texts in the values are Latin-1 here; `Place.read` gives them as they are. Raises ValueError when it is no JSON
    object, once all before the fault has been passed on.
    """
    text = _Text(file)
    text.expect("{")
    if text.peek() == "}":
        return
    while True:
        _, key, _ = text.value()
        if not isinstance(key, str):
            raise ValueError("a key is not a text")
        text.expect(":")
        if key in lists and text.peek() == "[":
            first = text.position
            text.expect("[")
            if text.peek() == "]":
                yield Place(key, first, text.position + 1, False), []
            while text.peek() != "]":
                start, value, stop = text.value()
                yield Place(key, start, stop, True), value
                if text.peek() == "]":
                    break
                text.expect(",")
            text.expect("]")
        else:
            start, value, stop = text.value()
            yield Place(key, start, stop, False), value
        if text.peek() == "}":
            return
        text.expect(",")


def open_json(path: Path) -> BinaryIO:
    """A JSON file, opened for `scan`. Raises ItemError when it can't be read or is not in UTF-8."""
    file = open_bytes(path, str(path))
    head = file.read(4)
    encoding = json.detect_encoding(head)
    if encoding not in ("utf-8", "utf-8-sig"):
        file.close()
        raise ItemError(f"{path}: is {encoding.upper()}, JSON is UTF-8: save it so")
    file.seek(3 if encoding == "utf-8-sig" else 0)
    return file


class _Text:
    """A window of the file that moves on."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()  # of the window, in the file
        self._window, self._at, self._ended = "", 0, False

    @property
    def position(self) -> int:
        """Where in the file what comes next begins, in bytes; after `peek`."""
        return self._start + self._at

    def peek(self) -> str:
        """The next character that is no space. Raises ValueError at the end of the file."""
        while True:
            while self._at < len(self._window):
                if (character := self._window[self._at]) not in _SPACE:
                    return character
                self._at += 1
            self._more()

    def expect(self, character: str) -> None:
        """Pass that character. Raises ValueError when another one comes."""
        if self.peek() != character:
            raise ValueError(f"'{character}' is missing at byte {self.position}")
        self._at += 1

    def value(self) -> tuple[int, Any, int]:
        """Start, value and end of the next value. Raises ValueError."""
        self.peek()
        while True:
            try:
                value, stop = _DECODER.raw_decode(self._window, self._at)
                ends = self._window[stop : stop + 1] in _BEHIND if isinstance(value, int | float) else True
                if ends or self._ended:  # a number may go on behind the window
                    break
            except ValueError as error:
                if self._ended:
                    what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise ValueError(f"{what} at byte {self.position}") from None
            except RecursionError:
                raise ValueError(f"nested too deep at byte {self.position}") from None
            self._more(end=True)
        start, self._at = self._at, stop
        return self._start + start, value, self._start + stop

    def _more(self, *, end: bool = False) -> None:
        """Let the window begin here and reach further. Raises ValueError at the end of the file, unless `end`."""
        kept = self._window[self._at :]
        block = self._file.read(max(_BLOCK, len(kept)))  # twice as much each time, so that long values take no longer
        if not block and not end:
            raise ValueError("the file ends in the middle of it")
        self._ended = not block
        self._start += self._at
        self._window, self._at = kept + block.decode("latin-1"), 0

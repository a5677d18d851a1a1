"""Lists of classes: those of well-known data sets, of a file, or typed. Plain text, no numpy.

A list is a text file with a class a line: its name, and behind tabs (or commas) `thing` or `stuff`, and an id. Things
can be counted (cat), stuff can't (sky). Blank lines and lines that begin with # are passed over:

    cat
    sky         stuff
    traffic light   thing   10
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from segcli.core.errors import UsageError

KNOWN = ("coco", "ade20k", "voc")
"""Lists that come with seg: COCO panoptic's 133 classes, ADE20K's 150, PASCAL VOC's 20."""

_FOLDER = Path(__file__).parent / "class_lists"
_LINE = re.compile(r"(?P<name>.*?)(?:\s*[\t,]\s*(?P<kind>thing|stuff))?(?:\s*[\t,]\s*(?P<id>[0-9]+))?\s*")
_LARGEST_ID = (1 << 31) - 1


@dataclass(frozen=True)
class ClassList:
    """K classes. `things` and `ids` may be left out: nobody knows which can be counted, and ids are 1 to K.

    names:  K different names.
    things: K times whether it is countable; None where nobody said.
    ids:    K different positive numbers, which files with numbers in place of names write; 0 is no class.
    """

    names: tuple[str, ...] = ()
    things: tuple[bool | None, ...] = ()
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.names)
        object.__setattr__(self, "things", self.things or (None,) * count)
        object.__setattr__(self, "ids", self.ids or tuple(range(1, count + 1)))
        if not len(set(self.names)) == len(self.things) == len(set(self.ids)) == len(self.ids) == count:
            raise ValueError("names and ids differ from each other, and each name has one of all")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def stuff(self) -> tuple[str, ...]:
        """The names of those that can't be counted."""
        return tuple(name for name, thing in zip(self.names, self.things, strict=True) if thing is False)

    @property
    def said(self) -> tuple[bool | None, ...]:
        """`things` as an ask has them: nothing at all where nobody said anything."""
        return self.things if any(thing is not None for thing in self.things) else ()

    @property
    def id_of(self) -> dict[str, int]:
        """Name -> id."""
        return dict(zip(self.names, self.ids, strict=True))


def parse(text: str, option: str = "--classes") -> ClassList:
    """What a person typed: one of `KNOWN`, the name of a file, or words between commas, in this order.

    Raises UsageError, which begins with `option`.
    """
    word = text.strip()
    if word in KNOWN:
        return known(word)
    path = Path(text)
    if _is_file(path):
        return read(path, option)
    if "/" in word or path.suffix.lower() in (".txt", ".names", ".tsv", ".csv", ".json"):
        raise UsageError(f"{option} {text}: no such file; give one with a class a line, or {', '.join(KNOWN)}")
    return of_words(text.split(","), option)


def of_words(words: Iterable[str], option: str = "--classes") -> ClassList:
    """Classes by their names, each once. Raises UsageError when there are none."""
    names = tuple(dict.fromkeys(" ".join(word.split()) for word in words if word.strip()))
    if not names:
        raise UsageError(f"{option}: no words; type {', '.join(KNOWN)}, a file with a class a line, or cat,dog,person")
    return ClassList(names)


@cache
def known(name: str) -> ClassList:
    """One of the lists that come with seg. Raises KeyError for a name that is not in `KNOWN`."""
    if name not in KNOWN:
        raise KeyError(name)
    return read(_FOLDER / f"{name}.txt", "--classes")


def read(path: Path, option: str = "--classes") -> ClassList:
    """The list that a file holds. Raises UsageError, which begins with `option` and names the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{option} {path}: can't be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path}: is no text; give a file with a class a line") from None
    names: list[str] = []
    things: list[bool | None] = []
    ids: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        name = " ".join(found["name"].split()) if found else ""
        where = f"{option} {path}:{number}"
        if found is None or not name:
            raise UsageError(f"{where}: has no name; a line is a name, then thing or stuff behind a tab, then an id")
        if name in names:
            raise UsageError(f"{where}: {name!r} stands above already; give each class once")
        names.append(name)
        things.append(None if found["kind"] is None else found["kind"] == "thing")
        if found["id"] is not None:
            ids.append(_id(found["id"], ids, where))
    if not names:
        raise UsageError(f"{option} {path}: holds no classes; write one a line")
    if ids and len(ids) != len(names):
        raise UsageError(f"{option} {path}: some classes have no id, others do; give all one, or none")
    return ClassList(tuple(names), tuple(things), tuple(ids))


def _id(text: str, before: list[int], where: str) -> int:
    number = int(text)
    if not 0 < number <= _LARGEST_ID:
        raise UsageError(f"{where}: the id {number} is not between 1 and {_LARGEST_ID}")
    if number in before:
        raise UsageError(f"{where}: the id {number} is taken by a line above")
    return number


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() or path.is_fifo()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False

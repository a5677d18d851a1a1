"""Plans in TOML, read strictly: a word that nothing reads, or a value of another kind, is named with its file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from segcli.core.errors import UsageError

_C = TypeVar("_C")
_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text in quotes"),
    tuple: ((list,), "a list in [brackets]"),
}


def read_table(path: Path, like: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises UsageError that names it; `like` is a plan that shows how one looks."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {(error.strerror or str(error)).lower()}; see {like}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not TOML: {error}") from error


def only(values: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise UsageError for words that are not among the known ones."""
    known = sorted(known)
    if odd := sorted(set(values) - set(known)):
        raise UsageError(f"{where}: unknown {', '.join(odd)}; it may say {', '.join(known)}")


def filled(start: _C, values: Mapping[str, Any], where: str) -> _C:
    """The dataclass `start` with what a table says in place of its own values, lists as tuples.

    Raises UsageError for a word that it does not have, and for a value of another kind than its own.
    """
    if not isinstance(values, dict):
        raise UsageError(f"{where}: is {values!r}; it is a table of {', '.join(_names(start))}")
    only(values, _names(start), where)
    for name, value in values.items():
        right, words = _KINDS.get(type(getattr(start, name)), ((), ""))
        if right and (not isinstance(value, right) or (isinstance(value, bool) and bool not in right)):
            raise UsageError(f"{where}: {name} = {value!r}: type {words}")
    read = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    made: _C = replace(start, **read)  # type: ignore[type-var]
    return made


def _names(start: object) -> list[str]:
    return [f.name for f in fields(start)]  # type: ignore[arg-type]

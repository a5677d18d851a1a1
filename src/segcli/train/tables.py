"""Plans in TOML, read strictly: a word that nothing reads, or a value of another kind, is named with its file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
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
_ONE_OR_MORE = frozenset({
    "accumulate", "batch", "layers", "heads", "log_every", "objects", "photos", "photos_a_step", "points", "queries",
    "rounds", "save_every", "scenes", "side", "targets", "validate_every",
})  # fmt: skip
_ABOVE_NOTHING = frozenset({"clip", "lr", "minutes"})


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

    Raises UsageError for a word that it does not have, for a value of another kind than its own, and for a number that
    can't be meant: below 0, or 0 where there must be something.
    """
    if not isinstance(values, dict):
        raise UsageError(f"{where}: is {values!r}; it is a table of {', '.join(_names(start))}")
    only(values, _names(start), where)
    for name, value in values.items():
        if isinstance(value, dict):
            raise UsageError(f"{where}: {name}: a table does not belong here; see the plans in configs/")
        right, words = _KINDS.get(type(getattr(start, name)), ((), ""))
        if right and (not isinstance(value, right) or (isinstance(value, bool) and bool not in right)):
            raise UsageError(f"{where}: {name} = {value!r}: type {words}")
        _check_number(name, value, where)
    read = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    made: _C = replace(start, **read)  # type: ignore[type-var]
    return made


def whole(values: Mapping[str, Any], name: str, default: int, where: str) -> int:
    """A whole number from 0 on beside the tables, such as `seed`. Raises UsageError."""
    value = values.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{where}: {name} = {value!r}: type {_KINDS[int][1]}")
    _check_number(name, value, where)
    return value


def built(make: Callable[[], _C], where: str) -> _C:
    """The network that `make` builds from a plan's sizes. Raises UsageError where there is none of these sizes."""
    try:
        return make()
    except Exception as error:  # torch, transformers and Python each have words of their own
        words = " ".join(str(error).split())[:160] or type(error).__name__
        raise UsageError(f"{where}: no network can have these sizes ({words}); change them") from error


def _check_number(name: str, value: object, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if name in _ONE_OR_MORE and not value >= 1:
        raise UsageError(f"{where}: {name} = {value}: type 1 or more")
    if name in _ABOVE_NOTHING and not value > 0:
        raise UsageError(f"{where}: {name} = {value}: type a number above 0")
    if not value >= 0 or (math.isinf(value) and name != "minutes"):
        raise UsageError(f"{where}: {name} = {value}: type a number from 0 on")
    if name == "average" and value >= 1:
        raise UsageError(f"{where}: average = {value}: type a number below 1")


def _names(start: object) -> list[str]:
    return [f.name for f in fields(start)]  # type: ignore[arg-type]

"""Lists of classes as the language model reads them: which are things, how they are said, in how many passes."""

from __future__ import annotations

from collections.abc import Sequence

from segcli.core.classes import known
from segcli.core.errors import UsageError
from segcli.models.psalm.config import PsalmConfig
from segcli.models.psalm.layout import Piece, expand, length
from segcli.models.psalm.prompts import BACKGROUND, class_ids, class_prompt
from segcli.models.psalm.tokenizer import Tokenizer

_WHOLE_NAMES = 200
"""Up to as many classes a list of synonyms is said in full; in a longer list only its first word."""

_LISTS = ("coco", "ade20k", "voc")


def countable(names: Sequence[str], told: Sequence[bool | None] = ()) -> tuple[bool | None, ...]:
    """Whether each class is a thing: as told, else by the list that knows most of the names, else None."""
    tables = [dict(zip(known(which).names, known(which).things, strict=True)) for which in _LISTS]
    tables.sort(key=lambda table: -sum(name in table for name in names))
    said = told or [None] * len(names)
    return tuple(
        next((table[name] for table in tables if name in table), None) if one is None else one
        for name, one in zip(names, said, strict=True)
    )


def spoken(names: Sequence[str]) -> list[str]:
    """What is said for each class."""
    return list(names) if len(names) <= _WHOLE_NAMES else [name.split(",")[0] for name in names]


def passes(names: Sequence[str], tokenizer: Tokenizer, config: PsalmConfig) -> list[tuple[range, tuple[Piece, ...]]]:
    """The classes of each pass, by their places in `names`, with its prompt; one pass where all of them fit.

    Every pass ends with the background. Raises UsageError for a class that does not fit on its own.
    """
    words = [class_ids(name, tokenizer) for name in spoken(names)]
    background = class_ids(BACKGROUND, tokenizer)

    def prompt(places: range) -> tuple[Piece, ...]:
        chosen = [*(words[k] for k in places), background]
        return expand(class_prompt(tokenizer, len(chosen)), chosen)

    def fits(places: range) -> bool:
        total = length(prompt(places), config.image_tokens, config.decoder.queries)
        return total <= config.phi.positions

    found: list[tuple[range, tuple[Piece, ...]]] = []
    first = 0
    while first < len(words):
        fitting = first + 1
        step = len(words) - first
        while step:  # the largest number of classes that fits, in halves
            if fitting + step <= len(words) and fits(range(first, fitting + step)):
                fitting += step
            else:
                step //= 2
        if not fits(range(first, fitting)):
            raise UsageError(f"class {names[first][:60]!r} is too long for the model; say it in fewer words")
        found.append((range(first, fitting), prompt(range(first, fitting))))
        first = fitting
    return found

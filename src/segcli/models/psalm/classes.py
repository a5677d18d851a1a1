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

    ends: list[int] = []
    while (first := ends[-1] if ends else 0) < len(words):
        end = first + 1
        if not fits(range(first, end)):
            raise UsageError(f"class {names[first][:60]!r} is too long for the model; say it in fewer words")
        step = len(words) - first
        while step:  # the largest number of classes that fits, in halves
            if end + step <= len(words) and fits(range(first, end + step)):
                end += step
            else:
                step //= 2
        ends.append(end)
    each = -(-len(words) // max(1, len(ends)))  # as many passes, but alike where that fits: no class has few rivals
    alike = [range(first, min(first + each, len(words))) for first in range(0, len(words), each)]
    full = [range(first, end) for first, end in zip([0, *ends], ends, strict=False)]
    return [(places, prompt(places)) for places in (alike if all(map(fits, alike)) else full)]

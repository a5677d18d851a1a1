"""Who may look at whom in the decoder's self-attention: the published tables, as data.

Groups of the sequence, in its order:
Qobj object queries, Qgrd their copies for words, Qspa their copies for clicks, Tgrd word tokens, Tspa click tokens,
Tvis tokens of a reference image, Taud tokens of speech, Mem memory slots (the previous round's mask).

A row looks at a column: `x` always, `=` only within the same object, `.` never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor


class Group(StrEnum):
    """Parts of the decoder's sequence, in their order."""

    OBJECT_QUERIES = "Qobj"
    TEXT_QUERIES = "Qgrd"
    SPATIAL_QUERIES = "Qspa"
    TEXT_TOKENS = "Tgrd"
    SPATIAL_TOKENS = "Tspa"
    VISUAL_TOKENS = "Tvis"
    AUDIO_TOKENS = "Taud"
    MEMORY = "Mem"


Rule = str  # "x", "=" or "."


@dataclass(frozen=True)
class AttentionTable:
    """One table: `rules[row, column]`."""

    name: str
    rules: dict[tuple[Group, Group], Rule]

    def rule(self, row: Group, column: Group) -> Rule:
        """How `row` looks at `column`."""
        return self.rules[row, column]

    def isolates(self, groups: Sequence[Group]) -> bool:
        """Whether none of the other groups ever looks at `groups`, so that leaving them out changes nothing else."""
        return all(self.rules[row, column] == "." for row in Group if row not in groups for column in groups)


def _read(name: str, text: str) -> AttentionTable:
    header, *lines = [line.split() for line in text.strip().splitlines()]
    columns = [Group(word) for word in header]
    rules = {(row, column): "." for row in Group for column in Group}
    for row, *cells in lines:
        rules.update({(Group(row), column): cell for column, cell in zip(columns, cells, strict=True)})
    return AttentionTable(name, rules)


# The current release. Prompts reach only their own queries; object queries never see a prompt.
V1 = _read(
    "v1",
    """
         Qobj Qgrd Qspa Tgrd Tspa Mem
    Qobj x    .    .    .    .    .
    Qgrd .    x    .    x    .    .
    Qspa .    .    =    .    =    =
    Tgrd .    x    .    x    .    .
    Tspa .    .    .    .    =    .
    Mem  .    .    .    .    .    =
    """,
)

# The first release: one object a batch element, so nothing to keep apart.
V0 = _read(
    "v0",
    """
         Qobj Qgrd Qspa Tgrd Tspa Mem
    Qobj x    .    .    .    .    .
    Qgrd .    x    .    x    .    .
    Qspa .    .    x    .    x    x
    Tgrd .    x    .    x    .    .
    Tspa .    .    .    .    x    .
    Mem  .    .    .    .    .    x
    """,
)

# The released demo: object queries alone, which see all prompts.
DEMO = _read(
    "demo",
    """
         Qobj Tgrd Tspa Tvis Taud
    Qobj x    x    x    x    x
    Tgrd x    x    .    .    .
    Tspa .    .    x    .    .
    Tvis .    .    .    x    .
    Taud x    .    .    .    x
    """,
)

# The paper's composition (section 3.2, "all queries may attend all prompts"), which v0 and v1 do not have: words and
# clicks meet in both copies of the queries. Object queries stay as in v1, so that panoptic output does not depend on
# prompts; so do the objects' boundaries.
COMPOSED = _read(
    "composed",
    """
         Qobj Qgrd Qspa Tgrd Tspa Tvis Taud Mem
    Qobj x    .    .    .    .    .    .    .
    Qgrd .    x    .    x    x    x    x    x
    Qspa .    .    =    x    =    =    x    =
    Tgrd .    x    .    x    .    .    .    .
    Tspa .    .    .    .    =    .    .    .
    Tvis .    .    .    .    .    =    .    .
    Taud .    x    .    .    .    .    x    .
    Mem  .    .    .    .    .    .    .    =
    """,
)

TABLES = {table.name: table for table in (V1, V0, DEMO, COMPOSED)}


class Part(NamedTuple):
    """What the mask has to know of one group: which object each place belongs to (-1: padding), what is padding.

    objects, padding: [B, L]. For groups without objects all are 0.
    """

    group: Group
    objects: Tensor
    padding: Tensor


def self_attention_mask(table: AttentionTable, parts: Sequence[Part]) -> Tensor:
    """Which place may look at which, bool [B, L, L], rows looking at columns, in the order of `parts`.

    Under `x` padding neither looks nor is looked at (such a row is empty). Under `=` the object numbers alone decide,
    as published: padding has number -1 and looks at padding.
    """
    rows = []
    for row in parts:
        blocks = []
        for column in parts:
            rule = table.rule(row.group, column.group)
            if rule == "=":
                block = row.objects[:, :, None] == column.objects[:, None, :]
            elif rule == "x":
                block = ~row.padding[:, :, None] & ~column.padding[:, None, :]
            else:
                block = torch.zeros(
                    (*row.padding.shape, column.padding.shape[1]), dtype=torch.bool, device=row.padding.device
                )
            blocks.append(block)
        rows.append(torch.cat(blocks, 2))
    return torch.cat(rows, 1)

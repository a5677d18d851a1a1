"""What stands where in the language model's sequence, once placeholders are expanded (PSALM, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from segcli.models.psalm.prompts import CLASS, IMAGE, MASKS, REGION, SENTENCE

PieceKind = Literal["text", "image", "masks", "class", "region", "sentence"]


@dataclass(frozen=True)
class Piece:
    """A stretch of the sequence. `ids` are its tokens where it has any; `number` counts classes and regions from 1."""

    kind: PieceKind
    ids: tuple[int, ...] = ()
    number: int = 0


@dataclass(frozen=True)
class Places:
    """For each position [L]: bool masks of mask tokens, sentence and regions; the number of the class, else 0."""

    masks: Tensor
    classes: Tensor
    sentence: Tensor
    regions: Tensor


def expand(
    ids: Sequence[int], classes: Sequence[Sequence[int]] = (), sentence: Sequence[int] = ()
) -> tuple[Piece, ...]:
    """The pieces of a prompt; the k-th class placeholder stands for `classes[k]`.

    Raises ValueError when there are more placeholders of classes than classes.
    """
    pieces: list[Piece] = []
    text: list[int] = []
    seen = {CLASS: 0, REGION: 0}
    for token in ids:
        if token >= 0:
            text.append(token)
            continue
        if text:
            pieces.append(Piece("text", tuple(text)))
            text = []
        if token in seen:
            seen[token] += 1
        if token == IMAGE:
            pieces.append(Piece("image"))
        elif token == MASKS:
            pieces.append(Piece("masks"))
        elif token == SENTENCE:
            pieces.append(Piece("sentence", tuple(sentence)))
        elif token == REGION:
            pieces.append(Piece("region", (), seen[REGION]))
        elif token == CLASS and seen[CLASS] <= len(classes):
            pieces.append(Piece("class", tuple(classes[seen[CLASS] - 1]), seen[CLASS]))
        else:
            raise ValueError(f"placeholder {token}: nothing to put in its place")
    if text:
        pieces.append(Piece("text", tuple(text)))
    return tuple(pieces)


def length(pieces: Sequence[Piece], image_tokens: int, mask_tokens: int) -> int:
    """Positions that the pieces take."""
    fixed = {"image": image_tokens, "masks": mask_tokens, "region": 1}
    return sum(fixed.get(piece.kind, len(piece.ids)) for piece in pieces)


def places(pieces: Sequence[Piece], image_tokens: int, mask_tokens: int) -> Places:
    """Where mask tokens and conditions stand."""
    total = length(pieces, image_tokens, mask_tokens)
    kinds = {kind: torch.zeros(total, dtype=torch.bool) for kind in ("masks", "sentence", "region")}
    classes = torch.zeros(total, dtype=torch.long)
    at = 0
    for piece in pieces:
        end = at + length([piece], image_tokens, mask_tokens)
        if piece.kind in kinds:
            kinds[piece.kind][at:end] = True
        elif piece.kind == "class":
            classes[at:end] = piece.number
        at = end
    return Places(kinds["masks"], classes, kinds["sentence"], kinds["region"])


def needed_part(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """The pieces up to the last mask token or condition: no position looks ahead, so what follows changes nothing."""
    last = max((at for at, piece in enumerate(pieces) if piece.kind != "text"), default=-1)
    return tuple(pieces[: last + 1])


def shared_part(pieces: Sequence[Piece]) -> int:
    """How many leading pieces are the same whatever is asked: those before the first condition."""
    own = ("class", "region", "sentence")
    return next((at for at, piece in enumerate(pieces) if piece.kind in own), len(pieces))

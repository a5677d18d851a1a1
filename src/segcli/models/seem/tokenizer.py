"""CLIP's byte-pair encoding, which the released members' words went through (`openai/clip-vit-base-patch32`).

Words are lowercased and parted into letters, single digits and runs of signs; the merges are data beside this file,
with the notice of where they come from.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BEGIN, END = 49406, 49407
CONTEXT = 77
"""Places of a text, the begin and end tokens included."""

_END_OF_WORD = "</w>"
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_PARTS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def token_ids(texts: Sequence[str], context: int = CONTEXT) -> NDArray[np.int64]:
    """Ids [N, context] of texts: begin token, text, end token, and the end token again up to the context's length.

    A longer text is cut so that its last place is the end token, as published; `spoken_length` tells.
    """
    ids = np.full((len(texts), context), END, np.int64)
    ids[:, 0] = BEGIN
    for row, one in zip(ids, _tokenizer().encode_batch(list(texts)), strict=True):
        kept = one.ids[: context - 2]
        row[1 : 1 + len(kept)] = kept
    return ids


def spoken_length(text: str) -> int:
    """Tokens that a text takes, begin and end tokens included, uncut."""
    return len(_tokenizer().encode(text).ids) + 2


@cache
def _tokenizer() -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    packed = (files("segcli.models.seem") / "clip_merges.txt.gz").read_bytes()
    merges: list[tuple[str, str]] = []
    for line in gzip.decompress(packed).decode().splitlines():
        first, second = line.split(" ")
        merges.append((first, second))
    symbols = _byte_symbols()
    words = [*symbols, *(symbol + _END_OF_WORD for symbol in symbols)]
    words += [first + second for first, second in merges]
    vocabulary = {word: number for number, word in enumerate((*words, *_SPECIAL))}
    bpe = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=_END_OF_WORD, unk_token=_SPECIAL[1])
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PARTS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def _byte_symbols() -> list[str]:
    """A printable character for each byte, in the order of the vocabulary: printable Latin-1 first, as itself."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = len(set(range(256)) - set(printable))
    return [chr(n) for n in printable] + [chr(256 + n) for n in range(others)]

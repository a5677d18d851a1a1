"""Phi's tokenizer: byte-level byte-pair encoding with the added tokens of PSALM."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from segcli.core.errors import CheckpointError

END = "<|endoftext|>"
SEG = "[SEG]"
UNKNOWN = "<unk>"
"""What a tokenizer of whole words makes of any other word; one of byte pairs has no such token."""
FILES = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json")
"""Files of a published folder that say how words become numbers; the first alone, or the other three."""


class Tokenizer:
    """Text to ids and back. Raises CheckpointError when the files lack PSALM's own tokens."""

    def __init__(self, encoding: Any, name: str) -> None:
        self._encoding = encoding
        self.end, self.seg = (self._id(word, name) for word in (END, SEG))
        self._unknown: int | None = encoding.token_to_id(UNKNOWN)

    def _id(self, word: str, name: str) -> int:
        number = self._encoding.token_to_id(word)
        if number is None:
            raise CheckpointError(f"{name}: its tokenizer has no {word}; give the tokenizer files of that checkpoint")
        return int(number)

    @property
    def size(self) -> int:
        """Number of tokens, those added included."""
        return int(self._encoding.get_vocab_size(with_added_tokens=True))

    def to_json(self) -> str:
        """All of it as a tokenizer.json."""
        text: str = self._encoding.to_str()
        return text

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; nothing is added in front or behind."""
        ids: list[int] = self._encoding.encode(text, add_special_tokens=False).ids
        return ids

    def strange(self, text: str) -> list[str]:
        """The words of `text` that no token stands for; none for a tokenizer of byte pairs."""
        found = self._encoding.encode(text, add_special_tokens=False)
        pairs = zip(found.ids, found.offsets, strict=True)
        return [text[first:last] for number, (first, last) in pairs if number == self._unknown]

    def words(self) -> list[str]:
        """All tokens, the added ones included, in order of their numbers."""
        table: dict[str, int] = self._encoding.get_vocab(with_added_tokens=True)
        return sorted(table, key=table.__getitem__)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        text: str = self._encoding.decode(list(ids), skip_special_tokens=True)
        return text


def read_tokenizer(files: Mapping[str, bytes], name: str) -> Tokenizer:
    """The tokenizer of a checkpoint `name` from the contents of its files, by file name (see `FILES`).

    Raises CheckpointError when there are too few files, or one of them can't be read as what it is.
    """
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Encoding

    try:
        if FILES[0] in files:
            return Tokenizer(Encoding.from_str(files[FILES[0]].decode("utf-8")), name)
        missing = [file for file in FILES[1:] if file not in files]
        if missing:
            raise CheckpointError(
                f"{name}: has no tokenizer ({FILES[0]}, or {', '.join(FILES[1:])}); missing {', '.join(missing)}"
            )
        vocabulary, merges, added = (files[file].decode("utf-8") for file in FILES[1:])
        pairs: list[tuple[str, str]] = []
        for line in merges.splitlines():
            if line and not line.startswith("#version"):
                left, right = line.split(" ")
                pairs.append((left, right))
        encoding = Encoding(models.BPE(vocab=json.loads(vocabulary), merges=pairs))
        encoding.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        encoding.decoder = decoders.ByteLevel()
        # In the order of their ids, which is how they get these ids; <|endoftext|> may already be in the vocabulary.
        encoding.add_special_tokens([AddedToken(END, normalized=False)])
        for word, number in sorted(json.loads(added).items(), key=lambda item: int(item[1])):
            encoding.add_tokens([AddedToken(word, normalized=False)])
            if encoding.token_to_id(word) != number:
                raise ValueError(f"{word!r} has id {encoding.token_to_id(word)} and should have {number}")
        return Tokenizer(encoding, name)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises plain Exception for whatever it can't read
        words = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{name}: its tokenizer can't be read: {words}; get the files again") from error

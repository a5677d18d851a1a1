"""From a sentence to tokens, with a mark where a reference mask stands.

The tokenizer travels inside of the checkpoint: the bytes of a `tokenizer.json` (the tokenizers library's own format)
as the tensor `TENSOR`. So a file that is copied or fine-tuned keeps the words that its rows mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segcli.core.errors import CheckpointError

TENSOR = "tokenizer.json"
REFERENCE = "<mask-ref>"
PLACE = -1
"""Stands for a reference among token ids; the mask's pair takes its place."""

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


class Words:
    """A tokenizer. `ids` never adds special tokens; the template does."""

    def __init__(self, json: str, name: str = "checkpoint") -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer: Any = Tokenizer.from_str(json)
        except Exception as error:  # the library raises plain Exceptions
            raise CheckpointError(
                f"{name}: its tokenizer can't be read: {' '.join(str(error).split())[:120]}"
            ) from error
        self.json = json

    @classmethod
    def from_tensor(cls, tensor: Tensor, name: str = "checkpoint") -> Words:
        """From the bytes in a checkpoint. Raises CheckpointError."""
        try:
            return cls(bytes(tensor.cpu().tolist()).decode("utf-8"), name)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{name}: its tokenizer is not text; get the file again") from error

    def to_tensor(self) -> Tensor:
        """uint8, as a checkpoint keeps it."""
        return torch.frombuffer(bytearray(self.json.encode("utf-8")), dtype=torch.uint8)

    def ids(self, text: str) -> list[int]:
        """Tokens of plain text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    @property
    def start(self) -> list[int]:
        """The token that begins a sequence, if the tokenizer has one."""
        token = self._tokenizer.token_to_id("<s>")
        return [] if token is None else [token]

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())


def sentence_ids(words: Words, sentence: str) -> list[int]:
    """Tokens of a sentence, `PLACE` for every `<mask-ref>` in it."""
    ids: list[int] = []
    for number, part in enumerate(sentence.split(REFERENCE)):
        ids += [PLACE] * (number > 0) + (words.ids(part.strip()) if part.strip() else [])
    return ids


def framed(words: Words, sentence: str, template: str) -> tuple[list[int], list[int], list[int]]:
    """Tokens before the photo, between photo and candidates, and after the candidates.

    "vicuna" is the chat frame of LLaVA-1.5: system words, `USER: <image>` line, candidates, sentence, `ASSISTANT:`.
    """
    if template == "plain":
        return words.start, [], sentence_ids(words, sentence)
    before = words.start + words.ids(f"{SYSTEM}USER:")
    after = words.ids("\n") + sentence_ids(words, sentence) + words.ids("ASSISTANT:")
    return before, words.ids("\n"), after


def references_in(ids: Sequence[int]) -> int:
    """How many references a tokenised sentence has."""
    return sum(token == PLACE for token in ids)

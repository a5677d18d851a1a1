"""What a released member makes of words: phrases that ask for something, and banks of class names to choose from."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from segcli.core.errors import StorageError, UsageError
from segcli.models.seem.bank import class_bank, in_templates
from segcli.models.seem.decoder import SeemDecoder
from segcli.models.seem.referring import Phrase, encode_phrases
from segcli.models.seem.templates import TEMPLATES
from segcli.models.seem.tokenizer import END, spoken_length, token_ids

BACKGROUND = "background"
"""The class of what is none of the others, the last one of every bank."""

_PHRASES, _BANKS = 1024, 8  # kept in memory


def bank_folder() -> Path:
    """Where class banks are kept: in seg's own cache, which $SEG_CACHE moves."""
    if given := os.environ.get("SEG_CACHE"):
        return Path(given).expanduser() / "banks"
    import platformdirs

    return platformdirs.user_cache_path("seg") / "banks"


class Language:
    """Texts through a decoder's text encoder, each once.

    revision: content hash of the weights, part of a kept bank's name. folder: where banks are kept on disk; None keeps
    them in memory only.
    """

    def __init__(self, decoder: SeemDecoder, revision: str, folder: Path | None) -> None:
        self.decoder, self.revision, self.folder = decoder, revision, folder
        config = decoder.config.text
        if config is None:
            raise ValueError("this decoder was built without a text encoder")
        self.context = config.context
        self._phrases: OrderedDict[str, Phrase] = OrderedDict()
        self._banks: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()

    def check(self, text: str) -> int:
        """Tokens of a text. Raises UsageError for an empty one and for one that is longer than the encoder reads."""
        if not text.strip():
            raise UsageError("an empty text asks for nothing; say what to look for")
        length = spoken_length(text)
        if length > self.context:
            raise UsageError(
                f"{text[:40]!r}…: {length - 2} tokens are too many, SEEM reads {self.context - 2}; say it shorter"
            )
        return length

    def phrase(self, text: str) -> Phrase:
        """A text as prompt. Raises UsageError as `check` does."""
        if text not in self._phrases:
            length = self.check(text)
            ids = self._ids([text])[:, :length]  # attention is causal: what follows the end token changes nothing
            self._phrases[text] = encode_phrases(self.decoder, ids, torch.ones_like(ids))[0]
            if len(self._phrases) > _PHRASES:
                self._phrases.popitem(last=False)
        return self._phrases[text]

    def bank(self, names: Sequence[str]) -> Tensor:
        """Class bank [K + 1, C] of K names and, last, the background.

        Raises UsageError for a name that is empty or too long, StorageError where the bank can't be kept.
        """
        key = tuple(names)
        if key in self._banks:
            self._banks.move_to_end(key)
            return self._banks[key]
        sentences = in_templates([*names, BACKGROUND], TEMPLATES)
        for name in names:
            self.check(name)
            self.check(max(in_templates([name], TEMPLATES)[0], key=len))
        ids = self._ids([text for texts in sentences for text in texts])
        ids = ids[:, : int((ids == END).long().argmax(1).max()) + 1].view(len(sentences), len(TEMPLATES), -1)
        try:
            bank = class_bank(self.decoder.lang_encoder, ids, self.revision, self.folder)
        except OSError as error:
            raise StorageError(
                f"{self.folder}: class banks can't be kept there ({error.strerror or error}); "
                "set SEG_CACHE to a folder that can be written to"
            ) from error
        self._banks[key] = bank
        if len(self._banks) > _BANKS:
            self._banks.popitem(last=False)
        return bank

    def _ids(self, texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(token_ids(texts, self.context)).to(self.decoder.class_embed.device)

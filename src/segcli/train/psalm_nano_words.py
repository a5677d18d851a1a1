"""The words of psalm-nano: class names, the words of PSALM's prompts, and a few questions with their answers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from segcli.core.classes import known
from segcli.models.psalm.prompts import BACKGROUND, Turn, conversation
from segcli.models.psalm.tokenizer import END, SEG, UNKNOWN, Tokenizer

_TEMPLATES = (
    "This is an image , Please do Panoptic Segmentation. This is all the candidate categories:",
    "Please doing Referring Segmentation according to the following instruction:",
    "Please segment by given regions This is all regions:",
    "Sure, the segmentation result is",
    "the a an and with on in of all every each some any",
)
_WHAT = ("what is this?", "what is in the photo?", "what do you see?")
_NOTHING = "nothing that I know."


def talk(present: tuple[str, ...], asked: str, rng: np.random.Generator) -> Turn:
    """A question about a photo and its answer: what it shows, the largest first, or whether it shows `asked`."""
    if rng.random() < 0.5:
        question = _WHAT[int(rng.integers(len(_WHAT)))]
        return Turn(question, f"{', '.join(present[:4])}." if present else _NOTHING)
    forms = (f"is there {_article(asked)} {asked}?", f"is there {asked}?", f"do you see {_article(asked)} {asked}?")
    return Turn(forms[int(rng.integers(len(forms)))], "yes." if asked in present else "no.")


def plain(name: str) -> str:
    """A class of COCO's panoptic list as people say it: `floor-wood` is a wood floor, `tree-merged` a tree."""
    parts = [part for part in name.split("-") if part not in ("merged", "other", "stuff")]
    return " ".join(reversed(parts) if parts[0] in ("floor", "wall") else parts)


def listed_forms() -> dict[str, str]:
    """Plain name -> the form of COCO's panoptic list, where they differ."""
    return {plain(name): name for name in known("coco").names if plain(name) != name}


def tokenizer(names: Iterable[str]) -> Tokenizer:
    """One token a word, in small letters: all words of `names`, of COCO's list, of the prompts and of `talk`."""
    from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Encoding

    split = pre_tokenizers.Whitespace()
    texts = [*_TEMPLATES, *_WHAT, _NOTHING, BACKGROUND, "is there a? do you see yes. no."]
    texts += [conversation([Turn("", "")]), *names, *known("coco").names]
    words = {word for text in texts for word, _ in split.pre_tokenize_str(text.lower())}
    vocabulary = {word: number for number, word in enumerate([UNKNOWN, *sorted(words)])}
    encoding = Encoding(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    encoding.normalizer = normalizers.Lowercase()
    encoding.pre_tokenizer = split
    encoding.decoder = decoders.WordPiece(cleanup=True)
    encoding.add_special_tokens([AddedToken(END, normalized=False)])
    encoding.add_tokens([AddedToken(SEG, normalized=False)])
    return Tokenizer(encoding, "psalm-nano")


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"

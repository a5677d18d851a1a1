"""PSALM's conversations as ids with placeholders (PSALM, section 3.2; the released code's words, not the paper's).

A prompt is a list of ids in which negative numbers stand for what is no plain text: the photo, the mask tokens, class
names, regions and sentences. Every stretch of text between two placeholders is tokenised on its own, so spaces at its
ends count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segcli.models.psalm.tokenizer import END, SEG, Tokenizer

IMAGE, MASKS, CLASS, REGION, SENTENCE = -200, -201, -202, -203, -204
IGNORED = -100
"""Label of a position whose word is not learned."""

PLACEHOLDERS = {"<image>": IMAGE, "<seg>": MASKS, "<cls>": CLASS, "<region>": REGION, "<refer>": SENTENCE}
BACKGROUND = "background"
"""The class that every list of classes ends with."""

_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
_ANSWER = "\nSure, the segmentation result is <seg>"
_REGION_ANSWER = f"\n{SEG}<seg>"


@dataclass(frozen=True)
class Turn:
    """What the user said and what was answered; None leaves the answer to the model."""

    question: str
    answer: str | None


def conversation(turns: Sequence[Turn]) -> str:
    """The turns in the template of Llama 2, `<|endoftext|>` between them; the first one carries the system's words."""
    text = ""
    for index, turn in enumerate(turns):
        opening = f"[INST] <<SYS>>\n{_SYSTEM}\n<</SYS>>\n\n" if index == 0 else f"{END}[INST] "
        text += f"{opening}{turn.question} [/INST]"
        if turn.answer is not None:
            text += f" {turn.answer} {END}"
    return text


def with_placeholders(text: str, tokenizer: Tokenizer) -> list[int]:
    """Ids of a text in which the words of `PLACEHOLDERS` stand for what is no text."""
    ids: list[int] = []
    while True:
        found = [(at, word) for word in PLACEHOLDERS if (at := text.find(word)) >= 0]
        if not found:
            return ids + tokenizer.encode(text)
        at, word = min(found)
        ids += [*tokenizer.encode(text[:at]), PLACEHOLDERS[word]]
        text = text[at + len(word) :]


def class_prompt(tokenizer: Tokenizer, count: int) -> list[int]:
    """Panoptic, semantic, instance and open-vocabulary segmentation with `count` classes, the background included."""
    names = ", ".join(["<cls>"] * count)
    question = (
        f"This is an image <image>, Please do Panoptic Segmentation.\nThis is all the candidate categories: {names}.\n"
    )
    return with_placeholders(conversation([Turn(question, _ANSWER)]), tokenizer)


def sentence_prompt(tokenizer: Tokenizer) -> list[int]:
    """Referring segmentation."""
    question = (
        "This is an image <image>, Please doing Referring Segmentation according to the following instruction:\n<refer>"
    )
    return with_placeholders(conversation([Turn(question, _ANSWER)]), tokenizer)


def region_prompt(tokenizer: Tokenizer, count: int) -> list[int]:
    """Interactive segmentation, video and other views, with `count` regions."""
    regions = ",".join([" <region>"] * count)
    question = (
        "This is an image <image>, Please segment by given regions\n"
        f"This is all regions: {regions}.\n"
    )  # fmt: skip
    return with_placeholders(conversation([Turn(question, _REGION_ANSWER)]), tokenizer)


def question_prompt(tokenizer: Tokenizer, question: str) -> list[int]:
    """A question about the photo whose answer is to be generated."""
    head, tail = conversation([Turn("<image>\n\0", None)]).split("\0")
    # The user's words are never searched for placeholders.
    start = with_placeholders(head, tokenizer)
    at = len(start) - 1 - start[::-1].index(IMAGE)
    return [*start[: at + 1], *tokenizer.encode("\n" + question + tail)]


def taught_prompt(tokenizer: Tokenizer, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
    """Ids of an answered conversation, and labels: the answers with their ends, `IGNORED` elsewhere.

    The first question holds `<image>`. Raises ValueError for a turn without an answer.
    """
    ids: list[int] = []
    labels: list[int] = []
    for index, turn in enumerate(turns):
        if turn.answer is None:
            raise ValueError("a conversation to learn from has an answer in every turn")
        opening = conversation([Turn(turn.question, None)])
        if index > 0:
            opening = f"{END}[INST] {turn.question} [/INST]"
        asked = with_placeholders(opening, tokenizer)
        answer = tokenizer.encode(f" {turn.answer} {END}")
        ids += asked + answer
        labels += [IGNORED] * len(asked) + answer
    return ids, labels


def class_ids(name: str, tokenizer: Tokenizer) -> list[int]:
    """Tokens of one class: its name, then [SEG]."""
    return [*tokenizer.encode(name), tokenizer.seg]


def sentence_ids(sentences: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Tokens of one or (as published for RefCOCO) several sentences that mean the same object, then [SEG]."""
    return [*tokenizer.encode("".join(f" {sentence}." for sentence in sentences)), tokenizer.seg]

"""Questions about a photo, answered in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.api import Conversing, Promptable


def replies(model: Promptable, image: Image, questions: Sequence[str], limit: int) -> Iterator[str]:
    """The answer to each question, at most `limit` tokens long; the photo is encoded once.

    Raises UsageError for a model that answers in masks only, and for a question that is too long.
    """
    if not isinstance(model, Conversing):
        raise UsageError(f"-m {model.name}: makes masks and answers no questions; type -m psalm.swin-b")
    encoded = model.encode([image])[0]
    for question in questions:
        yield model.reply(encoded, question, limit)

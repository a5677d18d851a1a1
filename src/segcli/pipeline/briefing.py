"""What a model is told before a run's first photo: the words that will be asked, and photos that asks refer to.

Regions in other photos are checked before any weight is read; the photos themselves are decoded when the model is
there, and their content is part of what a run is known by.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from segcli.core import geometry
from segcli.core.ask import Ask, Reference
from segcli.core.errors import ItemError, SegError, UsageError
from segcli.io import images
from segcli.models.api import Promptable, Referring, Worded
from segcli.pipeline import identity


def named(asks: Iterable[Ask]) -> tuple[str, ...]:
    """The names of the other photos that asks refer to, each once, in the order in which they come."""
    return tuple(
        dict.fromkeys(reference.image for ask in asks for reference in ask.references if reference.image is not None)
    )


def spoken(asks: Iterable[Ask]) -> tuple[str, ...]:
    """The words of asks, each once: texts as they stand, and names of classes."""
    asks = tuple(asks)
    texts = [ask.text for ask in asks if ask.text is not None]
    return tuple(dict.fromkeys([*texts, *(name for ask in asks for name in ask.classes)]))


def resolved(ask: Ask) -> Ask:
    """The ask with its references' regions in pixels of their photos, whose headers are read for it.

    Raises UsageError that names the photo: it can't be read, or the region does not lie in it.
    """
    if not ask.references:
        return ask
    return replace(ask, references=tuple(_resolved(reference) for reference in ask.references))


def contents(names: Sequence[str]) -> dict[str, str]:
    """The sha256 of each photo. Raises UsageError for one that can't be read."""
    return {name: _read(name)[1].sha256 for name in names}


def brief(model: Promptable, words: Sequence[str], names: Sequence[str]) -> None:
    """Tell a model the words and the other photos of a run.

    Raises UsageError for a word that it does not know, for a photo that can't be read, and for a model that takes no
    other photos.
    """
    if words and isinstance(model, Worded):
        model.check_words(words)
    if not names:
        return
    if not isinstance(model, Referring):
        raise UsageError(f"{model.name} takes no regions of other photos; choose another with -m")
    for name in names:
        try:
            model.know(name, images.read_image(_read(name)[0], name, model.reads))
        except ItemError as error:
            raise UsageError(str(error)) from None


def _resolved(reference: Reference) -> Reference:
    if reference.image is None:
        return reference
    try:
        size = images.read_size(Path(reference.image), reference.image)
    except SegError as error:
        raise UsageError(str(error)) from None
    return replace(reference, region=geometry.resolve_region(reference.region, size, reference.image, UsageError))


def _read(name: str) -> tuple[bytes, identity.Identity]:
    try:
        return identity.read(Path(name), name)
    except ItemError as error:
        raise UsageError(str(error)) from None

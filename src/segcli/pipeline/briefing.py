"""What a model is told before a run's first photo: the words that will be asked, and photos that asks refer to.

Regions in other photos are checked before any weight is read; the photos themselves are decoded when the model is
there, and their content is part of what a run is known by.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from segcli.core import geometry
from segcli.core.ask import Ask, Reference
from segcli.core.classes import KNOWN, known
from segcli.core.errors import ItemError, SegError, UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.io import images
from segcli.models.api import Encoded, Promptable, Referring, Worded
from segcli.pipeline import identity

_LISTS = frozenset(known(name).names for name in KNOWN)


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


def unknown(model: Promptable, asks: Iterable[Ask]) -> tuple[str, ...]:
    """The classes of well-known lists that the model does not know, which are left out of what it is asked.

    Nobody wrote such a list for this model; any other word that it does not know is somebody's mistake. Raises
    UsageError for those, and when nothing of a list is known.
    """
    if not isinstance(model, Worded):
        return ()
    asks = tuple(asks)
    lists = {ask.classes for ask in asks if ask.classes in _LISTS}
    model.check_words(spoken(replace(ask, classes=() if ask.classes in lists else ask.classes) for ask in asks))
    left_out: dict[str, None] = {}
    for names in lists:
        missing = [name for name in names if not _knows(model, name)]
        if len(missing) == len(names):
            model.check_words(names)
        left_out.update(dict.fromkeys(missing))
    return tuple(left_out)


def without(ask: Ask, left_out: Container[str]) -> Ask:
    """The ask without these of a well-known list's classes."""
    if ask.classes not in _LISTS:
        return ask
    kept = [n for n, name in enumerate(ask.classes) if name not in left_out]
    return replace(
        ask, classes=tuple(ask.classes[n] for n in kept), things=tuple(ask.things[n] for n in kept if ask.things)
    )


def teach(model: Promptable, names: Sequence[str]) -> None:
    """Let a model know other photos. Raises UsageError for one that can't be read, and for a model that takes none."""
    if not names:
        return
    if not isinstance(model, Referring):
        raise UsageError(f"{model.name} takes no regions of other photos; choose another with -m")
    for name in names:
        try:
            model.know(name, images.read_image(_read(name)[0], name, model.reads))
        except ItemError as error:
            raise UsageError(str(error)) from None


class Narrowed:
    """A `Promptable` that is not asked for some classes of well-known lists."""

    def __init__(self, model: Promptable, left_out: Sequence[str]) -> None:
        self._model, self._left_out = model, frozenset(left_out)
        self.name, self.revision, self.accepts = model.name, model.revision, model.accepts

    @property
    def reads(self) -> int | None:
        """As the model."""
        return self._model.reads

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """As the model."""
        return self._model.encode(images)

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """As the model, without those classes."""
        return self._model.decode(encoded, [without(ask, self._left_out) for ask in asks])


def _knows(model: Worded, name: str) -> bool:
    try:
        model.check_words([name])
    except UsageError:
        return False
    return True


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

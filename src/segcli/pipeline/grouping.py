"""A model that chooses among masks, and one that proposes them, as one model that answers `seg group`'s asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from segcli.core.ask import Ask, Point, Reference
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle
from segcli.models.api import Encoded, Promptable
from segcli.pipeline.everything import Search, propose


@dataclass(eq=False)
class EncodedPhoto:
    """A photo as the choosing model encoded it; for the proposing one it is encoded when that is needed."""

    chooser: Encoded
    image: Image
    proposer: Encoded | None = None
    proposals: Prediction | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of both encodings and of the pixels."""
        other = 0 if self.proposer is None else self.proposer.nbytes
        return self.chooser.nbytes + other + self.image.pixels.nbytes


class Grouping:
    """`segcli.models.api.Promptable` for sentences with references.

    A reference that is a click or a box becomes the mask that the proposing model gives there. Candidates are the
    ask's own, where it `brings` them; otherwise everything that the proposing model finds.

    proposer: opens the proposing model; called once, and only when it is needed.
    scores:   answers say what each candidate scored.
    """

    def __init__(
        self,
        chooser: Promptable,
        proposer: Callable[[], Promptable],
        search: Search,
        *,
        brings: bool = False,
        scores: bool = False,
    ) -> None:
        self.chooser, self.search, self.brings, self.scores = chooser, search, brings, scores
        self.name, self.revision, self.accepts = chooser.name, chooser.revision, chooser.accepts
        self._open = proposer
        self._proposer: Promptable | None = None

    @property
    def reads(self) -> int | None:
        """All pixels: which of the two models looks closest is not known before both are open."""
        return None

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Encode photos for the choosing model."""
        return [EncodedPhoto(e, i) for e, i in zip(self.chooser.encode(images), images, strict=True)]

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """The group of each ask. Raises UsageError for a reference at which nothing is found."""
        photo = cast(EncodedPhoto, encoded)
        return [self._answer(photo, ask) for ask in asks]

    def _answer(self, photo: EncodedPhoto, ask: Ask) -> Prediction:
        regions = tuple(self._mask(photo, reference, number) for number, reference in enumerate(ask.references, 1))
        references = tuple(replace(r, region=mask) for r, mask in zip(ask.references, regions, strict=True))
        candidates = ask.candidates if self.brings else self._proposals(photo).masks
        (answer,) = self.chooser.decode(photo.chooser, [replace(ask, references=references, candidates=candidates)])
        return replace(
            answer,
            references=regions,
            considered=answer.considered if self.scores else None,
        )

    def _proposals(self, photo: EncodedPhoto) -> Prediction:
        if photo.proposals is None:
            model, encoded = self._for_masks(photo)
            photo.proposals = propose(model, encoded, photo.image, self.search)
        return photo.proposals

    def _mask(self, photo: EncodedPhoto, reference: Reference, number: int) -> Rle:
        if reference.image is not None:
            raise UsageError(f"reference {number} lies in another photo; give a region of the asked photo itself")
        region = reference.region
        if isinstance(region, Rle):
            return region
        model, encoded = self._for_masks(photo)
        ask = Ask(points=(region,)) if isinstance(region, Point) else Ask(boxes=(region,))
        (answer,) = model.decode(encoded, [ask])
        if not len(answer) or not answer.masks[0].area:
            where = "click" if isinstance(region, Point) else "box"
            raise UsageError(f"reference {number}: nothing is found at the {where}; give a mask of it with --ref FILE")
        return answer.masks[0]

    def _for_masks(self, photo: EncodedPhoto) -> tuple[Promptable, Encoded]:
        if self._proposer is None:
            self._proposer = self._open()
        if photo.proposer is None:
            (photo.proposer,) = self._proposer.encode([photo.image])
        return self._proposer, photo.proposer

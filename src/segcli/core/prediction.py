"""What a model answers to one ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segcli.core.rle import Rle, decode


@dataclass(frozen=True, eq=False)
class Prediction:
    """N masks of one photo, best first unless the model gives them an order of its own. N = 0 is a legal answer.

    size:    (H, W) of the upright photo; every mask has it.
    masks:   N run-length encoded masks (200 masks of 12 megapixels must not be 2.4 GB); `dense` decodes one.
    scores:  N numbers in [0, 1].
    labels:  N class names or None; `label_scores` N numbers or None beside them.
    ids:     N positive integers that indexed formats write (1..N unless said otherwise).
    phrases: N texts that were asked for, or None.
    examples: names of the examples that were chosen for this photo, where some were.
    things:  N times whether the mask's class is a thing (countable) or stuff, None where nobody said.
    references: the regions that an ask's references meant, as masks; () where it has none.
    considered: all candidates with their scores, where the masks were chosen from candidates, or None.
    soft:    float16 [N, h, w] probabilities at a size of the model's choice (for soft edges), or None.
    """

    size: tuple[int, int]
    masks: tuple[Rle, ...] = ()
    scores: tuple[float, ...] = ()
    labels: tuple[str | None, ...] = ()
    label_scores: tuple[float | None, ...] = ()
    ids: tuple[int, ...] = ()
    phrases: tuple[str | None, ...] = ()
    things: tuple[bool | None, ...] = ()
    examples: tuple[str, ...] = ()
    soft: NDArray[np.float16] | None = None
    references: tuple[Rle, ...] = ()
    considered: Prediction | None = None

    def __post_init__(self) -> None:
        count = len(self.masks)
        filled: dict[str, tuple[object, ...]] = {
            "scores": (1.0,) * count,
            "labels": (None,) * count,
            "label_scores": (None,) * count,
            "ids": tuple(range(1, count + 1)),
            "phrases": (None,) * count,
            "things": (None,) * count,
        }
        for name, default in filled.items():
            given = getattr(self, name)
            if not given:
                object.__setattr__(self, name, default)
            elif len(given) != count:
                raise ValueError(f"{count} masks but {len(given)} {name}")
        for mask in self.masks:
            if mask.size != self.size:
                raise ValueError(f"a mask of size {mask.size} in a prediction of size {self.size}")
        if self.soft is not None and len(self.soft) != count:
            raise ValueError(f"{count} masks but {len(self.soft)} soft ones")

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def names(self) -> tuple[str | None, ...]:
        """What to call each mask: its label, else the phrase that asked for it, else None."""
        return tuple(
            phrase if label is None else label for label, phrase in zip(self.labels, self.phrases, strict=True)
        )

    def take(self, indices: Sequence[int]) -> Prediction:
        """The masks at these indices, in their order, with all that is said of them."""
        return replace(
            self,
            masks=tuple(self.masks[n] for n in indices),
            scores=tuple(self.scores[n] for n in indices),
            labels=tuple(self.labels[n] for n in indices),
            label_scores=tuple(self.label_scores[n] for n in indices),
            ids=tuple(self.ids[n] for n in indices),
            phrases=tuple(self.phrases[n] for n in indices),
            things=tuple(self.things[n] for n in indices),
            soft=None if self.soft is None or not indices else self.soft[list(indices)],
        )

    def dense(self, index: int) -> NDArray[np.bool_]:
        """Mask `index` as bool [H, W]."""
        return decode(self.masks[index])


def counted_through(answers: Sequence[Prediction]) -> list[Prediction]:
    """Answers to several asks of one photo under ids of which none comes twice.

    Where each has one mask at most, its id is the ask's number, so that an empty answer leaves its number free; else
    masks are counted through.
    """
    if all(len(answer) <= 1 for answer in answers):
        return [replace(answer, ids=(number,) * len(answer)) for number, answer in enumerate(answers, 1)]
    found, before = [], 0
    for answer in answers:
        found.append(replace(answer, ids=tuple(range(before + 1, before + len(answer) + 1))))
        before += len(answer)
    return found


def joined(answers: Sequence[Prediction]) -> Prediction:
    """The masks of several answers about one photo as one, in order; ids stay as they are.

    `soft` is kept where all masks have it at one size; `references` and `considered`, which belong to single answers,
    are not. At least one answer is needed.
    """
    several = [answer for answer in answers if len(answer)]
    soft = [answer.soft for answer in several if answer.soft is not None]
    same = bool(soft) and len(soft) == len(several) and len({one.shape[1:] for one in soft}) == 1
    return Prediction(
        answers[0].size,
        masks=tuple(mask for answer in several for mask in answer.masks),
        scores=tuple(score for answer in several for score in answer.scores),
        labels=tuple(label for answer in several for label in answer.labels),
        label_scores=tuple(score for answer in several for score in answer.label_scores),
        ids=tuple(number for answer in several for number in answer.ids),
        phrases=tuple(phrase for answer in several for phrase in answer.phrases),
        things=tuple(thing for answer in several for thing in answer.things),
        soft=np.concatenate(soft) if same else None,
    )

"""A photo after everything that no question changes, and the language model's passes over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.psalm.decoder import DecoderImage, StagePrediction
from segcli.models.psalm.layout import Piece, length, needed_part, places, shared_part
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.phi import Prefix, new_cache, prefix_of, run
from segcli.models.psalm.picture import Fit, fit, pixel_values


@dataclass
class SeenPhoto:
    """tokens [T, D] for the language model; `image` for the mask generator.

    The latest shared beginning of a prompt (system's words, photo, instruction) is kept with its keys and values, so
    that a second question of the same kind costs only its own words and the mask tokens.
    """

    tokens: Tensor
    image: DecoderImage
    size: Fit
    beginning: tuple[Piece, ...] = ()
    prefix: Prefix = field(default=(), repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.tokens.nbytes + self.image.nbytes + sum(k.nbytes + v.nbytes for k, v in self.prefix)


def look(model: Psalm, image: Image) -> SeenPhoto:
    """Image encoder, projector, pixel decoder, and the decoder's keys and values."""
    size = fit(image.size, model.config.image_size)
    tokens, decoder_image = model.look(_input(model, image, size))
    return SeenPhoto(tokens[0], decoder_image, size)


def photo_tokens(model: Psalm, image: Image) -> tuple[Tensor, Fit]:
    """Only what a photo says to the language model: tokens [T, D], for regions of another photo."""
    size = fit(image.size, model.config.image_size)
    return model.image_tokens(_input(model, image, size))[0], size


def _input(model: Psalm, image: Image, size: Fit) -> Tensor:
    return pixel_values(np.ascontiguousarray(image.pixels), size)[None].to(model.mask_tokens)


def states(model: Psalm, photo: SeenPhoto, pieces: Sequence[Piece], regions: Tensor | None = None) -> Tensor:
    """Hidden states of a prompt from its first condition on, as [L, D] with zeros where the shared beginning stands.

    Raises UsageError for a prompt that is longer than the language model was trained for.
    """
    config = model.config
    mask_tokens, image_tokens = config.decoder.queries, len(photo.tokens)
    total = length(pieces, image_tokens, mask_tokens)
    if total > config.phi.positions:
        raise UsageError(
            f"the prompt takes {total} tokens and the model reads {config.phi.positions}; ask for less at a time"
        )
    at = shared_part(pieces)
    beginning = tuple(pieces[:at])
    _remember(model, photo, beginning)
    rest = model.embed(pieces[at:], photo.tokens, regions)
    hidden = run(model.language, rest, new_cache(photo.prefix))[0]
    return torch.cat([hidden.new_zeros(total - len(hidden), hidden.shape[1]), hidden])


def _remember(model: Psalm, photo: SeenPhoto, beginning: tuple[Piece, ...]) -> None:
    """Have the keys and values of `beginning` in `photo.prefix`."""
    if photo.beginning != beginning or not photo.prefix:
        cache = new_cache()
        run(model.language, model.embed(beginning, photo.tokens), cache)
        photo.beginning, photo.prefix = beginning, prefix_of(cache)


def answer(model: Psalm, photo: SeenPhoto, pieces: Sequence[Piece], regions: Tensor | None = None) -> StagePrediction:
    """The mask generator's last prediction for a prompt, in float32 where scores are formed."""
    pieces = needed_part(pieces)
    where = places(pieces, len(photo.tokens), model.config.decoder.queries)
    heard = model.heard(states(model, photo, pieces, regions), where)
    last = model.decoder(photo.image, heard.queries, heard.conditions, every=False)[-1]
    return StagePrediction(
        last.masks.float(),
        None if last.classes is None else last.classes.float(),
        None if last.sentence is None else last.sentence.float(),
        None if last.regions is None else tuple(r.float() for r in last.regions),
    )


def say(model: Psalm, photo: SeenPhoto, pieces: Sequence[Piece], end: int, limit: int) -> list[int]:
    """Greedy words after a prompt without masks: ids until `end` (left out) or `limit`.

    Raises UsageError for a prompt that leaves no room for an answer.
    """
    room = model.config.phi.positions - length(pieces, len(photo.tokens), 0)
    if room < 1:
        raise UsageError(f"the question takes {-room} tokens more than the model reads; ask a shorter one")
    at = next(index for index, piece in enumerate(pieces) if piece.kind == "image") + 1
    _remember(model, photo, tuple(pieces[:at]))
    cache = new_cache(photo.prefix)
    hidden = run(model.language, model.embed(pieces[at:], photo.tokens), cache)
    found: list[int] = []
    while len(found) < min(limit, room):
        word = int(model.lm_head(hidden[0, -1]).argmax())
        if word == end:
            break
        found.append(word)
        hidden = run(model.language, model.embed([Piece("text", (word,))], None), cache)
    return found

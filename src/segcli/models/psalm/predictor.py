"""PSALM as seg asks it: words, places, regions of other photos, lists of classes, plain questions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.ask import Ask, Box, Point, PromptKind, Reference
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.models.api import Encoded, Tracker
from segcli.models.layers.loading import load_strict
from segcli.models.layers.memory import memory_errors
from segcli.models.psalm.answers import above, best, prediction
from segcli.models.psalm.classes import countable
from segcli.models.psalm.config import config_of
from segcli.models.psalm.keys import KEY_TABLES, TOKENIZER
from segcli.models.psalm.layout import expand
from segcli.models.psalm.marks import region_of
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.phi import Unfused
from segcli.models.psalm.picture import Fit, visible_mask
from segcli.models.psalm.prompts import question_prompt, region_prompt, sentence_ids, sentence_prompt
from segcli.models.psalm.regions import AllPoints, Points, RandomPoints, region_features
from segcli.models.psalm.seen import SeenPhoto, answer, look, photo_tokens, say
from segcli.models.psalm.tokenizer import FILES, Tokenizer, read_tokenizer
from segcli.models.psalm.tracker import PsalmTracker
from segcli.models.psalm.whole import label, propose, whole_photo

_ALTERNATIVES = 3  # masks of an ambiguous prompt


class PsalmPredictor:
    """`segcli.models.api.Promptable`, `Referring`, `Worded`, `Tracking` and `Conversing`.

    Photos and asks are answered one by one, so that no answer depends on what else is asked; what they share (the
    photo, the beginning of the prompt) is computed once.

    points: which pixels of a region are read.
    """

    accepts = frozenset(PromptKind) - {PromptKind.EXAMPLES}

    def __init__(self, model: Psalm, tokenizer: Tokenizer, name: str, revision: str, points: Points) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.name, self.revision = tokenizer, name, revision
        self.points = points
        self._photos: dict[str, Image] = {}
        self._read: dict[str, tuple[Tensor, Fit]] = {}

    @property
    def reads(self) -> int:
        """Longest side in pixels that is looked at."""
        return self.model.config.image_size

    def check_words(self, words: Sequence[str]) -> None:
        """Raise UsageError for the first phrase or class name with a word that no token stands for.

        Only a tokenizer of whole words, the bundled member's, has such words.
        """
        for phrase in words:
            for word in self.tokenizer.strange(phrase):
                near = difflib.get_close_matches(word.lower(), self.tokenizer.words(), n=3, cutoff=0.6)
                hint = f"near ones: {', '.join(near)}" if near else "its card lists the words"
                raise UsageError(f"{self.name}: does not know the word {word[:40]!r}; {hint}")

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Image encoder and pixel decoder. Raises DeviceError when the device has no memory left."""
        return [self.look(image) for image in images]

    def look(self, image: Image) -> SeenPhoto:
        """One photo, encoded. Raises DeviceError when the device has no memory left."""
        with torch.inference_mode(), memory_errors(self.name):
            return look(self.model, image)

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """Answer asks about one photo.

        Words in several lines are several sentences that mean the same object, joined as the published evaluation of
        RefCOCO does it. Raises UsageError for prompts that PSALM can't take together and for words that this member
        does not know, DeviceError for no memory.
        """
        assert isinstance(encoded, SeenPhoto)
        with torch.inference_mode(), memory_errors(self.name):
            return [self._answer(encoded, ask) for ask in asks]

    def know(self, name: str, image: Image) -> None:
        """Keep the photo that asks will call `name`; one of the same name is forgotten."""
        self._photos[name] = image
        self._read.pop(name, None)

    def reply(self, encoded: Encoded, question: str, limit: int = 256) -> str:
        """What the language model says to a question about the photo, word by likeliest word, at most `limit` tokens.

        Raises UsageError for a question that is too long or has an unknown word, DeviceError when the device has no
        memory left.
        """
        assert isinstance(encoded, SeenPhoto)
        self.check_words([question])
        pieces = expand(question_prompt(self.tokenizer, question))
        with torch.inference_mode(), memory_errors(self.name):
            words = say(self.model, encoded, pieces, self.tokenizer.end, limit)
        return self.tokenizer.decode(words).strip()

    def tracker(self, *, memory: int = 8, every: int = 1, soft: bool = True) -> Tracker:
        """A fresh tracker. It remembers one frame, the latest `every`-th good one, or the given masks if `memory` is 0.

        `soft` changes nothing: regions are read under binary masks.
        """
        return PsalmTracker(self, frames=memory, every=every)

    def region_answer(self, photo: SeenPhoto, features: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of regions [R, Q] and mask logits [Q, h, w], all regions [R, D] in one prompt."""
        pieces = expand(region_prompt(self.tokenizer, len(features)))
        seen = answer(self.model, photo, pieces, features)
        assert seen.regions is not None
        return seen.regions[0].sigmoid(), seen.masks[0]

    def features(self, tokens: Tensor, size: Fit, masks: Sequence[NDArray[np.bool_]]) -> Tensor:
        """Region vectors [R, D] of masks of the photo's size, none of them empty."""
        small = [torch.from_numpy(visible_mask(mask, size)).to(tokens.device) for mask in masks]
        return region_features(tokens, small, self.points)

    def _answer(self, photo: SeenPhoto, ask: Ask) -> Prediction:
        self.check_words([*((ask.text,) if ask.text else ()), *ask.classes])
        if ask.kind is not None:
            if not ask.classes:
                raise UsageError(f"{self.name}: a whole photo is asked for without classes; give a list of them")
            things = countable(ask.classes, ask.things)
            seen = propose(self.model, photo, ask.classes, self.tokenizer)
            return whole_photo(seen, ask.kind, ask.classes, things, ask.threshold, self.model.config.sure)
        places = ask.points or ask.boxes or ask.scribbles or ask.polygons or ask.mask or ask.previous
        if sum(map(bool, (ask.text, ask.references, places))) != 1:
            raise UsageError(
                f"{self.name}: takes words, or places in the photo, or regions of other photos, one kind at a time"
            )
        said, masks = self._sentence(photo, ask.text) if ask.text else self._regions(photo, ask)
        if ask.every:
            found = prediction(above(said, masks, photo.size, ask.threshold), masks, photo.size)
        else:
            candidates = best(said, masks, photo.size, _ALTERNATIVES if ask.multimask else 1)
            kept = [one for one in candidates if ask.threshold is None or one.score >= ask.threshold]
            found = prediction(kept, masks, photo.size)
        if ask.classes and len(found):
            seen = propose(self.model, photo, ask.classes, self.tokenizer)
            named = [label(seen, mask, ask.classes) for mask in found.masks]
            found = replace(found, labels=tuple(n for n, _ in named), label_scores=tuple(s for _, s in named))
        return found

    def _sentence(self, photo: SeenPhoto, text: str) -> tuple[Tensor, Tensor]:
        """Probabilities [Q] of queries for what the words mean, and mask logits [Q, h, w]."""
        sentences = [line.strip() for line in text.splitlines() if line.strip()]
        words = sentence_ids(sentences, self.tokenizer)
        seen = answer(self.model, photo, expand(sentence_prompt(self.tokenizer), (), words))
        assert seen.sentence is not None
        return seen.sentence[0, :, 0].sigmoid(), seen.masks[0]

    def _regions(self, photo: SeenPhoto, ask: Ask) -> tuple[Tensor, Tensor]:
        """The same for places, or for regions of other photos; several of those mean the object together."""
        if ask.references:
            features = torch.cat([self._reference(photo, reference) for reference in ask.references])
        else:
            region = region_of(ask, photo.size.photo)
            if not region.any():
                raise UsageError(f"{self.name}: nothing is marked; mark where the object is, not only where it is not")
            features = self.features(photo.tokens, photo.size, [region])
        said, masks = self.region_answer(photo, features)
        return said.mean(0), masks

    def _reference(self, photo: SeenPhoto, reference: Reference) -> Tensor:
        """The vector [1, D] of a region of another photo, or of this one."""
        tokens, size = (photo.tokens, photo.size) if reference.image is None else self._known(reference.image)
        region = reference.region
        if isinstance(region, Point):
            marks = Ask(points=(region,))
        else:
            marks = Ask(boxes=(region,)) if isinstance(region, Box) else Ask(mask=region)
        if marks.mask is not None and marks.mask.size != size.photo:
            given = f"{marks.mask.size[1]}x{marks.mask.size[0]}"
            raise UsageError(
                f"{reference.image or 'the reference'}: its mask is {given}, the photo "
                f"{size.photo[1]}x{size.photo[0]}; give one of the photo's size"
            )
        mask = region_of(marks, size.photo)
        if not mask.any():
            raise UsageError(f"{reference.image or 'the reference'}: its region marks nothing; mark what is meant")
        return self.features(tokens, size, [mask])

    def _known(self, name: str) -> tuple[Tensor, Fit]:
        if name not in self._photos:
            raise UsageError(f"{name}: no such reference photo; name one that was given")
        if name not in self._read:
            self._read[name] = photo_tokens(self.model, self._photos[name])
        return self._read[name]


def build(
    config: str | Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    keys: str,
    name: str,
    revision: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> PsalmPredictor:
    """A PSALM from a checkpoint's tensors, which are already on `device` in `dtype`, strictly loaded.

    The tokenizer is in the tensors (files that seg wrote) or among the files beside them (`TensorFiles.beside`).
    `seed` is that of the points in a region where the config says that they are drawn.
    Raises CheckpointError for an unknown config or key table, keys or shapes that do not fit, and a tokenizer that is
    missing, broken, or larger than the model's vocabulary.
    """
    if keys not in KEY_TABLES:
        raise CheckpointError(f"{name}: PSALM has no key table {keys!r}; use one of {', '.join(KEY_TABLES)}")
    sizes = config_of(config, name)
    points: Points = RandomPoints(seed, sizes.region_points) if sizes.region_points else AllPoints()
    with torch.device("meta"):
        model = Psalm(sizes)
    load_strict(model, Unfused(tensors, sizes.phi.heads), KEY_TABLES[keys], name=name)
    tokenizer = _tokenizer(tensors, name)
    if tokenizer.size > sizes.phi.vocab:
        raise CheckpointError(
            f"{name}: its tokenizer has {tokenizer.size} words and the model {sizes.phi.vocab}; give the files that "
            "belong together"
        )
    model.language.rotary_emb.to(device)
    model.keep_masks_exact()
    return PsalmPredictor(model, tokenizer, name, revision, points)


def _tokenizer(tensors: Mapping[str, Tensor], name: str) -> Tokenizer:
    if TOKENIZER in tensors:
        return read_tokenizer({FILES[0]: tensors[TOKENIZER].cpu().numpy().tobytes()}, name)
    beside = getattr(tensors, "beside", {})
    return read_tokenizer({file: beside[file].read_bytes() for file in FILES if file in beside}, name)

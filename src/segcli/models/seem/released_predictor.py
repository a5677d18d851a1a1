"""Asks about photos, answered by the members of SEEM whose checkpoints were released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.models.api import Encoded
from segcli.models.layers.loading import load_strict
from segcli.models.layers.memory import memory_errors
from segcli.models.seem.attention import Group
from segcli.models.seem.config import SeemConfig, SpatialQueries
from segcli.models.seem.keys import KEY_TABLES
from segcli.models.seem.language import Language, bank_folder
from segcli.models.seem.marks import InputSize, input_size, marks_of, previous_logits
from segcli.models.seem.model import SeemModel
from segcli.models.seem.prompts import SpatialTokens
from segcli.models.seem.references import References, as_ask
from segcli.models.seem.released_answers import (
    ALTERNATIVES,
    EVERY_THRESHOLD,
    EncodedPhoto,
    Found,
    Question,
    ask_decoder,
    masks_of,
    prediction_of,
    without_doubles,
)
from segcli.models.seem.released_tracker import ReleasedTracker
from segcli.models.seem.similarity import class_similarity
from segcli.models.seem.whole import OBJECT_THRESHOLD, Seen, countable, whole_photo

_DEMO_THRESHOLD = 0.4  # of the demo's panoptic output


def build_released(
    config: SeemConfig,
    tensors: Mapping[str, Tensor],
    *,
    keys: str,
    name: str,
    revision: str,
    device: torch.device,
    dtype: torch.dtype,
) -> ReleasedPredictor:
    """A predictor with the weights of `tensors`, strictly loaded.

    Raises CheckpointError for keys that don't fit, each named, and for an unknown key table.
    """
    if keys not in KEY_TABLES:
        raise CheckpointError(f"{name}: SEEM has no key table {keys!r}; use one of {', '.join(KEY_TABLES)}")
    with torch.device("meta"):
        model = SeemModel(config)
    load_strict(model, tensors, KEY_TABLES[keys], name=name)
    return ReleasedPredictor(model.to(device, dtype), name, revision, bank_folder())


class ReleasedPredictor:
    """The published network at the test size of its panoptic and interactive evaluation.

    Words are answered at that size too (RefCOCO's evaluation has a smaller one): one encoding serves every ask.
    `segcli.models.api.Promptable`, `Referring`, `Worded` and `Tracking`.

    Photos and asks are answered one by one, so that no answer depends on what else is in a batch; a text is read alone
    (the released evaluation reads all texts of a photo together, and they influence each other).
    banks: folder where class banks are kept; None keeps them in memory only.
    """

    accepts = frozenset(
        {
            PromptKind.POINT,
            PromptKind.BOX,
            PromptKind.SCRIBBLE,
            PromptKind.POLYGON,
            PromptKind.MASK,
            PromptKind.PREVIOUS,
            PromptKind.TEXT,
            PromptKind.REFERENCE,
            PromptKind.CLASSES,
            PromptKind.VIDEO,
        }
    )

    def __init__(self, model: SeemModel, name: str, revision: str, banks: Path | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.name, self.revision = name, revision
        self.device = model.decoder.query_feat.weight.device
        self.language = Language(model.decoder, revision, banks)
        self.references = References(self._read_reference)

    @property
    def reads(self) -> int:
        """Longest side in pixels that is looked at."""
        return self.model.config.long_side

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Backbone, pixel decoder, keys and values. Raises DeviceError when the device has no memory left."""
        return [self.look(image) for image in images]

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """Answer asks about one photo.

        Raises DeviceError when the device has no memory left, UsageError for words that can't be read, for classes that
        are missing where a whole photo is asked for, and for references to nothing.
        """
        assert isinstance(encoded, EncodedPhoto)
        with torch.inference_mode(), memory_errors(self.name):
            return [self._whole(encoded, ask) if ask.kind else self._answer(encoded, ask) for ask in asks]

    def check_words(self, words: Sequence[str]) -> None:
        """Raise UsageError for a text or class name that is empty or longer than the text encoder reads."""
        for word in words:
            self.language.check(word)

    def know(self, name: str, image: Image) -> None:
        """Keep the photo that asks will call `name`; it is encoded when the first of them comes."""
        self.references.know(name, image)

    def tracker(self, *, memory: int = 8, every: int = 1, soft: bool = True) -> ReleasedTracker:
        """A fresh tracker, see `ReleasedTracker`. `soft` changes nothing: prompts are marks, which have no shades."""
        return ReleasedTracker(self, memory, every)

    def look(self, image: Image) -> EncodedPhoto:
        """One encoded photo."""
        config = self.model.config
        inner = input_size(image.size, config.short_side, config.long_side)
        pixels = Pillow.fromarray(image.pixels).resize((inner[1], inner[0]), Pillow.Resampling.BICUBIC)
        size = InputSize(image.size, inner, self.model.padded_size(*inner))
        photo = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].to(self.device)
        with torch.inference_mode(), memory_errors(self.name):
            return EncodedPhoto(self.model.encode(photo), size)

    def read_marks(self, photo: EncodedPhoto, marks: Ask) -> SpatialTokens:
        """The marks of an ask on a photo as a prompt for other photos."""
        with torch.inference_mode(), memory_errors(self.name):
            positive, negative = self._marks(photo, marks)
            return self.model.decoder.read_marks(photo.image, [positive], [negative])

    def answer(self, photo: EncodedPhoto, question: Question) -> Tensor:
        """Mask logits [h, w] of the best answer to a question, float32."""
        with torch.inference_mode(), memory_errors(self.name):
            found = ask_decoder(self.model.decoder, photo.image, question, "all", 1)
            return masks_of(self.model.decoder, photo.image, found)[0]

    def _answer(self, photo: EncodedPhoto, ask: Ask) -> Prediction:
        decoder = self.model.decoder
        count = 0 if ask.every else ALTERNATIVES if ask.multimask else 1
        found = ask_decoder(decoder, photo.image, self._question(photo, ask), ask.answer, count)
        logits = masks_of(decoder, photo.image, found)
        if ask.every:
            least = EVERY_THRESHOLD if ask.threshold is None else ask.threshold
            found, logits = without_doubles(found, logits, least)
        labels = self._labels(found, ask.classes) if ask.classes else None
        things = None
        if labels is not None:
            of_name = dict(zip(ask.classes, countable(ask.classes, ask.things), strict=True))
            things = [of_name[label] for label, _ in labels]
        return prediction_of(ask, found.chances.tolist(), logits, photo.size, labels, things)

    def _question(self, photo: EncodedPhoto, ask: Ask) -> Question:
        marks = previous = phrase = background = None
        if ask.kinds - {PromptKind.TEXT, PromptKind.REFERENCE, PromptKind.CLASSES} or not (ask.text or ask.references):
            marks = self._marks(photo, ask)
        if ask.previous is not None:
            height, width = photo.image.mask_features.shape[-2:]
            previous = previous_logits(ask.previous, photo.size, (int(height), int(width)))
            previous = previous.to(photo.image.mask_features)
        if ask.text is not None:
            phrase, background = self.language.phrase(ask.text), self.language.bank(())[0]
        tokens = []
        for reference in ask.references:
            if reference.image is None:
                tokens.append(self.read_marks(photo, as_ask(reference.region, photo.size.photo, "the photo itself")))
            else:
                tokens.append(self.references.tokens(reference))
        references = SpatialTokens.joined(tokens) if tokens else None
        return Question(marks, previous, phrase, background, references)

    def _marks(self, photo: EncodedPhoto, ask: Ask) -> tuple[Tensor, Tensor]:
        positive, negative = marks_of(ask, photo.size)
        return positive.to(self.device), negative.to(self.device)

    def _read_reference(self, image: Image, marks: Ask) -> SpatialTokens:
        return self.read_marks(self.look(image), marks)

    def _labels(self, found: Found, names: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest class of each answer and its probability among all classes and the background."""
        decoder = self.model.decoder
        embeddings = decoder.class_embeddings(found.queries.hidden)[0].float()
        scale = decoder.lang_encoder.logit_scale.float()
        chances = class_similarity(embeddings, self.language.bank(names).float(), scale).softmax(-1)[:, :-1]
        best = chances.max(-1)
        return [(names[k], score) for k, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)]

    def _whole(self, photo: EncodedPhoto, ask: Ask) -> Prediction:
        assert ask.kind is not None
        if not ask.classes:
            raise UsageError("a whole photo is asked for by class names; give --classes")
        decoder = self.model.decoder
        bank = self.language.bank(ask.classes).float()
        queries = decoder(photo.image).last[Group.OBJECT_QUERIES]
        embeddings = decoder.class_embeddings(queries.hidden)[0].float()
        logits = class_similarity(embeddings, bank, decoder.lang_encoder.logit_scale.float())
        masks = decoder.masks(queries.mask_embeddings, photo.image)[0].float()
        demo = decoder.variant.spatial_queries is SpatialQueries.NONE
        seen = Seen(logits, masks, photo.size)
        things = countable(ask.classes, ask.things)
        return whole_photo(
            seen, ask.kind, ask.classes, things, ask.threshold, _DEMO_THRESHOLD if demo else OBJECT_THRESHOLD
        )

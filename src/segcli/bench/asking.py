"""A model's answers to sentences and to examples, in the form that files of results have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from segcli.bench.sentences import Answer
from segcli.core.ask import Ask
from segcli.core.errors import ItemError, UsageError
from segcli.core.image import Image
from segcli.datasets.files import read_rgb
from segcli.datasets.referring import Sentence
from segcli.models.api import Encoded, Promptable


class TextAnswers(Mapping[str, Answer]):
    """Answers by sentence id, asked when they are looked up; consecutive sentences of a photo share its encoding."""

    def __init__(self, model: Promptable, sentences: Sequence[Sentence], images: Path) -> None:
        if not images.is_dir():
            raise UsageError(f"--images {images}: no such folder; give COCO's train2014")
        self._model = model
        self._sentences = {str(s.sentence_id): s for s in sentences}
        self._images = images
        self._last: tuple[str, Encoded] | None = None

    def __getitem__(self, item: str) -> Answer:
        sentence = self._sentences[item]
        (prediction,) = self._model.decode(self._encoded(sentence), [Ask(text=sentence.text, id=item)])
        return Answer(tuple(m.coco() for m in prediction.masks), no_target=len(prediction) == 0 or None)

    def __contains__(self, item: object) -> bool:  # the inherited one would ask the model
        return item in self._sentences

    def __iter__(self) -> Iterator[str]:
        return iter(self._sentences)

    def __len__(self) -> int:
        return len(self._sentences)

    def _encoded(self, sentence: Sentence) -> Encoded:
        if self._last is None or self._last[0] != sentence.image:
            image = read_image(self._images / sentence.image, sentence.size)
            self._last = (sentence.image, self._model.encode([image])[0])
        return self._last[1]


def read_image(path: Path, size: tuple[int, int] | None = None) -> Image:
    """A photo of a data set, pixels as stored. Raises ItemError when it has not the annotated (height, width)."""
    pixels = read_rgb(path)
    if size is not None and pixels.shape[:2] != size:
        raise ItemError(f"{path}: is {pixels.shape[1]}x{pixels.shape[0]}, annotated as {size[1]}x{size[0]}")
    return Image(pixels=pixels, size=(pixels.shape[0], pixels.shape[1]), name=str(path))

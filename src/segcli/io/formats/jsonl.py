"""`jsonl`: the stream that verbs pass to each other, one line an answer, as one masks.jsonl for the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from segcli.core.errors import ItemError
from segcli.io import stream
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.images import open_bytes


class JsonLines:
    """See `segcli.io.stream` for the schema."""

    name = "jsonl"
    needs_photo: ClassVar[bool] = False
    joins: ClassVar[bool] = False
    run_file: ClassVar[str | None] = "masks.jsonl"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """No files a photo."""
        return []

    def fragment(self, answered: Answered, options: Options) -> dict[str, Any]:
        """The line, without the files and seconds of this one run."""
        return stream.record(str(answered.relative), answered.ask, answered.prediction, answered.model)

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        """Line by line."""
        return (stream.dumps(fragment) for fragment in fragments)

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """The masks of every line; lines of failed items hold none and are passed over."""
        with open_bytes(path, str(path)) as lines:
            for number, text in enumerate(lines, 1):
                if not text.strip():
                    continue
                line = stream.parse(text, f"{path}, line {number}")
                if line.prediction is not None:
                    yield from masks_of_line(line)


def masks_of_line(line: stream.Line) -> Iterator[Annotation]:
    """The masks of one line. Raises ItemError when the line is that of a failed item."""
    prediction = line.prediction
    if prediction is None:
        raise ItemError(f"{line.image}: {line.error}")
    relative = PurePosixPath(line.image)
    for n, rle in enumerate(prediction.masks):
        yield Annotation(relative, prediction.size, rle, prediction.ids[n], prediction.names[n], prediction.scores[n])
    if not len(prediction):
        yield Annotation(relative, prediction.size, None)


FORMAT = JsonLines()

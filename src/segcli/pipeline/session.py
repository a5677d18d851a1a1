"""A session on a pipe: one prompt line in, one answer line out, at once and in order, while the model stays loaded.

So an editor's plug-in or a shell's coprocess clicks interactively: a further click on a photo that was asked about
lately costs a decode, not an encoding. A line that can't be answered is answered with an error line, and the session
goes on; the end of the input ends it. No files are written.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from segcli.core import geometry
from segcli.core.ask import Ask
from segcli.core.errors import DeviceError, ItemError, SegError, UsageError
from segcli.core.rle import Rle
from segcli.io import images, stream
from segcli.models.api import Encoded, Promptable
from segcli.pipeline import briefing
from segcli.pipeline.prompts import PromptLine, parse
from segcli.pipeline.work import answer, remember

_MEMORIES = 256
"""Latest answers kept for `refine`; they are small, but a session may last for weeks."""


@dataclass(frozen=True)
class _Held:
    """A photo's encoding, its size (H, W), and the file's size and times when it was read."""

    encoded: Encoded
    size: tuple[int, int]
    status: tuple[int, int, int]


class Encodings:
    """The latest photos' encodings, at most `budget` bytes of them (the very latest is always kept).

    A photo whose file was changed since is read again.
    """

    def __init__(self, model: Promptable, budget: int) -> None:
        self._model = model
        self._budget = budget
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._bytes = 0

    def get(self, image: str) -> tuple[Encoded, tuple[int, int]]:
        """The encoding and the size (H, W) of a photo. Raises ItemError (the file), DeviceError (no memory for it)."""
        status = _status(image)
        held = self._held.get(image)
        if held is not None and held.status == status:
            self._held.move_to_end(image)
            return held.encoded, held.size
        self._drop(image)
        photo = images.read_image(Path(image), image, self._model.reads)
        try:
            encoded = self._model.encode([photo])[0]
        except DeviceError:  # what is kept for later may be what fills the memory
            while self._held:
                self._drop(next(iter(self._held)))
            encoded = self._model.encode([photo])[0]
        self._held[image] = _Held(encoded, photo.size, status)
        self._bytes += encoded.nbytes
        while self._bytes > self._budget and len(self._held) > 1:
            self._drop(next(iter(self._held)))
        return encoded, photo.size

    def _drop(self, image: str) -> None:
        if (held := self._held.pop(image, None)) is not None:
            self._bytes -= held.encoded.nbytes


class Known:
    """Other photos that lines refer to; told to the model before the first line that does, and when they change."""

    def __init__(self, model: Promptable) -> None:
        self._model = model
        self._status: dict[str, tuple[int, int, int]] = {}

    def learn(self, asks: Sequence[Ask]) -> tuple[Ask, ...]:
        """The asks with regions in pixels of their photos, which the model now knows, and classes that it knows.

        Raises UsageError.
        """
        left_out = briefing.unknown(self._model, asks)
        asks = tuple(briefing.without(briefing.resolved(ask), left_out) for ask in asks)
        for name in briefing.named(asks):
            status = _status(name)
            if self._status.get(name) != status:
                briefing.teach(self._model, (name,))
                self._status[name] = status
        return asks


def session(
    lines: Iterable[bytes],
    out: BinaryIO,
    model: Promptable,
    *,
    cache_mb: int = 512,
    check: Callable[[PromptLine], None] | None = None,
) -> int:
    """Answer prompt lines (see `segcli.pipeline.prompts`) until they end; returns how many could not be answered.

    Each answer is a line as `segcli.io.stream` documents, flushed; an error is a line with `error` and `code`, which
    names the line's number where it can't name a photo, and carries the `id` where there was one. Empty lines are
    passed over. `check` may refuse a line by raising SegError (a model that does not accept such a prompt). Errors of
    `out` (the reader has gone) pass through.
    """
    encodings, known = Encodings(model, cache_mb << 20), Known(model)
    memories: OrderedDict[tuple[str, str | None], Rle] = OrderedDict()
    failed = 0
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        line: PromptLine | None = None
        try:
            line = parse(text, f"line {number}")
            if check is not None:
                check(line)
            record = _answer(line, encodings, known, model, memories)
        except Exception as error:  # a bug at one line must not end somebody's session
            code = error.exit_code if isinstance(error, SegError) else 1
            record = stream.failure(line.image if line else "-", " ".join(str(error).split()) or repr(error), code)
            if (ident := line.id if line else _id(text)) is not None:
                record["id"] = ident
            failed += 1
        out.write(stream.dumps(record))
        out.flush()
    return failed


def _answer(
    line: PromptLine,
    encodings: Encodings,
    known: Known,
    model: Promptable,
    memories: OrderedDict[tuple[str, str | None], Rle],
) -> dict[str, object]:
    start = time.perf_counter()
    encoded, size = encodings.get(line.image)
    rounds = tuple(geometry.resolve(ask, size, line.image, UsageError) for ask in known.learn(line.rounds))
    key = (line.image, line.id)
    if line.refine and rounds[0].previous is None:
        memory = memories.get(key)
        if memory is None or memory.size != size:
            raise UsageError(f'{line.image}: nothing to refine: no answer yet for "id": {line.id}')
        rounds = (replace(rounds[0], previous=memory), *rounds[1:])
    (ask,), (prediction,) = answer(model, encoded, [rounds])
    best = remember(replace(ask, previous=None), prediction).previous
    if best is not None:
        memories[key] = best
        memories.move_to_end(key)
        if len(memories) > _MEMORIES:
            memories.popitem(last=False)
    return stream.record(line.image, ask, prediction, model.name, seconds=time.perf_counter() - start)


def _status(image: str) -> tuple[int, int, int]:
    try:
        status = Path(image).stat()
    except (OSError, ValueError):
        raise ItemError(f"{image}: no such file, or no permission to read it") from None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _id(text: bytes) -> str | None:
    """The id of a line that could not be read otherwise, so that its sender knows which one it was."""
    with suppress(ItemError):
        value = stream.loads(text, "").get("id")
        return None if value is None else str(value)
    return None

"""What is said about frames, from text to asks: `2=120,80@30` is a click on object 2 in frame 30."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segcli.cli.prompts import Coordinate, Pair, box, pair
from segcli.cli.videooptions import Pointing
from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.core.ask import Ask
    from segcli.pipeline.track.plan import Prompts

_PROMPT = re.compile(r"(?:([0-9]{1,6})=)?(.*?)(?:@([0-9]{1,9}))?", re.DOTALL)


class Where(NamedTuple):
    """Which object in which frame; None is the first frame that is looked at."""

    number: int
    frame: int | None


@dataclass
class Spoken:
    """All that is said about one object in one frame."""

    points: list[tuple[Pair, bool]] = field(default_factory=list)
    boxes: list[tuple[Pair, Pair]] = field(default_factory=list)
    text: str | None = None

    def ask(self) -> Ask:
        """The same as a question; percentages stay percentages until the frame's size is known."""
        from segcli.core.ask import Ask, Box, Point

        points = tuple(Point(_value(x), _value(y), on) for (x, y), on in self.points)
        boxes = tuple(Box(_value(x0), _value(y0), _value(x1), _value(y1)) for (x0, y0), (x1, y1) in self.boxes)
        return Ask(points=points, boxes=boxes, text=self.text)


@dataclass(frozen=True)
class Told:
    """Everything that was typed, understood. kinds: prompt kind -> the option that brought it."""

    spoken: dict[Where, Spoken]
    drops: dict[int, frozenset[int]]
    kinds: dict[str, str]
    first: str | None
    masks: str | None

    def prompts(self, start: int, path: Path | None) -> Prompts:
        """The prompts of one video; `{stem}`, `{name}` and `{parent}` in names of masks are its own.

        Raises UsageError for a mask or a folder that is not there.
        """
        from segcli.pipeline.track.plan import Prompts, Said

        said: dict[int, Said] = {}
        for where, spoken in self.spoken.items():
            frame = start if where.frame is None else where.frame
            before = said.get(frame, Said())
            if where.number in before.asks:
                raise UsageError(
                    f"object {where.number} is spoken of with and without @{frame}; write @{frame} everywhere"
                )
            said[frame] = replace(before, asks={**before.asks, where.number: spoken.ask()})
        for frame, numbers in self.drops.items():
            said[frame] = replace(said.get(frame, Said()), drops=numbers)
        if self.first is not None:
            mask = _named("--first", self.first, path)
            if not mask.is_file():
                raise UsageError(f"--first {mask}: no such file; give a mask of the first frame")
            said[start] = replace(said.get(start, Said()), masks=mask)
        folder = None
        if self.masks is not None:
            folder = _named("--masks", self.masks, path)
            if not folder.is_dir():
                raise UsageError(
                    f"--masks {folder}: no such directory; give one with a mask for each frame you have one of"
                )
        return Prompts(said, folder)


def parse(pointing: Pointing) -> Told:
    """Understand what was typed. Raises UsageError with a line that names it."""
    spoken: dict[Where, Spoken] = defaultdict(Spoken)
    kinds: dict[str, str] = {}
    for option, texts, on in (("--at", pointing.at, True), ("--not-at", pointing.not_at, False)):
        for text in texts:
            where, body = _split(option, text)
            spoken[where].points.append((pair(option, body), on))
            kinds.setdefault("point", option)
    for text in pointing.box:
        where, body = _split("--box", text)
        spoken[where].boxes.append(box("--box", body))
        kinds.setdefault("box", "--box")
    for text in pointing.refer:
        where, body = _split("--refer", text)
        if not body.strip():
            raise UsageError(f'--refer {text}: has no words; type for example --refer "the dancer"')
        if spoken[where].text is not None:
            raise UsageError(f"--refer {text}: object {where.number} has words already; type 2=… for another object")
        spoken[where].text = body.strip()
        kinds.setdefault("text", "--refer")
    drops: dict[int, set[int]] = defaultdict(set)
    for text in pointing.drop:
        match = re.fullmatch(r"([0-9]{1,6})@([0-9]{1,9})", text)
        if match is None:
            raise UsageError(f"--drop {text}: is not OBJ@FRAME; type for example --drop 2@120")
        drops[int(match[2])].add(_object("--drop", text, match[1]))
    if not (spoken or pointing.first or pointing.masks):
        raise UsageError(
            "nothing to follow; give --first MASK, --at x,y, --box x0,y0,x1,y1, --refer WORDS or --masks DIR"
        )
    gone = {frame: frozenset(numbers) for frame, numbers in drops.items()}
    return Told(dict(spoken), gone, kinds, pointing.first, pointing.masks)


def _split(option: str, text: str) -> tuple[Where, str]:
    """An object and a frame around what is said."""
    match = _PROMPT.fullmatch(text)
    assert match is not None
    number = 1 if match[1] is None else _object(option, text, match[1])
    return Where(number, None if match[3] is None else int(match[3])), match[2]


def _object(option: str, text: str, digits: str) -> int:
    number = int(digits)
    if not 1 <= number <= 255:
        raise UsageError(f"{option} {text}: objects are numbers from 1 to 255")
    return number


def _value(coordinate: Coordinate) -> float:
    from segcli.core.geometry import Percent

    return Percent(coordinate.value) if coordinate.percent else coordinate.value


def _named(option: str, template: str, path: Path | None) -> Path:
    """A name with the video's in it."""
    given = path or Path("stdin")
    stem = given.name if given.is_dir() else given.stem
    try:
        return Path(template.format(stem=stem, name=given.name, parent=given.parent))
    except (KeyError, IndexError, ValueError, AttributeError):
        raise UsageError(
            f"{option} {template}: knows {{stem}}, {{name}} and {{parent}} of the video, nothing else"
        ) from None

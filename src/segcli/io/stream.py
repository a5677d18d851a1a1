"""JSON lines: the language that verbs speak to each other, and asks as a coprocess sends them.

A line is one answered ask, or one failed item:

    {"seg": 1, "image": "a.jpg", "size": [H, W], "ask": {…}, "masks": [{"rle": …, "bbox": …, …}],
     "model": "seem-nano", "files": ["a.png"], "seconds": 0.12}
    {"seg": 1, "image": "b.jpg", "error": "b.jpg: the file is truncated", "code": 3}

Readers skip keys that they don't know; a change that would break them raises the number after "seg". The whole schema
is in `SCHEMA_FILE`, and the tests hold the lines of every verb against it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from segcli.core.ask import Answer, Ask, Box, Kind, Point, Polygon, Reference, Scribble
from segcli.core.classes import parse as parse_classes
from segcli.core.errors import ItemError, UsageError
from segcli.core.geometry import Percent
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle, from_coco

SCHEMA = 1
SCHEMA_FILE = Path(__file__).with_name("stream.schema.json")
"""The schema as a JSON Schema (draft 2020-12)."""
KINDS: tuple[Kind, ...] = get_args(Kind)
ANSWERS: tuple[Answer, ...] = get_args(Answer)
_Word = TypeVar("_Word", bound=str)

ReadMask = Callable[[str], Rle]
"""How a mask that an ask names by file is read."""


@dataclass(frozen=True)
class Line:
    """A line as it was read. `prediction` is None for a failed item, whose `error` says why."""

    image: str
    prediction: Prediction | None = None
    ask: Ask = Ask()  # noqa: RUF009 - frozen
    model: str | None = None
    files: tuple[str, ...] = ()
    seconds: float | None = None
    error: str | None = None
    code: int | None = None


def record(
    image: str,
    ask: Ask,
    prediction: Prediction,
    model: str,
    *,
    files: Sequence[str] | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """One answered ask as a plain JSON object, its keys in the documented order."""
    masks = []
    for n, rle in enumerate(prediction.masks):
        mask = {
            "id": prediction.ids[n],
            "rle": rle.coco(),
            "bbox": list(rle.bbox),
            "area": rle.area,
            "score": _number(prediction.scores[n]),
            "label": prediction.labels[n],
        }
        if prediction.label_scores[n] is not None:
            mask["label_score"] = _number(prediction.label_scores[n])
        if prediction.phrases[n] is not None:
            mask["phrase"] = prediction.phrases[n]
        if prediction.things[n] is not None:
            mask["thing"] = prediction.things[n]
        masks.append(mask)
    line: dict[str, Any] = {
        "seg": SCHEMA,
        "image": image,
        "size": list(prediction.size),
        "ask": ask_to_json(ask),
        "masks": masks,
        "model": model,
    }
    if prediction.references:
        line["references"] = [{"rle": r.coco(), "bbox": list(r.bbox), "area": r.area} for r in prediction.references]
    if prediction.considered is not None:
        both = zip(prediction.considered.masks, prediction.considered.scores, strict=True)
        line["considered"] = [{"rle": r.coco(), "bbox": list(r.bbox), "score": _number(score)} for r, score in both]
    if prediction.examples:
        line["examples"] = list(prediction.examples)
    if files is not None:
        line["files"] = list(files)
    if seconds is not None:
        line["seconds"] = round(seconds, 6)
    return line


def failure(image: str, error: str, code: int) -> dict[str, Any]:
    """A failed item as a plain JSON object; `code` is the exit code that it stands for."""
    return {"seg": SCHEMA, "image": image, "error": error, "code": code}


def dumps(line: dict[str, Any]) -> bytes:
    """A JSON object as one line, newline included. Names that are no valid UTF-8 survive as escapes."""
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def parse(text: bytes | str, name: str = "-") -> Line:
    """One line of a stream. Raises ItemError, which starts with `name`, when it is not one."""
    value = loads(text, name)
    if value.get("seg") != SCHEMA:
        raise ItemError(f'{name}: not a line of a seg stream: "seg": {SCHEMA} is missing')
    try:
        image = _text(value["image"])
        if "error" in value:
            return Line(image, error=_text(value["error"]), code=int(value.get("code", 3)))
        return Line(
            image,
            prediction=_prediction(value),
            ask=ask_from_json(value.get("ask", {}), name),
            model=value.get("model"),
            files=tuple(_text(f) for f in value.get("files", ())),
            seconds=value.get("seconds"),
        )
    except KeyError as error:
        raise ItemError(f"{name}: the line has no {error}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ItemError(f"{name}: the line can't be used: {error}") from None


def loads(text: bytes | str, name: str) -> dict[str, Any]:
    """A JSON object from one line. Raises ItemError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ItemError(f"{name}: not JSON: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise ItemError(f"{name}: a JSON object is expected, such as {{...}}")
    return value


def _prediction(value: dict[str, Any]) -> Prediction:
    height, width = (int(v) for v in value["size"])
    masks = value["masks"]
    prediction = Prediction(
        (height, width),
        masks=tuple(from_coco(m["rle"]) for m in masks),
        scores=tuple(1.0 if m.get("score") is None else float(m["score"]) for m in masks),
        labels=tuple(m.get("label") for m in masks),
        label_scores=tuple(m.get("label_score") for m in masks),
        phrases=tuple(m.get("phrase") for m in masks),
        things=tuple(m.get("thing") for m in masks),
        examples=tuple(_text(name) for name in value.get("examples", ())),
    )
    if all("id" in m for m in masks):
        prediction = replace(prediction, ids=tuple(int(m["id"]) for m in masks))
    return prediction


def ask_to_json(ask: Ask) -> dict[str, Any]:
    """An ask under the names of the command line's options; what is absent is left out."""
    spatial: dict[str, Iterable[tuple[bool, Any]]] = {
        "at": ((p.positive, [_coordinate(p.x), _coordinate(p.y)]) for p in ask.points),
        "box": ((b.positive, _corners(b)) for b in ask.boxes),
        "scribble": ((s.positive, s.drawn.coco() if s.drawn else _points(s.points)) for s in ask.scribbles),
        "polygon": ((p.positive, _points(p.points)) for p in ask.polygons),
    }
    value: dict[str, Any] = {} if ask.id is None else {"id": ask.id}
    for key, entries in spatial.items():
        both = list(entries)
        for sign, name in ((True, key), (False, f"not_{key}")):
            if chosen := [entry for positive, entry in both if positive == sign]:
                value[name] = chosen
    if ask.mask is not None:
        value["mask"] = ask.mask.coco()
    if ask.previous is not None:
        value["previous"] = ask.previous.coco()
    if ask.text is not None:
        value["text"] = ask.text
    if ask.references:
        value["references"] = [_reference_to_json(r) for r in ask.references]
    if ask.classes:
        value["classes"] = list(ask.classes)
    if ask.things:
        value["things"] = list(ask.things)
    if ask.kind is not None:
        value["kind"] = ask.kind
    if ask.multimask:
        value["multimask"] = True
    if ask.every:
        value["all"] = True
    if ask.threshold is not None:
        value["threshold"] = ask.threshold
    if ask.answer != "all":
        value["answer"] = ask.answer
    return value


ASK_KEYS = frozenset(
    [f"{sign}{kind}" for kind in ("at", "box", "scribble", "polygon") for sign in ("", "not_")]
    + ["id", "mask", "previous", "text", "references", "classes", "things", "kind", "multimask"]
    + ["all", "threshold", "answer"]
)
"""Every key that `ask_from_json` reads."""


def ask_from_json(value: Any, name: str, read_mask: ReadMask | None = None) -> Ask:
    """The ask that a JSON object describes; the inverse of `ask_to_json` (positive prompts first).

    Coordinates are numbers, or texts such as "50%". A single click or box may stand without the outer list. A mask is
    an RLE object, or a file name where `read_mask` is given. Raises ItemError with one line that starts with `name`
    and says which key is wrong; an unknown key is wrong too, so that a misspelt prompt is not ignored.
    """
    if not isinstance(value, dict):
        raise ItemError(f'{name}: an ask is a JSON object, such as {{"at": [[120, 80]]}}')
    if unknown := [key for key in value if key not in ASK_KEYS]:
        raise ItemError(f"{name}: '{unknown[0]}' is no part of an ask: use {', '.join(sorted(ASK_KEYS))}")

    def mask(entry: Any) -> Rle:
        if isinstance(entry, str):
            if read_mask is None:
                raise ValueError("is an RLE object here, not a file name")
            return read_mask(entry)
        return from_coco(entry)

    key = ""
    try:
        points, boxes, scribbles, polygons = [], [], [], []
        for sign in (True, False):
            not_ = "" if sign else "not_"
            for entry in _entries(value.get(key := not_ + "at"), depth=1):
                points.append(Point(*_pair(entry), positive=sign))
            for entry in _entries(value.get(key := not_ + "box"), depth=1):
                boxes.append(_box(entry, positive=sign))
            for entry in _entries(value.get(key := not_ + "scribble"), depth=2):
                if isinstance(entry, dict | str):
                    scribbles.append(Scribble(drawn=mask(entry), positive=sign))
                else:
                    scribbles.append(Scribble(tuple(_pair(p) for p in entry), positive=sign))
            for entry in _entries(value.get(key := not_ + "polygon"), depth=2):
                polygons.append(Polygon(tuple(_pair(p) for p in entry), positive=sign))
        rough = None if value.get(key := "mask") is None else mask(value[key])
        previous = None if value.get(key := "previous") is None else mask(value[key])
        text = None if value.get(key := "text") is None else _text(value[key])
        key = "references"
        references = tuple(_reference_from_json(r, mask) for r in value.get(key, ()))
        classes, known = _classes(value.get(key := "classes"))
        key = "things"
        things = tuple(None if t is None else _flag(t) for t in value.get(key, ()))
        if things and len(things) != len(classes):
            raise ValueError(f"says of {len(things)} classes whether they are things, there are {len(classes)}")
        kind = _word(value.get(key := "kind"), KINDS)
        if kind is not None and not classes:
            raise ValueError('goes with "classes": give their names, or "coco"')
        multimask = _flag(value.get(key := "multimask", False))
        every = _flag(value.get(key := "all", False))
        threshold = None if value.get(key := "threshold") is None else _share(value[key])
        answer = _word(value.get(key := "answer"), ANSWERS) or "all"
        given = value.get(key := "id")
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, UsageError) as error:
        raise ItemError(f"{name}: '{key}' can't be used: {error}") from None

    return Ask(
        points=tuple(points),
        boxes=tuple(boxes),
        scribbles=tuple(scribbles),
        polygons=tuple(polygons),
        mask=rough,
        previous=previous,
        text=text,
        references=references,
        classes=classes,
        things=things or known,
        kind=kind,
        multimask=multimask,
        every=every,
        threshold=threshold,
        answer=answer,
        id=None if given is None else str(given),
    )


def _reference_to_json(reference: Reference) -> dict[str, Any]:
    value: dict[str, Any] = {} if reference.image is None else {"image": reference.image}
    region = reference.region
    if isinstance(region, Point):
        value["at"] = [_coordinate(region.x), _coordinate(region.y)]
    elif isinstance(region, Box):
        value["box"] = _corners(region)
    else:
        value["mask"] = region.coco()
    return value


def _reference_from_json(value: dict[str, Any], mask: Callable[[Any], Rle]) -> Reference:
    image = None if value.get("image") is None else _text(value["image"])
    given = [key for key in ("at", "box", "mask") if key in value]
    if len(given) != 1:
        raise ValueError('a reference has one of "at", "box" and "mask"')
    entry = value[given[0]]
    if given[0] == "at":
        return Reference(image, Point(*_pair(entry)))
    return Reference(image, _box(entry, positive=True) if given[0] == "box" else mask(entry))


def _entries(value: Any, depth: int) -> list[Any]:
    """A list of prompts, also when a single prompt (a list nested `depth` deep, or a mask) stands alone."""
    if value is None:
        return []
    if isinstance(value, dict | str):
        return [value]
    if not isinstance(value, list):
        raise TypeError("is a list")
    inner = value
    for _ in range(depth):
        if not inner or isinstance(inner[0], dict):
            return value
        inner = inner[0]
        if isinstance(inner, str):
            return [value] if _is_coordinate(inner) else value
        if not isinstance(inner, list):
            return [value]
    return value


def _is_coordinate(text: str) -> bool:
    return text.strip().removesuffix("%").replace(".", "", 1).lstrip("-").isdecimal()


def _pair(value: Any) -> tuple[float, float]:
    x, y = value
    return _from_coordinate(x), _from_coordinate(y)


def _box(value: Any, *, positive: bool) -> Box:
    x0, y0, x1, y1 = (_from_coordinate(v) for v in value)
    return Box(x0, y0, x1, y1, positive=positive)


def _from_coordinate(value: Any) -> float:
    if isinstance(value, str):
        number = float(value.strip().removesuffix("%"))
        number = Percent(number) if value.strip().endswith("%") else number
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a coordinate is a number or a text such as '50%', not {value!r}")
    else:
        number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no coordinate")
    return number


def _coordinate(value: float) -> float | int | str:
    if isinstance(value, Percent):
        return f"{float(value)!r}%"
    return int(value) if value == int(value) else value


def _corners(box: Box) -> list[float | int | str]:
    return [_coordinate(v) for v in (box.x0, box.y0, box.x1, box.y1)]


def _points(points: Sequence[tuple[float, float]]) -> list[list[float | int | str]]:
    return [[_coordinate(x), _coordinate(y)] for x, y in points]


def _number(value: float | None) -> float | None:
    """A score as JSON can hold it."""
    return None if value is None or not math.isfinite(value) else float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _classes(value: Any) -> tuple[tuple[str, ...], tuple[bool | None, ...]]:
    """Names and their things, of a list of names or of a text as behind --classes ("coco", a file)."""
    if not isinstance(value, str):
        return tuple(_text(name) for name in value or ()), ()
    listed = parse_classes(value, "classes")
    return listed.names, listed.said


def _word(value: Any, words: tuple[_Word, ...]) -> _Word | None:
    if value is not None and value not in words:
        raise ValueError(f"is one of {', '.join(words)}")
    found: _Word | None = value
    return found


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("is a number from 0 to 1")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value

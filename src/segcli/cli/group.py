"""`seg group`: the set of masks that a sentence means, with reference masks inside of the sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli.groups import verb
from segcli.cli.options import Computing, Reading, RequireMask, Telling, Writing, number, share
from segcli.cli.prompts import box, in_pixels, pair, refuse_what_it_does_not_take
from segcli.core.errors import ItemError, UsageError

if TYPE_CHECKING:
    from segcli.core.ask import Reference
    from segcli.models.api import Promptable

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

DEFAULT_MODEL = "ras-nano"
DEFAULT_PROPOSALS = "seem-nano"
_PLACE = re.compile(r"\{(\d+)\}")
_COORDINATES = re.compile(r"[0-9.,%+\s-]+")

EXAMPLES = """\b
Examples:
  seg group photo.jpg "everything on the left"
  seg group photo.jpg "same class as {1}" --ref 320,240
  seg group photo.jpg "everything larger than {1} and smaller than {2}" --ref small.png --ref 10,20,200,180
  seg group photo.jpg "everything on {1}" --ref objects.png#3 -f overlay
  seg group photos/ "all people" --candidates instances.json -f coco
  seg point photo.jpg --everything -f jsonl -o - | seg group photo.jpg "everything red" --candidates -
  seg group photo.jpg "all cups" --scores -f jsonl -o - | jq '.considered'"""


@dataclass(frozen=True)
class GroupComputing(Computing):
    """The choosing model is another one than for clicks."""

    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME|FILE", help="A checkpoint that chooses among masks (RAS)."),
    ] = DEFAULT_MODEL


@dataclass(frozen=True)
class Choosing:
    """From what is chosen, and how."""

    ref: Annotated[
        list[str] | None,
        typer.Option(
            "--ref",
            metavar="FILE[#ID]|X,Y|X0,Y0,X1,Y1",
            help="A reference, {1} in the sentence, the next one {2}: a mask, an object of an indexed mask, a click or "
            "a box. Repeatable.",
            show_default=False,
        ),
    ] = None
    candidates: Annotated[
        str | None,
        typer.Option("--candidates", metavar="DIR|FILE|-", help="Masks to choose from: files, COCO JSON, JSON lines."),
    ] = None
    proposals: Annotated[
        str, typer.Option("--proposals", metavar="NAME|FILE", help="A checkpoint that proposes masks otherwise.")
    ] = DEFAULT_PROPOSALS
    grid: Annotated[str, typer.Option("--grid", metavar="N", help="Points asked on the longer side for proposals.")] = (
        "12"
    )
    threshold: Annotated[
        str | None, typer.Option("--threshold", metavar="0…1", help="Score above which a mask is chosen.")
    ] = None
    at_least_one: Annotated[
        bool, typer.Option("--at-least-one", help="The best candidate where none is above the threshold.")
    ] = False
    scores: Annotated[
        bool, typer.Option("--scores", help="jsonl: all candidates with their scores, as `considered`.")
    ] = False
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Keep one part of the model on the device at a time.")
    ] = False


@app.command(epilog=EXAMPLES)
@verb
def group(
    reading: Reading,
    choosing: Choosing,
    require_mask: RequireMask = False,
    *,
    writing: Writing,
    computing: GroupComputing,
    telling: Telling,
) -> None:
    """Mask the group of objects that a sentence means.

    The last word is the sentence. {1}, {2}, … in it stand for the references, in the order in which --ref gives them.
    The model chooses among candidates: those of --candidates, or what --proposals finds in the photo. No mask at all is
    an answer too.
    """
    from dataclasses import replace

    for options in (reading, writing, computing, telling):
        options.check()
    sentence, images = split_sentence(reading)
    reading = replace(reading, images=images)
    threshold = None if choosing.threshold is None else share("--threshold", choosing.threshold)
    grid = number("--grid", choosing.grid, low=1)
    check_places(sentence, len(choosing.ref or ()))
    if choosing.scores and "jsonl" not in writing.names:
        raise UsageError("--scores goes into JSON lines; add -f jsonl")
    if choosing.candidates == "-" and ("-" in images or reading.files_from == "-"):
        raise UsageError("--candidates - and the photos both come from stdin; write one of them to a file")
    kinds = {"text": "the sentence"} | ({"reference": "--ref"} if choosing.ref else {})

    from segcli.registry.weights import find

    entry = find(computing.model)
    refuse_what_it_does_not_take(entry, kinds)
    references = tuple(reference(text) for text in choosing.ref or ())
    drawn = choosing.candidates is None or any(not ref_is_file(text) for text in choosing.ref or ())
    if drawn:
        refuse_what_it_does_not_take(find(choosing.proposals), {"point": "--proposals"})

    from segcli.cli.running import photos, refuse_clashes, run_items

    found = photos(reading, writing, telling)

    from segcli.core.ask import Ask
    from segcli.io.candidates import Candidates
    from segcli.pipeline.everything import Search
    from segcli.pipeline.grouping import Grouping
    from segcli.pipeline.plan import Item

    ask = Ask(text=sentence, references=references, threshold=threshold, at_least_one=choosing.at_least_one)
    given = None if choosing.candidates is None else Candidates(choosing.candidates)
    items = [
        Item(
            one.relative,
            one.source,
            (
                ask
                if given is None
                else replace(ask, candidates=given.of(one.relative, one.source, only=len(found.inputs) == 1)),
            ),
            one.data,
        )
        for one in found.inputs
    ]
    refuse_clashes(items, writing)
    search = Search(grid=grid)

    def prepare(model: Promptable) -> Promptable:
        _say_with(model, telling)
        if choosing.low_memory:
            _spare(model, computing)
        return Grouping(
            model, _proposer(choosing, computing, telling), search, brings=given is not None, scores=choosing.scores
        )

    settings: dict[str, object] = {"brings": given is not None, "scores": choosing.scores}
    if drawn:
        settings |= {"proposals": _revision(choosing, computing, writing, telling), "grid": grid}
    run_items(
        *("group", items, entry, reading, writing),
        replace(computing, device="cpu") if choosing.low_memory else computing,
        telling,
        needs_masks=require_mask,
        prepare=prepare,
        settings=settings,
    )


def split_sentence(reading: Reading) -> tuple[str, list[str]]:
    """The sentence, which is the last word without a dash, and the photos before it. Raises UsageError."""
    example = 'for example seg group photo.jpg "everything on the left"'
    if not reading.images or not reading.images[-1].strip():
        raise UsageError(f"the sentence is missing; type it last, {example}")
    *images, sentence = reading.images
    if Path(sentence).exists() or sentence == "-":
        raise UsageError(f"{sentence}: is a photo; the sentence comes last, {example}")
    if not images and reading.files_from is None:
        raise UsageError(f"no photos; type them before the sentence, {example}")
    return " ".join(sentence.split()), images


def check_places(sentence: str, references: int) -> None:
    """Refuse {n} without a reference, and a reference that the sentence does not name. Raises UsageError."""
    numbers = {int(n) for n in _PLACE.findall(sentence)}
    for n in sorted(numbers):
        if not 1 <= n <= references:
            given = f"there {'is' if references == 1 else 'are'} {references or 'no'} --ref"
            raise UsageError(f'"{sentence}": has {{{n}}}, but {given}; give one more, or correct the number')
    for n in range(1, references + 1):
        if n not in numbers:
            raise UsageError(f'"{sentence}": does not name the --ref number {n}; write {{{n}}} where it is meant')


def ref_is_file(text: str) -> bool:
    """True for a --ref that names a mask file and no coordinates."""
    return not _COORDINATES.fullmatch(text)


def reference(text: str) -> Reference:
    """A --ref as a region of the asked photo. Raises UsageError that names it."""
    from segcli.core.ask import Box, Point, Reference
    from segcli.io.candidates import read_masks

    if not ref_is_file(text):
        if text.count(",") == 1:
            return Reference(None, Point(*in_pixels(pair("--ref", text))))
        first, second = box("--ref", text)
        return Reference(None, Box(*in_pixels(first), *in_pixels(second)))
    name, mark, wanted = text.rpartition("#")
    path, which = (Path(name), wanted) if mark and not Path(text).exists() else (Path(text), None)
    if which is not None and not which.isdecimal():
        raise UsageError(f"--ref {text}: #{which} is no object's number; type for example --ref {name}#3")
    if not path.is_file():
        raise UsageError(f"--ref {text}: no such file; give a mask, x,y, x0,y0,x1,y1, or an indexed mask FILE.png#ID")
    try:
        masks = list(read_masks(path, None if which is None else int(which)))
    except ItemError as error:
        raise UsageError(f"--ref {error}") from None
    if len(masks) != 1:
        raise UsageError(f"--ref {text}: holds {len(masks)} objects; name one, for example --ref {text}#1")
    return Reference(None, masks[0])


def _proposer(choosing: Choosing, computing: Computing, telling: Telling) -> Callable[[], Promptable]:
    from dataclasses import replace

    from segcli.cli.running import open_lazily
    from segcli.registry.weights import find

    return open_lazily(find(choosing.proposals), replace(computing, model=choosing.proposals), telling)


def _revision(choosing: Choosing, computing: Computing, writing: Writing, telling: Telling) -> str:
    """Name and revision of the proposing model, for the journal."""
    from segcli.cli.running import _revision as of_entry
    from segcli.registry.weights import find

    entry = find(choosing.proposals)
    return f"{entry.name} {of_entry(entry, computing, writing, telling)}"


def _say_with(model: Promptable, telling: Telling) -> None:
    """Let the model's own words go where the run's go."""
    from segcli.cli.running import _say

    if hasattr(model, "say"):
        model.say = _say(telling)


def _spare(model: Promptable, computing: Computing) -> None:
    """Let the model bring its parts to the device one at a time. Raises UsageError for one that can't."""
    from segcli.registry.device import resolve

    if not hasattr(model, "spare"):
        raise UsageError(f"--low-memory: {model.name} has no parts that could take turns; leave it away")
    model.spare = resolve(computing.device, computing.dtype).device

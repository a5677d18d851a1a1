"""`seg refer`: masks of what words, or regions of other photos, refer to."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from segcli.cli.groups import verb
from segcli.cli.options import Computing, Reading, RequireMask, Telling, Writing, share
from segcli.cli.prompts import Places, refuse_what_it_does_not_take
from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.core.ask import Answer, Ask

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

ANSWERS = ("all", "text", "visual")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
_LONGEST_ID = 60

EXAMPLES = """\b
Examples:
  seg refer "a cat" photo.jpg                            the best mask: seg-out/photo.png
  seg refer person photos/ -r --all --threshold 0.6 -f coco,overlay
  seg refer cup photo.jpg --at 320,240                   words and a click together
  seg refer photos/ --like mug.jpg@120,80 -m seem.focal-t-v1   what looks like the thing that is clicked in mug.jpg
  seg refer photos/ --like mug.jpg:mug-mask.png --like cup.jpg@40%,60% -m seem.focal-t-v1
  seg refer photos/ --phrases words.txt -o 'out/{stem}-{ask}.png'
  seg refer zebra street.jpg --require-mask || echo "no zebra"
  seg refer --prompts -                                  a live session, a JSON line each way"""


@app.command(epilog=EXAMPLES)
@verb
def refer(
    *,
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="What is meant. Not with --phrases; with --like if wanted."),
    ] = None,
    reading: Reading,
    every: Annotated[bool, typer.Option("--all", help="Every instance, not the best one only.")] = False,
    threshold: Annotated[
        str | None, typer.Option("--threshold", metavar="0…1", help="Leave out masks with a lower score.")
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            metavar="REF@X,Y|REF:MASK",
            help="What looks like a region of another photo: a click, a box x0,y0,x1,y1 or a mask. Repeatable.",
            show_default=False,
        ),
    ] = None,
    phrases: Annotated[
        str | None,
        typer.Option("--phrases", metavar="FILE|-", help="Many texts, one a line; each photo is encoded once."),
    ] = None,
    answer: Annotated[
        str,
        typer.Option("--answer", metavar="all|text|visual", help="Which side answers when words and places meet."),
    ] = "all",
    places: Places,
    asked: Annotated[
        str | None,
        typer.Option(
            "--prompts", metavar="FILE|-", help="Asks as JSON lines (seg-stream(5)); - answers them as they come."
        ),
    ] = None,
    require_mask: RequireMask = False,
    writing: Writing,
    computing: Computing,
    telling: Telling,
) -> None:
    """Mask what words refer to, alone or together with places and regions of other photos.

    TEXT is one phrase, for one mask a photo; --all masks everything that it means. Clicks, boxes and strokes beside it
    say where. With --like, TEXT may be left out: a first word that is a photo's name is then a photo.

    When nothing is there the answer is empty, which is no error: mask files are blank, JSON lines hold no masks.
    --require-mask makes it one, after everything is done.
    """
    for group in (reading, writing, computing, telling):
        group.check()
    if asked is not None:
        others = (text, like, phrases, threshold, every, answer != "all", places.given)
        if any(others) or reading.images or reading.files_from or reading.recursive:
            raise UsageError("--prompts brings photos and prompts itself; take the others away, or --prompts")

        from segcli.cli.promptfile import answer_prompts

        answer_prompts("refer", asked, reading, writing, computing, telling, needs_masks=require_mask)

    from dataclasses import replace

    from segcli.cli import likes
    from segcli.registry.weights import find

    text, images = words_and_photos(text, reading.images, likes=bool(like), phrases=phrases)
    reading = replace(reading, images=images)
    alike = [likes.parse(one) for one in like or ()]
    parsed = places.parse()
    score = None if threshold is None else share("--threshold", threshold)
    _check_answer(answer, worded=text is not None or phrases is not None, placed=places.given or bool(like))
    kinds = {"text": "--phrases" if phrases is not None else "TEXT"} if text is not None or phrases is not None else {}
    entry = find(computing.model)
    refuse_what_it_does_not_take(entry, {**kinds, **({"reference": "--like"} if like else {}), **parsed.kinds})
    texts = () if phrases is None else read_phrases(phrases, reading)

    from segcli.cli.running import photos, refuse_clashes, run_items

    found = photos(reading, writing, telling)

    from segcli.pipeline.plan import Item

    (whole,) = parsed.asks()
    whole = replace(
        whole,
        references=tuple(one.reference() for one in alike),
        every=every,
        threshold=score,
        answer=cast("Answer", answer),
    )
    asks = (replace(whole, text=text),) if phrases is None else one_each(whole, texts)
    items = [Item(one.relative, one.source, asks, one.data) for one in found.inputs]
    refuse_clashes(items, writing)
    run_items("refer", items, entry, reading, writing, computing, telling, needs_masks=require_mask)


def words_and_photos(
    text: str | None, images: list[str], *, likes: bool, phrases: str | None
) -> tuple[str | None, list[str]]:
    """What the words without a dash mean: the text that is looked for (None for none), and photos.

    Raises UsageError when no text is there where one is needed.
    """
    if phrases is not None:
        return None, images if text is None else [text, *images]
    if likes and (text is None or not text.strip()):
        return None, images
    if likes and text is not None and _is_photo(text):
        return None, [text, *images]
    if text is None or not text.strip():
        raise UsageError('nothing is asked for; type what is meant, for example seg refer "the red mug" photo.jpg')
    if Path(text).suffix.lower() in _PICTURES and Path(text).is_file():
        raise UsageError(f'{text}: is a photo; what is meant comes first, for example seg refer "the red mug" {text}')
    return " ".join(text.split()), images


def read_phrases(source: str, reading: Reading) -> tuple[str, ...]:
    """The texts of a file, each once; empty lines and lines that begin with # are passed over. Raises UsageError."""
    import sys

    if source == "-" and ("-" in reading.images or reading.files_from == "-"):
        raise UsageError("--phrases - and the photos both come from stdin; write one of them to a file")
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"--phrases {source}: is no text; give a file with a phrase a line") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"--phrases {source}: can't be read: {reason.lower()}") from None
    found = tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip() and line.strip()[0] != "#"))
    if not found:
        raise UsageError(f"--phrases {source}: holds no phrases; write one a line")
    return found


def one_each(whole: Ask, texts: tuple[str, ...]) -> tuple[Ask, ...]:
    """The ask once for each text, which is its name too, with a number where two look alike in names of files."""
    from dataclasses import replace

    taken: dict[str, int] = {}
    asks = []
    for text in texts:
        name = text[:_LONGEST_ID].replace("/", "_").replace("\\", "_").strip()
        alike = name.casefold()  # some file systems don't tell cases apart
        taken[alike] = taken.get(alike, 0) + 1
        while taken[alike] > 1 and f"{alike} {taken[alike]}" in taken:
            taken[alike] += 1
        if taken[alike] > 1:
            name = f"{name} {taken[alike]}"
            taken[name.casefold()] = 1
        asks.append(replace(whole, text=text, id=name))
    return tuple(asks)


def _check_answer(answer: str, *, worded: bool, placed: bool) -> None:
    if answer not in ANSWERS:
        raise UsageError(f"--answer {answer}: unknown; type {', '.join(ANSWERS)}")
    if answer != "all" and not (worded and placed):
        missing = "--at, --box or --like" if worded else "TEXT"
        raise UsageError(f"--answer {answer}: is for words and places together; add {missing}, or take it away")


def _is_photo(word: str) -> bool:
    """True for what can only be a photo, where a text may be left out: a name that is there or ends as photos do."""
    try:
        there = Path(word).exists()
    except (OSError, ValueError):
        there = False
    return word == "-" or there or Path(word).suffix.lower() in _PICTURES or glob.has_magic(word)

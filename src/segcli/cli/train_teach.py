"""`seg train teach`: photos without masks in, a folder to train on out, masked by a model as far as it is sure."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from segcli.cli.options import DEFAULT_MODEL, number, share
from segcli.cli.trainoptions import Debug, Device, Offline, Threads, say
from segcli.core.errors import UsageError

_SURE = "0.9"


def teach(
    images: Annotated[list[str], typer.Argument(metavar="IMAGES", help="Photos, directories, globs or URLs.")],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="DIR", help="The folder to train on: images/, masks/, objects.jsonl.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME|FILE", help="The checkpoint that masks them, from clicks.")
    ] = DEFAULT_MODEL,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look in the directories below a directory too.")
    ] = False,
    grid: Annotated[str, typer.Option("--grid", metavar="N", help="Clicks on the photo's longer side.")] = "12",
    crops: Annotated[
        str, typer.Option("--crops", metavar="N", help="Look at 4 (1), or 4 and 16 (2) parts of the photo too.")
    ] = "0",
    score: Annotated[
        str, typer.Option("--score", metavar="0…1", help="Least score of a mask, by the model itself.")
    ] = _SURE,
    stability: Annotated[
        str,
        typer.Option("--stability", metavar="0…1", help="Least IoU of a mask at a stricter and a looser threshold."),
    ] = _SURE,
    unsure: Annotated[
        str,
        typer.Option("--unsure", metavar="LOW,HIGH", help="Pixels with a probability between these are ignored."),
    ] = "0.2,0.8",
    device: Device = "auto",
    threads: Threads = None,
    offline: Offline = False,
    debug: Debug = False,
) -> None:
    """Mask photos that have no masks, as far as a model is sure, to train on: self-training.

    Objects are those of `seg point --everything` with a high score; where they overlap the better one has the pixels.
    Pixels that an object may or may not have are ignored (255) in training. A run that was stopped goes on when the
    same command is typed again.

    Example: seg train teach holidays/ --out taught; seg train seem --data taught --config seem.toml --out runs/taught
    """
    from segcli.registry.device import check_words

    check_words(device, "auto")
    low, high = _bounds(unsure)
    layers = number("--crops", crops, low=0)
    if layers > 2:
        raise UsageError(f"--crops {crops}: parts get too small; type 1 or 2")
    search: dict[str, Any] = {
        "grid": number("--grid", grid, low=1),
        "crops": layers,
        "score": share("--score", score),
        "stability": share("--stability", stability),
    }

    from segcli.cli.prompts import refuse_what_it_does_not_take
    from segcli.registry.weights import find

    entry = find(model)
    refuse_what_it_does_not_take(entry, {"point": "-m"})

    from pathlib import Path

    from segcli.io.inputs import expand

    found = expand(images, recursive=recursive, exclude=Path(out))

    from dataclasses import replace

    from segcli.pipeline.teaching import Trust, teach
    from segcli.registry.load import files_of, open_model, revision_of

    trust = Trust(low=low, high=high)
    done = teach(
        lambda: open_model(model, device=device, threads=threads, offline=offline),
        {"model": entry.name, "revision": revision_of(files_of(entry, offline=offline))},
        found.inputs,
        Path(out),
        replace(trust, search=replace(trust.search, **search)),
        say("teach"),
    )
    before = f", {done.before} were there" if done.before else ""
    failed = f", {done.failed} failed" if done.failed else ""
    say("teach")(f"{done.photos} photo(s) masked{before}{failed}")
    print(out)
    if done.failed:
        raise typer.Exit(3)


def _bounds(text: str) -> tuple[float, float]:
    """Two probabilities, the lower one first. Raises UsageError."""
    if not re.fullmatch(r"[0-9.]+,[0-9.]+", text):
        raise UsageError(f"--unsure {text}: is not LOW,HIGH; type for example --unsure 0.2,0.8")
    low, high = (share("--unsure", part) for part in text.split(","))
    if not low < 0.5 < high:
        raise UsageError(f"--unsure {text}: a half must lie between the two; type for example --unsure 0.2,0.8")
    return low, high

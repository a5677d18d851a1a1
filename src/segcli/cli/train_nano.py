"""`seg train words` and `seg train vos`, and the nano members that `seg train seggpt` and `seg train psalm` train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from segcli.cli.trainoptions import (
    Backbone,
    Debug,
    Device,
    MaskedOrPacked,
    Named,
    Out,
    Threads,
    begin,
    lite,
    optional,
    owned,
    paths,
    say,
)
from segcli.core.errors import UsageError


def words(
    data: Named,
    out: Out,
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="The plan, see configs/seem-nano-words.toml.")
    ],
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="FILE", help="The seem-nano whose words they are (default: the bundled one)."),
    ] = None,
    known: Annotated[
        str | None,
        typer.Option("--words", metavar="FILE", help="A seem-nano whose words it goes on from, not random ones."),
    ] = None,
    bank: Annotated[
        str | None, typer.Option("--bank", metavar="DIR", help="Where encoded looks are kept (default: OUT/bank).")
    ] = None,
    backbone: Backbone = None,
    device: Device = "auto",
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Train the words of SEEM's nano member; all else in it stays as it is.

    Example: seg train words --data photos/ --config configs/seem-nano-words.toml --out runs/words
    """
    from segcli.registry.places import BUNDLED

    where = begin(data, device, threads)
    from segcli.train.words import read_plan, train_words

    plan = read_plan(Path(config))
    with owned(Path(out)):
        checkpoint = train_words(
            plan,
            paths(data),
            Path(out),
            Path(start) if start else BUNDLED / "seem-nano.safetensors",
            lite(backbone),
            words=optional(known),
            bank=optional(bank),
            device=where(),
            say=say("words"),
        )
    print(checkpoint)


def vos(
    data: MaskedOrPacked,
    out: Out,
    config: Annotated[str, typer.Option("--config", metavar="FILE", help="The plan, see configs/vos-nano.toml.")],
    videos: Annotated[
        list[str] | None,
        typer.Option(
            "--videos", metavar="DIR", help="A folder of sequences, each with frames/ and masks/. Repeatable."
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="FILE", help="A vos-nano to go on from, not the untrained rule.")
    ] = None,
    backbone: Backbone = None,
    device: Device = "auto",
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Train vos-nano, with which the bundled members follow objects through videos.

    The checkpoint opens by itself, as the bundled seem-nano with this tracker.

    Example: seg train vos --data photos/ --videos davis/ --config configs/vos-nano.toml --out runs/vos
    """
    where = begin([*data, *(videos or ())], device, threads)
    from segcli.train.vos import read_plan, train_vos

    plan = read_plan(Path(config))
    films, first, shared = paths(videos or ()), optional(start), lite(backbone)
    with owned(Path(out)):
        print(train_vos(plan, paths(data), films, Path(out), shared, start=first, device=where(), say=say("vos")))


def seggpt_nano(
    config: str,
    data: Sequence[str],
    out: str,
    start: str | None,
    bank: str | None,
    backbone: str | None,
    device: str,
) -> None:
    """Train seggpt-nano from a plan such as configs/seggpt-nano.toml."""
    from segcli.train.seggpt_nano import read_plan, train

    plan, folders, shared = read_plan(Path(config)), paths(data), lite(backbone)
    with owned(Path(out)):
        done = train(
            plan, folders, Path(out), shared, bank=optional(bank), start=start, device=device, say=say("seggpt")
        )
    print(done)


def psalm_nano(
    config: str, data: Sequence[str], out: str, start: str | None, backbone: str | None, device: str
) -> None:
    """Train psalm-nano from a plan such as configs/psalm-nano.toml. Raises UsageError without --data."""
    if not data:
        raise UsageError("--data is missing; give folders with images/ and masks/ whose objects.jsonl names classes")
    from segcli.train.psalm_nano import read_plan, train_nano

    plan, shared = read_plan(Path(config)), lite(backbone)
    with owned(Path(out)):
        print(train_nano(plan, paths(data), Path(out), shared, start=start, device=device, say=say("psalm")))

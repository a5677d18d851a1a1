"""`seg train words` and `seg train vos`, and the nano members that `seg train seggpt` and `seg train psalm` train."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from segcli.core.errors import StorageError, UsageError


def words(
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="DIR", help="Photos with masks; objects.jsonl names their classes. Repeatable."),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Where state, log and checkpoint go.")],
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
    backbone: Annotated[
        str | None, typer.Option("--backbone", metavar="FILE", help="Frozen backbone (default: the bundled one).")
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:N or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")] = False,
) -> None:
    """Train the words of SEEM's nano member; all else in it stays as it is.

    Example: seg train words --data photos/ --config configs/seem-nano-words.toml --out runs/words
    """
    from segcli.registry.places import BUNDLED

    where = begin(data, device, threads)
    from segcli.train.words import read_plan, train_words

    checkpoint = train_words(
        read_plan(Path(config)),
        paths(data),
        Path(out),
        Path(start) if start else BUNDLED / "seem-nano.safetensors",
        lite(backbone),
        words=_path(known),
        bank=_path(bank),
        device=where(),
        say=say("words"),
    )
    print(checkpoint)


def vos(
    data: Annotated[
        list[str],
        typer.Option(
            "--data", metavar="DIR|FILE", help="A folder with images/ and masks/ (ids, 255 ignored), or a pack of them."
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Where state, log and checkpoint go.")],
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
    backbone: Annotated[
        str | None, typer.Option("--backbone", metavar="FILE", help="Frozen backbone (default: the bundled one).")
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:N or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")] = False,
) -> None:
    """Train vos-nano, with which the bundled members follow objects through videos.

    The checkpoint opens by itself, as the bundled seem-nano with this tracker.

    Example: seg train vos --data photos/ --videos davis/ --config configs/vos-nano.toml --out runs/vos
    """
    where = begin([*data, *(videos or ())], device, threads)
    from segcli.train.vos import read_plan, train_vos

    plan = read_plan(Path(config))
    films, first = paths(videos or ()), _path(start)
    print(train_vos(plan, paths(data), films, Path(out), lite(backbone), start=first, device=where(), say=say("vos")))


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
    print(train(plan, folders, Path(out), shared, bank=_path(bank), start=start, device=device, say=say("seggpt")))


def psalm_nano(
    config: str, data: Sequence[str], out: str, start: str | None, backbone: str | None, device: str
) -> None:
    """Train psalm-nano from a plan such as configs/psalm-nano.toml. Raises UsageError without --data."""
    if not data:
        raise UsageError("--data is missing; give folders with images/ and masks/ whose objects.jsonl names classes")
    from segcli.train.psalm_nano import read_plan, train_nano

    plan, shared = read_plan(Path(config)), lite(backbone)
    print(train_nano(plan, paths(data), Path(out), shared, start=start, device=device, say=say("psalm")))


def begin(folders: Sequence[str], device: str, threads: int | None) -> Callable[[], str]:
    """Check what can be checked before torch is imported, then set its threads; what it returns names the device.

    Raises StorageError for a folder that is not there, UsageError for an unknown device.
    """
    from segcli.registry.device import check_words, resolve

    check_words(device, "auto")
    if missing := [d for d in folders if not Path(d).exists()]:
        raise StorageError(f"{missing[0]}: no such folder")
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return lambda: str(resolve(device).device)


def lite(given: str | None) -> Path:
    """The frozen backbone: the one that was typed, or the bundled one."""
    from segcli.registry.places import BUNDLED

    return Path(given) if given else BUNDLED / "lite0.safetensors"


def paths(given: Sequence[str]) -> list[Path]:
    """Words as paths."""
    return [Path(word) for word in given]


def say(what: str) -> Callable[[str], None]:
    """What tells people how a run goes on."""
    return lambda line: print(f"seg train {what}: {line}", file=sys.stderr, flush=True)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)

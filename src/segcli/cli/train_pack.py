"""`seg train pack`: training photos as one file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from segcli.cli.trainoptions import Debug, Masked, paths, say, there
from segcli.core.errors import UsageError

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def pack(
    data: Masked,
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="The pack, for example photos.pack.")],
    side: Annotated[
        int, typer.Option("--side", metavar="N", min=32, help="Longest side of photos and masks, in pixels.")
    ] = 384,
    limit: Annotated[
        str, typer.Option("--limit", metavar="SIZE", help="What the file may take: 40MiB, 100MB, 2GiB.")
    ] = "40MiB",
    debug: Debug = False,
) -> None:
    """Pack photos and masks into one file, for --data.

    Photos that are small enough keep their JPEG bytes; if that does not fit, all are encoded at the best quality that
    does. Masks lose nothing. Licence and origin of a photo stay with it.

    Example: seg train pack --data photos/ --out photos.pack --side 320 --limit 40MiB
    """
    most = _bytes(limit)
    there(data, packs=False)
    if Path(out).is_dir():
        raise UsageError(f"--out {out}: is a folder; a pack is a file, type for example --out photos.pack")
    from segcli.train.packing import pack as pack_photos

    tell = say("pack")
    packed = pack_photos(paths(data), Path(out), side, most, tell)
    if packed.left_out:
        tell(f"{packed.left_out} photos left out: nothing in them is large enough to train on")
    kept = "as they were" if packed.quality is None else f"quality {packed.quality}"
    tell(f"{packed.photos} photos at {side} px, {kept}: {packed.bytes / 2**20:.1f} MiB of {most / 2**20:.1f}")
    print(packed.path)


def _bytes(words: str) -> int:
    """A size with its unit in bytes. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", words.strip())
    factor = _UNITS.get(match[2].lower().removesuffix("b") + "b" if match[2] else "") if match else None
    if match is None or factor is None or not float(match[1]):
        raise UsageError(f"--limit {words}: is no size; type for example --limit 40MiB")
    return int(float(match[1]) * factor)

"""`seg models`: list, fetch, check and convert checkpoints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segcli.core.errors import CheckpointError, StorageError, UsageError

if TYPE_CHECKING:
    from segcli.registry.weights import Entry, File

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network: fail if a file is not here.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Names or globs of `seg models list`.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")]
AtOnce = 4
"""Files that are pulled at the same time."""


@app.callback()
def models() -> None:
    """List, fetch, check and convert checkpoints.

    Entries come from seg's weights.toml, from installed plug-ins, and from your own weights.toml (on Linux
    ~/.config/seg/weights.toml). Pulled files go where the hub's tools keep theirs (HF_HOME), converted ones to
    ~/.cache/seg (SEG_CACHE).
    """


@app.command("list")
def list_(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Only these; globs are welcome.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a checkpoint.")] = False,
    debug: Debug = False,
) -> None:
    """Show the checkpoints: what they are, whether they are here, how large they are, and their licence."""
    from segcli.registry.manage import remark, state
    from segcli.registry.sizes import words
    from segcli.registry.weights import catalogue

    entries = _chosen(names) if names else list(catalogue().values())
    if as_json:
        for entry in entries:
            print(json.dumps(_facts(entry)))
        return
    rows = [("NAME", "STATE", "SIZE", "LICENCE", "")]
    for entry in entries:
        size = words(entry.size) if entry.size else " + ".join(file.about or "?" for file in entry.files) or "-"
        rows.append((entry.name, state(entry), size, entry.licence or "?", remark(entry)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4])).rstrip())


@app.command()
def pull(
    names: Names,
    offline: Offline = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fetch checkpoints, several at once; what was cut goes on where it was. Pickles are converted to safetensors."""
    jobs: list[tuple[Entry, File]] = []
    for entry in _chosen(names):
        if not entry.files and not entry.bundled:
            raise CheckpointError(f"{entry.name}: has no files to pull; {entry.notes or 'none are published'}")
        jobs += [(entry, file) for file in entry.files]
    from concurrent.futures import ThreadPoolExecutor

    from segcli.core.errors import SegError
    from segcli.registry.bars import Bars
    from segcli.registry.pull import make_ready

    say = _silent if quiet else _say
    failed: list[SegError] = []
    with Bars(show=not quiet) as bars, ThreadPoolExecutor(AtOnce) as pool:
        waiting = [
            pool.submit(make_ready, entry, file, offline=offline, say=say, progress=bars.bar(file.name))
            for entry, file in jobs
        ]
        try:
            for job in waiting:
                try:
                    job.result()
                except SegError as error:
                    failed.append(error)
        except BaseException:
            bars.stopped = True  # else Ctrl-C would wait for gigabytes
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for earlier in failed[:-1]:
        _say(f"seg models: {earlier}")
    if failed:
        raise failed[-1]


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME|FILE", help="Which; all that are here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a file.")] = False,
    debug: Debug = False,
) -> None:
    """Read checkpoints to their last byte: hashes, seals, headers, and no NaN. Exit 5 when one is broken."""
    from itertools import chain

    from segcli.registry.manage import state
    from segcli.registry.verify import verify as findings
    from segcli.registry.verify import verify_file
    from segcli.registry.weights import catalogue, is_path

    files = [Path(name) for name in names or () if is_path(name)]
    here = ("bundled", "cached", "partly", "local")
    known = [name for name in names or () if not is_path(name)]
    entries = _chosen(known) if names else [e for e in catalogue().values() if state(e) in here]
    broken = []
    for found in chain(map(verify_file, files), *map(findings, entries)):
        if names or found.state != "absent":
            line = {"name": found.entry, "path": str(found.path or ""), "state": found.state, "words": found.words}
            print(json.dumps(line) if as_json else "  ".join(word or "-" for word in line.values()), flush=True)
            broken += [found.words] if found.state != "sound" else []
    if broken:
        raise CheckpointError(broken[0] + (f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""))


@app.command()
def convert(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A .pt, .pth, .bin, .safetensors or .safetensors.index.json.")
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; FILE with .safetensors if left out.")
    ] = None,
    like: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="The checkpoint it is like, so that -m FILE opens it.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="fp32|bf16|fp16", help="Precision; as stored if left out.")
    ] = None,
    strip: Annotated[
        str | None, typer.Option("--strip", metavar="PREFIX", help="Take PREFIX from every key that has it.")
    ] = None,
    own_names: Annotated[bool, typer.Option("--own-names", help="Rename keys as seg names them (needs --as).")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a checkpoint as safetensors. Pickles are read without running anything that they hold."""
    from segcli.registry.weights import find

    source = Path(file)
    target = Path(output) if output else _beside(source)
    if dtype not in (None, "fp32", "bf16", "fp16"):
        raise UsageError(f"--dtype {dtype}: unknown; type fp32, bf16 or fp16")
    if own_names and not like:
        raise UsageError("--own-names needs to know whose keys these are; add --as NAME")
    if target.suffix != ".safetensors":
        raise UsageError(f"-o {target}: the output is safetensors; let its name end in .safetensors")
    if target.exists() and (not force or target.resolve() == source.resolve()):
        hint = "give another name with -o" if target.resolve() == source.resolve() else "type --force to replace it"
        raise StorageError(f"{target}: is there already; {hint}")
    entry = find(like) if like else None
    from segcli.registry.convert import convert as write
    from segcli.registry.local import describe
    from segcli.registry.plugins import key_table

    metadata = describe(entry) if entry else {}
    table = None
    if own_names and entry:
        table = key_table(entry.system, entry.keys)
        metadata["seg.keys"] = "seg"
    prefix = strip or ""

    def rename(key: str) -> str | None:
        bare = key.removeprefix(prefix)
        return table(bare) if table else bare

    write(
        source,
        target,
        metadata,
        rename=rename if prefix or table else None,
        dtype=dtype,
        say=_silent if quiet else _say,
    )
    print(target)


@app.command()
def path(names: Names, debug: Debug = False) -> None:
    """Print where the files of checkpoints lie, one a line, as they are opened. Exit 5 when one is not here."""
    from segcli.registry import places

    for entry in _chosen(names):
        paths = [*places.bundled(entry), *(places.ready(entry, f) or places.original(entry, f) for f in entry.files)]
        if not paths or any(place is None or not place.is_file() for place in paths):
            raise CheckpointError(f"{entry.name}: is not on this machine; type `seg models pull {entry.name}`")
        for place in paths:
            print(place)


@app.command()
def rm(names: Names, quiet: Quiet = False, debug: Debug = False) -> None:
    """Remove pulled and converted files of checkpoints, and parts of downloads."""
    from segcli.registry.manage import remove
    from segcli.registry.sizes import words

    for entry in _chosen(names):
        freed = remove(entry)
        if not quiet:
            _say(f"seg: {entry.name}: {words(freed)} freed")


@app.command()
def du(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a checkpoint.")] = False, debug: Debug = False
) -> None:
    """Show how much room pulled and converted checkpoints take."""
    from segcli.registry.manage import holdings
    from segcli.registry.sizes import words
    from segcli.registry.weights import catalogue

    total = 0
    for entry in catalogue().values():
        held = holdings(entry)
        if not held:
            continue
        total += sum(held.values())
        if as_json:
            print(json.dumps({"name": entry.name, "bytes": sum(held.values()), "files": [str(p) for p in held]}))
        else:
            print(f"{words(sum(held.values())):>8}  {entry.name}")
    if not as_json:
        print(f"{words(total):>8}  in all")


def _chosen(names: list[str]) -> list[Entry]:
    """The entries that names, globs and files mean, each once. Raises UsageError."""
    from segcli.registry.weights import find, is_path, match

    entries = [entry for name in names for entry in ([find(name)] if is_path(name) else match(name))]
    return list({(entry.name, entry.source): entry for entry in entries}.values())


def _facts(entry: Entry) -> dict[str, Any]:
    from segcli.registry.manage import remark, state

    return {
        "name": entry.name,
        "system": entry.system,
        "config": entry.config,
        "state": state(entry),
        "built": not remark(entry),
        "size": entry.size or None,
        "licence": entry.licence or None,
        "accepts": sorted(entry.accepts),
        "hub": entry.hub or None,
        "revision": entry.revision or None,
        "gated": entry.gated,
        "wants": entry.wants,
        "notes": entry.notes,
        "source": entry.source,
    }


def _beside(source: Path) -> Path:
    name = source.name.removesuffix(".safetensors.index.json")
    return source.with_name(f"{name}.safetensors") if name != source.name else source.with_suffix(".safetensors")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    pass

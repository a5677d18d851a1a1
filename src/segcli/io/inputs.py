"""From what the user typed (files, directories, globs, "-", lists of names) to the photos that are meant, in order."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from segcli.core.errors import StorageError, UsageError
from segcli.io.remote import Remote, Source, below, is_url, local

STDIN = "-"

Kind = Literal["file", "directory", "closed", "other"]


@dataclass(frozen=True)
class Input:
    """One photo to read.

    relative: its path below the directory (or the fixed part of the glob) that was given, mirrored in the output;
              the plain name of a file that was named itself; "stdin" for bytes on stdin.
    source:   the file as it can be opened, or None when the bytes came on stdin (`data`).
    """

    relative: PurePosixPath
    source: Source | None
    data: bytes | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return STDIN if self.source is None else str(self.source)


@dataclass(frozen=True)
class Found:
    """The photos, and how many other files the directories held."""

    inputs: tuple[Input, ...]
    skipped: int = 0


def expand(
    arguments: Sequence[str],
    *,
    recursive: bool = False,
    files_from: str | None = None,
    null: bool = False,
    exclude: Source | None = None,
    stdin: BinaryIO | None = None,
) -> Found:
    """Every photo that the arguments mean, in the order typed, in natural order within a directory or a glob.

    A directory gives its own photos (by suffix), with `recursive` those below it too; hidden files, and everything
    in `exclude` (the output directory), are left out. A glob that the shell left alone is expanded. "-" is the bytes
    of one photo. A URL (`s3://…`) is an object, or the photos below it. `files_from` names a file (or "-") with one
    name a line, or NUL-separated names with `null`; these keep the path they are listed with. A file that is named but
    missing still yields an Input, which fails when it is read. `stdin` defaults to the process's own.

    Raises UsageError (nothing given, stdin used twice, two photos with one output name) and StorageError (everything
    that was named is missing, a directory that can't be read or holds no photos, an unreadable list).
    """
    if not arguments and files_from is None:
        raise UsageError("no photos given: name files or directories, - for stdin, or --files-from FILE")
    if [*arguments, files_from].count(STDIN) > 1:
        raise UsageError("stdin is named twice: - can be given once, as a photo or as --files-from")
    skipped = found = 0  # found: photos that a directory listed, which are there
    inputs: list[Input] = []
    excluded = _identity(exclude) if isinstance(exclude, Path) else None
    for argument in map(local, arguments):
        if argument == STDIN:
            inputs.append(Input(PurePosixPath("stdin"), None, (stdin or sys.stdin.buffer).read()))
        elif not argument:
            raise UsageError("an empty name was given as a photo")
        elif is_url(argument):
            left_out = exclude if isinstance(exclude, Remote) else None
            photos, others = _remote(argument, recursive=recursive, exclude=left_out)
            inputs += photos
            found += len(photos)
            skipped += others
        elif Path(argument).is_dir():
            photos, others = _directory(Path(argument), recursive=recursive, excluded=excluded)
            inputs += photos
            found += len(photos)
            skipped += others
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            inputs += _glob(argument, excluded)
        else:
            inputs.append(Input(PurePosixPath(Path(argument).name or argument), Path(argument)))
    if files_from is not None:
        inputs += [_listed(name) for name in read_names(files_from, null=null, stdin=stdin)]
        if not inputs:
            raise StorageError(f"{files_from}: the list names no files")
    inputs = _without_repeats(inputs)
    missing = [] if found else [i for i in inputs if isinstance(i.source, Path) and not os.path.lexists(i.source)]
    if inputs and len(missing) == len(inputs):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise StorageError(f"{missing[0].name}: no such file or directory{more}")
    refuse_collisions((i.name, str(i.relative)) for i in inputs)
    return Found(tuple(inputs), skipped)


def read_names(source: str, *, null: bool = False, stdin: BinaryIO | None = None) -> list[str]:
    """The names in a list file ("-" is stdin): a line each, or NUL-separated with `null`. Raises StorageError."""
    try:
        data = (stdin or sys.stdin.buffer).read() if source == STDIN else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(f"{source}: the list of files can't be read: {reason.lower()}") from None
    parts = data.split(b"\0") if null else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(part) for part in parts if part]


def refuse_collisions(named: Iterable[tuple[str, str]]) -> None:
    """Raise UsageError when two inputs (input name, output name) would be written to one output."""
    owner: dict[str, str] = {}
    for name, output in named:
        other = owner.setdefault(output, name)
        if other != name:
            raise UsageError(
                f"{other} and {name} would both be written as {output}: run them apart, "
                f"or give the directory above them with -r, which mirrors its tree"
            )


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which img2 comes before img10."""
    parts = re.split(r"([0-9]+)", text)
    key = tuple((1, int(part), part) if n % 2 else (0, 0, part.casefold()) for n, part in enumerate(parts))
    return (*key, (0, 0, text))  # names that differ in case only still have one order


def _directory(root: Path, *, recursive: bool, excluded: tuple[int, int] | None) -> tuple[list[Input], int]:
    from segcli.io.images import SUFFIXES  # with Pillow and numpy, which a misspelt name must not wait for

    found: list[Input] = []
    others = below = 0
    for relative, kind in _walk(root, recursive=recursive, excluded=excluded):
        if kind == "directory":
            below += 1
        elif kind == "closed" or (kind == "file" and os.path.splitext(relative)[1].lower() in SUFFIXES):  # noqa: PTH122
            found.append(Input(PurePosixPath(relative), root / relative))  # a closed directory will fail as an item
        else:
            others += 1
    if not found:
        hint = "; type -r to look in the directories below it" if below and not recursive else ""
        raise StorageError(f"{root}: no photos in it ({others} other files){hint}")
    return found, others


def _remote(url: str, *, recursive: bool, exclude: Remote | None) -> tuple[list[Input], int]:
    """The object that a URL names, or the photos below it."""
    objects = below(url, recursive=recursive)
    if objects is None:
        return [Input(PurePosixPath(Remote(url).name), Remote(url))], 0
    from segcli.io.images import SUFFIXES

    objects = [one for one in objects if not any(p.startswith(".") and p.strip(".") for p in one[0].split("/"))]
    if exclude is not None:
        objects = [one for one in objects if not one[1].is_below(exclude)]
    photos = [one for one in objects if PurePosixPath(one[0]).suffix.lower() in SUFFIXES]
    if not photos:
        hint = "" if recursive else "; type -r to look in the directories below it"
        raise StorageError(f"{url}: no photos in it ({len(objects)} other objects){hint}")
    photos.sort(key=lambda one: tuple(natural_key(part) for part in PurePosixPath(one[0]).parts))
    return [Input(PurePosixPath(name), source) for name, source in photos], len(objects) - len(photos)


def _walk(
    root: Path,
    *,
    recursive: bool,
    excluded: tuple[int, int] | None,
    below: str = "",
    above: tuple[tuple[int, int] | None, ...] = (),
) -> Iterator[tuple[str, Kind]]:
    """Every visible entry in natural order, as its path below `root`, with its kind.

    `above` are the directories being walked, so that loops of links end.
    """
    directory = root / below
    try:
        with os.scandir(directory) as scan:
            entries = [(entry.name, _kind(entry)) for entry in scan if not entry.name.startswith(".")]
    except OSError as error:
        if below:
            yield below, "closed"
            return
        raise StorageError(f"{root}: can't be read: {(error.strerror or str(error)).lower()}") from None
    here = _identity(directory)
    for name, kind in sorted(entries, key=lambda entry: natural_key(entry[0])):
        path = f"{below}/{name}" if below else name
        if kind != "directory":
            yield path, kind
        elif (identity := _identity(root / path)) != excluded and identity not in (here, *above):
            yield path, "directory"
            if recursive:
                yield from _walk(root, recursive=True, excluded=excluded, below=path, above=(*above, here))


def _kind(entry: os.DirEntry[str]) -> Kind:
    """What an entry is. Pipes, sockets and devices are "other": nobody means them, and reading one may never end."""
    try:
        directory, file = entry.is_dir(), entry.is_file()
    except OSError:  # a link that leads to itself, or one that can't be followed: it fails as an item
        return "file"
    if directory:
        return "directory"
    if file or (entry.is_symlink() and not os.path.exists(entry.path)):  # noqa: PTH110 - a text, no Path
        return "file"
    return "other"


def _glob(pattern: str, excluded: tuple[int, int] | None) -> list[Input]:
    """What the pattern matches, mirrored below its fixed part; the pattern itself as a missing file when nothing."""
    fixed = Path()
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    found = []
    for match in glob.glob(pattern, recursive=True):  # noqa: PTH207 - keeps the path as the user typed it
        path = Path(match)
        if path.is_dir() or (excluded is not None and any(_identity(p) == excluded for p in path.parents)):
            continue
        found.append(Input(PurePosixPath(*path.relative_to(fixed).parts), path))
    found.sort(key=lambda i: tuple(natural_key(part) for part in i.relative.parts))
    return found or [Input(PurePosixPath(Path(pattern).name), Path(pattern))]


def _listed(name: str) -> Input:
    """A name from a list: it keeps its path when that stays below the current directory; of a URL the last part."""
    if is_url(name := local(name)):
        return Input(PurePosixPath(Remote(name).name), Remote(name))
    path = Path(name)
    inside = not path.is_absolute() and ".." not in path.parts and path.parts
    return Input(PurePosixPath(*path.parts) if inside else PurePosixPath(path.name or name), path)


def _without_repeats(inputs: Iterable[Input]) -> list[Input]:
    """The same file named twice under one output name is one photo; two files stay, to be refused by name."""
    first: dict[str, Input] = {}
    kept = []
    for one in inputs:
        other = first.setdefault(str(one.relative), one)
        if other is one or _real(other) != _real(one):
            kept.append(one)
    return kept


def _real(one: Input) -> str:
    if isinstance(one.source, Path):
        return os.path.realpath(one.source)
    return STDIN if one.source is None else one.source.url


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, which name a directory whatever links lead to it; None when it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

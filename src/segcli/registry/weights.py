"""Which checkpoints there are: weights.toml, the user's own one, and those that plug-ins bring.

Read without torch, numpy or huggingface_hub, so that `seg models list` and every refusal are quick.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from segcli.core.errors import UsageError

ACCEPTS = (
    *("point", "box", "scribble", "polygon", "mask", "previous"),
    *("text", "reference", "classes", "examples", "video"),
)
"""The words of `segcli.core.ask.PromptKind`, which would bring numpy along."""

BUILT_IN = "seg"
PACKAGE = Path(__file__).resolve().parent.parent

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)*")
_SYSTEM = re.compile(r"[a-z][a-z0-9_]*")
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"https://[^\s/?#]+/[^\s?#]*")


@dataclass(frozen=True)
class File:
    """One file of a checkpoint. size 0 and sha256 "" mean: not published, recorded at the first pull.

    `about` is a rounded size in words ("4.98 GB") where no exact one is known.
    """

    name: str
    size: int = 0
    sha256: str = ""
    about: str = ""

    @property
    def is_pickle(self) -> bool:
        """True for files that hold pickled tensors and must be converted before they are opened."""
        return Path(self.name).suffix in (".pt", ".pth", ".bin", ".pkl")


@dataclass(frozen=True)
class Entry:
    """One checkpoint under one name, in the manner of `system.tag`.

    config:  a preset of the system's config module, or (files that seg trained) the values themselves.
    hub:     repository on the hub, with `revision` (a commit where one is known).
    url:     where files outside of the hub lie; folder: where files on this machine lie.
    bundled: files that come with seg, in the order in which they are read.
    keys:    which key table of the system maps the files onto its modules.
    source:  which weights.toml the entry stands in.
    """

    name: str
    system: str
    config: str | Mapping[str, Any]
    keys: str
    licence: str
    accepts: frozenset[str]
    hub: str = ""
    revision: str = ""
    url: str = ""
    folder: str = ""
    files: tuple[File, ...] = ()
    bundled: tuple[str, ...] = ()
    gated: bool = False
    wants: str = ""
    notes: str = ""
    source: str = BUILT_IN

    @property
    def size(self) -> int:
        """Bytes of all files together; 0 when one of them is not known."""
        sizes = [file.size for file in self.files]
        return sum(sizes) if all(sizes) else 0


def parse(text: str, source: str) -> dict[str, Entry]:
    """Entries of a weights.toml by name. Raises UsageError with one line that names the file, the entry and the key."""
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{source}: not valid TOML: {_line(error)}; correct it there") from error
    return {name: _entry(name, table, source) for name, table in _walk(tables, "", source)}


def read(path: Path, source: str | None = None) -> dict[str, Entry]:
    """Entries of the weights.toml at `path`. Raises UsageError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: can't be read: {_line(error)}; correct it or move it away") from error
    return parse(text, source or str(path))


def _walk(tables: Mapping[str, Any], prefix: str, source: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tables that carry `system` are entries; those above them are the first parts of their names."""
    for key, value in tables.items():
        name = f"{prefix}.{key}" if prefix else key
        if not isinstance(value, dict):
            raise UsageError(f"{source}: {name[:80]!r} stands outside of a checkpoint's table; begin with [system.tag]")
        if not value:
            raise UsageError(f"{source}: [{name[:80]}] is empty; give it `system`, `config`, `files` and `licence`")
        if "system" in value and not isinstance(value["system"], dict):
            yield name, value
        else:
            yield from _walk(value, name, source)


class _Table:
    """Reads typed values out of one TOML table and says in one line what does not fit."""

    def __init__(self, name: str, table: Mapping[str, Any], source: str) -> None:
        self.name, self.source, self.left = name, source, dict(table)

    def wrong(self, what: str) -> UsageError:
        return UsageError(f"{self.source}: [{self.name[:80]}]: {what}")

    def text(self, key: str, pattern: re.Pattern[str] | None = None, default: str | None = None) -> str:
        value = self.left.pop(key, default)
        if value is None:
            raise self.wrong(f'`{key}` is missing; add {key} = "…"')
        if not isinstance(value, str) or "\n" in value or "\x00" in value:
            raise self.wrong(f"`{key}` must be one line of text in quotes")
        if value and pattern is not None and not pattern.fullmatch(value):
            raise self.wrong(f"`{key}` can't be {value[:80]!r}; see the entries that `seg models list` shows")
        return value

    def flag(self, key: str) -> bool:
        value = self.left.pop(key, False)
        if not isinstance(value, bool):
            raise self.wrong(f"`{key}` must be true or false")
        return value

    def size(self, key: str) -> int:
        value = self.left.pop(key, 0)
        if type(value) is not int or value < 0:
            raise self.wrong(f"`{key}` must be a number of bytes, or be left out")
        return value

    def items(self, key: str, kind: type) -> list[Any]:
        value = self.left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(v, kind) for v in value):
            raise self.wrong(f"`{key}` must be a list in [brackets]")
        return value

    def done(self) -> None:
        if self.left:
            raise self.wrong(f"`{next(iter(self.left))[:80]}` is not a key that seg knows; take it out")


def _entry(name: str, values: Mapping[str, Any], source: str) -> Entry:
    table = _Table(name, values, source)
    if not _NAME.fullmatch(name):
        raise table.wrong("a name has small letters, digits, '-' and '.' only")
    entry = Entry(
        name=name,
        system=table.text("system", _SYSTEM),
        config=table.text("config"),
        keys=table.text("keys", default="seg"),
        licence=table.text("licence"),
        accepts=frozenset(table.items("accepts", str)),
        hub=table.text("hub", _HUB, ""),
        revision=table.text("revision", _REVISION, ""),
        url=table.text("url", _URL, ""),
        folder=table.text("folder", default=""),
        files=tuple(_file(name, values, source) for values in table.items("files", dict)),
        bundled=tuple(table.items("bundled", str)),
        gated=table.flag("gated"),
        wants=table.text("wants", default=""),
        notes=table.text("notes", default=""),
        source=source,
    )
    table.done()
    for word in sorted(entry.accepts - set(ACCEPTS)):
        raise table.wrong(f"`accepts` can't hold {word[:40]!r}; choose from {', '.join(ACCEPTS)}")
    if not entry.system:
        raise table.wrong(
            "`system` must not be empty; name one of seem, seggpt, psalm, ras, sam or an installed plug-in"
        )
    if sum(map(bool, (entry.hub, entry.url, entry.folder, entry.bundled))) != 1:
        raise table.wrong("say where the files are with exactly one of `hub`, `url`, `folder` and `bundled`")
    if entry.bundled and (entry.files or source != BUILT_IN):
        raise table.wrong("`bundled` is for files that come with seg; use `folder` and `files` for your own")
    for file in (*(file.name for file in entry.files), *entry.bundled):
        if not is_plain(file):
            raise table.wrong(
                f"a file can't be called {file[:80]!r}: its path must stay inside of the checkpoint's folder"
            )
    if len({file.name for file in entry.files}) != len(entry.files):
        raise table.wrong("a file is listed twice")
    if ".." in entry.revision:
        raise table.wrong("`revision` can't hold '..'")
    return entry


def _file(name: str, values: Mapping[str, Any], source: str) -> File:
    table = _Table(f"{name}.files", values, source)
    file = File(
        table.text("name"), table.size("size"), table.text("sha256", _SHA256, ""), table.text("about", default="")
    )
    table.done()
    return file


def is_plain(name: str) -> bool:
    """True for a relative path that can't leave the folder it is put in."""
    parts = name.split("/")
    return bool(name) and not any(p in ("", ".", "..") for p in parts) and not re.search(r"[\\:\x00-\x1f]", name)


def own_file() -> Path:
    """The user's own weights.toml, whether it exists or not."""
    import platformdirs

    return platformdirs.user_config_path("seg") / "weights.toml"


def shipped_file() -> Path:
    """weights.toml as it came: inside the package from a wheel, at the root in a checkout or an editable install."""
    inside = PACKAGE / "weights.toml"
    return inside if inside.is_file() else PACKAGE.parent.parent / "weights.toml"


def catalogue(own: Path | None = None) -> dict[str, Entry]:
    """All entries by name: seg's, then those of plug-ins, then the user's. Raises UsageError, also for a name twice."""
    from segcli.registry.plugins import weights_files

    own = own or own_file()
    entries = dict(_shipped())
    places = [*weights_files(), *([own] if own.is_file() else [])]
    for place in places:
        for name, entry in read(place).items():
            if name in entries:
                raise UsageError(
                    f"{place}: [{name}] stands in {_where(entries[name])} already; give yours another name"
                )
            entries[name] = entry
    return entries


@cache
def _shipped() -> Mapping[str, Entry]:
    return read(shipped_file(), BUILT_IN)


def _where(entry: Entry) -> str:
    return "seg's own weights.toml" if entry.source == BUILT_IN else entry.source


def find(name: str) -> Entry:
    """The one entry that `name` means: an entry's name, a glob that fits one entry, or a safetensors file.

    Raises UsageError for a name that nothing has (with the nearest one), or that several have;
    CheckpointError for a file that is missing or does not say what it is.
    """
    if is_path(name):
        from segcli.registry.local import entry_of_file

        return entry_of_file(Path(name))
    entries = match(name)
    if len(entries) > 1:
        raise UsageError(f"{name}: fits {', '.join(e.name for e in entries[:6])}; give one of them")
    return entries[0]


def match(pattern: str) -> list[Entry]:
    """Entries whose names fit `pattern` (a name, or a glob with * ? [ ]), in the order of weights.toml.

    Raises UsageError when none does.
    """
    import fnmatch

    entries = catalogue()
    if pattern in entries:
        return [entries[pattern]]
    fitting = [entry for name, entry in entries.items() if fnmatch.fnmatchcase(name, pattern)]
    if not fitting:
        raise UsageError(f"{pattern}: no checkpoint has this name; {_nearest(pattern, list(entries))}")
    return fitting


def _nearest(name: str, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    near = near or [n for n in names if name.lower() in n][:3]
    return f"did you mean {' or '.join(near)}?" if near else "see `seg models list`"


def is_path(name: str) -> bool:
    """True when `name` means a file and not an entry."""
    return name.endswith((".safetensors", ".pt", ".pth", ".bin", ".ckpt")) or "/" in name


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

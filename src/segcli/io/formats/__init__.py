"""Mask formats, one module each: writer and reader side by side, imported when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from segcli.core.errors import UsageError
from segcli.io.formats.contract import Format, Readable

NAMES = (
    "mask",
    "palette",
    "cutout",
    "overlay",
    "coco",
    "panoptic",
    "semantic",
    "jsonl",
    "labelme",
    "yolo",
    "svg",
    "npz",
    "ora",
)


class _Formats(Mapping[str, Format]):
    """Name -> format; a module is imported at its first use."""

    def __getitem__(self, name: str) -> Format:
        if name not in NAMES:
            raise KeyError(name)
        found: Format = import_module(f"{__name__}.{name}").FORMAT
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


FORMATS: Mapping[str, Format] = _Formats()


def get_format(name: str) -> Format:
    """The format of that name. Raises UsageError, which lists the names."""
    if name not in NAMES:
        raise UsageError(f"-f {name} is no format: choose from {', '.join(NAMES)}")
    return FORMATS[name]


def get_reader(name: str) -> Readable:
    """The format of that name, if its files can be read. Raises UsageError."""
    found = get_format(name)
    if not isinstance(found, Readable):
        readable = ", ".join(n for n in NAMES if isinstance(FORMATS[n], Readable))
        raise UsageError(f"{name} files hold no masks that could be read back: choose from {readable}")
    return found

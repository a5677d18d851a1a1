"""What output files are called.

Without a template the tree of the inputs is mirrored and a photo's own name is kept: `trip/a.jpg` becomes
`trip/a.png`. Added to it are, each only where it is needed: the ask's id (or number) when a photo has several asks and
the file is not about all of them, the mask's number when an answer has several files. `a.jpg` beside `a.webp` become
`a.jpg.png` and `a.webp.png`. With several formats each has a directory of its own (`mask/trip/a.png`,
`cutout/trip/a.png`), so that trees of masks fit trees of photos whatever else is written.

A template such as `{parent}/{stem}-{label}-{n}.png` says all of it; its suffix gives way to the one of the format.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from segcli.core.ask import Ask
from segcli.core.errors import ItemError, UsageError
from segcli.io.formats.contract import Rendered
from segcli.pipeline.plan import Item, Output

FIELDS = ("stem", "name", "parent", "ask", "n", "label", "format")
"""What a template may hold in braces."""

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
_UNFIT = re.compile(r"[/\\\x00-\x1f\x7f]")


class Names:
    """Names for one plan. Raises UsageError when the template has an unknown field, leaves the directory, or gives
    two photos one name."""

    def __init__(self, items: Sequence[Item], output: Output) -> None:
        self._template = None if output.template is None else _SUFFIX.sub("", output.template)
        self._several = len(output.formats) > 1
        if output.template is not None:
            _check(output.template)
            if output.one_file is None:
                _tell_apart(output.template, items)
        stems = Counter(str(item.relative.with_suffix("")) for item in items if item.relative.name)
        self._shared = frozenset(stem for stem, count in stems.items() if count > 1)

    def of(self, item: Item, asks: Sequence[Ask | None], rendered: Sequence[Sequence[Rendered]]) -> list[list[str]]:
        """Paths relative to the output directory, for each ask's files; an ask None stands for all of them together.

        Raises ItemError when two would be the same.
        """
        several = sum(ask is not None for ask in asks) > 1
        paths = [
            [
                self._one(item, "" if ask is None else ask.id or str(number), several and ask is not None, file, files)
                for file in files
            ]
            for number, (ask, files) in enumerate(zip(asks, rendered, strict=True), 1)
        ]
        twice = [path for path, count in Counter(path for row in paths for path in row).items() if count > 1]
        if twice:
            fields = "{ask}, {n} or {format}" if self._template else "other ids for its asks"
            raise ItemError(f"{item.name}: several of its files would be called {twice[0]}: give {fields}")
        return paths

    def within(self, rendered: Sequence[Rendered], paths: Sequence[str]) -> dict[str, str]:
        """The path of each format's first file below the directory of its own that the format has, if it has one."""
        found: dict[str, str] = {}
        for file, path in zip(rendered, paths, strict=True):
            found.setdefault(file.kind, path.removeprefix(f"{self._directory(file.kind)}/"))
        return found

    def _directory(self, kind: str) -> str:
        """The directory of its own that a format has beside others; "" where it has none."""
        return kind if self._several and "{format}" not in (self._template or "") else ""

    def _one(self, item: Item, ask: str, several_asks: bool, file: Rendered, beside: Sequence[Rendered]) -> str:
        relative = item.relative
        if ".." in relative.parts or relative.is_absolute():
            raise ItemError(f"{item.name}: its path {relative} would leave the output directory")
        several_files = sum(other.kind == file.kind for other in beside) > 1
        if self._template is not None:
            path = self._template.format(
                stem=relative.stem or relative.name,
                name=relative.name,
                parent=str(relative.parent),
                ask=_fit(ask),
                n="" if file.n is None else file.n,
                label=_fit(file.label or "none"),
                format=file.kind,
            )
            path += file.extension
        else:
            shared = str(relative.with_suffix("")) in self._shared
            name = relative.name if shared else relative.stem
            name += f"-{_fit(ask)}" if several_asks else ""
            name += f"-{file.n}" if several_files and file.n is not None else ""
            path = str(relative.parent / (name + file.extension))
        return str(PurePosixPath(self._directory(file.kind), path))


def _check(template: str) -> None:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise UsageError(f"-o {template}: {error}: braces hold one of {', '.join(FIELDS)}") from error
    for field in fields:
        if field not in FIELDS:
            raise UsageError(f"-o {template}: {{{field}}} is not known; braces hold one of {', '.join(FIELDS)}")
    path = PurePosixPath(template)
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(f"-o {template}: the template leaves the output directory; give the directory before it")


def _tell_apart(template: str, items: Sequence[Item]) -> None:
    first: dict[str, Item] = {}
    for item in items:
        relative = item.relative
        same = {"stem": relative.stem, "name": relative.name, "parent": str(relative.parent)}
        path = template.format(**same, ask="", n="", label="", format="")
        if first.setdefault(path, item) is not item:
            raise UsageError(
                f"-o {template}: {first[path].name} and {item.name} would share a file: use {{parent}} and {{name}}"
            )


def _fit(text: str) -> str:
    """Text as part of a file name: no separators or control characters, not endless, and no way out of a directory."""
    fit = _UNFIT.sub("_", text)[:80]
    return fit if fit.strip(".") else "_"

"""Classes that a model learns before it is measured: by example, or by a tuned prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segcli.cli.shown import Shown
from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.cli.showing import Lesson
    from segcli.core.classes import ClassList

_MEMORY = 512 << 20  # of learned examples that are not in use, as in `seg incontext`


@dataclass(frozen=True)
class Taught:
    """What shows the classes."""

    classes_dir: Annotated[
        str | None,
        typer.Option("--classes-dir", metavar="DIR", help="With -m: a folder of pairs of photo and mask a class."),
    ] = None
    per_class: Annotated[
        str | None,
        typer.Option(
            "--per-class", metavar="1…32", help="--classes-dir: pairs of a class, drawn by --seed.", show_default="all"
        ),
    ] = None
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="FILE", help="With -m: a prompt that `seg train prompt` made.")
    ] = None

    @property
    def given(self) -> bool:
        """Whether anything is shown."""
        return self.classes_dir is not None or self.prompt is not None

    @property
    def _shown(self) -> Shown:
        return Shown(classes_dir=self.classes_dir, per_class=self.per_class, prompt=self.prompt)

    def check(self) -> None:
        """Refuse what does not go together. Raises UsageError."""
        if self.given:
            self._shown.check()
        elif self.per_class is not None:
            raise UsageError("--per-class is for --classes-dir; add that, or take --per-class away")

    def lesson(self, seed: int) -> Lesson:
        """Look at all that is shown. Raises UsageError that names the pair, the folder or the prompt."""
        from segcli.cli.showing import shown_to

        return shown_to(self._shown, seed, _MEMORY)

    def classes_of(self, names: str | None, layout: str, folders: ClassList) -> dict[int, int]:
        """Id in the model's answers -> class of the data set from 0.

        By name, in --names or the layout's own list; where folders are called by numbers, these are the classes; ids of
        a prompt without names are the values that annotations hold. Raises UsageError.
        """
        from segcli.bench.layouts import class_of
        from segcli.cli.benching import class_names

        shown = folders.id_of
        if self.prompt is not None:
            from segcli.registry.tuned import read_card

            task = read_card(Path(self.prompt)).task
            if task.kind == "panoptic":
                raise UsageError(f"--prompt {self.prompt}: is for panoptic masks; give one for classes")
            if any(name is None for name in task.names.values()):
                return {number: class_of(layout, number) for number in task.ids}
        elif names is None and all(name.isascii() and name.isdigit() for name in shown):
            return {number: int(name) for name, number in shown.items()}
        order = {name: number for number, name in enumerate(class_names(names, layout))}
        strange = next((name for name in shown if name not in order), None)
        if strange is not None:
            raise UsageError(f"{self._option}: shows {strange!r}, which is none of the {len(order)} classes' names")
        return {number: order[name] for name, number in shown.items()}

    def settings(self, lesson: Lesson) -> dict[str, Any]:
        """What decides the answers, short enough for a document."""
        from segcli.bench.records import digest_json

        return {"from": self._option, "per_class": self.per_class, "digest": digest_json(dict(lesson.settings))[:16]}

    @property
    def _option(self) -> str:
        return "--prompt" if self.prompt is not None else "--classes-dir"

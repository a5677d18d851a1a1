"""From what is shown to what a model learns before a run: examples are looked at here, photos of queries are not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from segcli.cli.options import number
from segcli.cli.shown import NEAREST, Shown
from segcli.core.classes import ClassList
from segcli.core.errors import UsageError
from segcli.io.inputs import natural_key
from segcli.io.pairs import Examples, pairs_in, pairs_listed, split_pair

if TYPE_CHECKING:
    from segcli.core.example import Task
    from segcli.models.api import Promptable
    from segcli.pipeline.incontext import Manner


@dataclass(frozen=True)
class Lesson:
    """What makes an opened model ready, what of it decides the results, and the names of classes, if there are any."""

    teach: Callable[[Promptable], Promptable]
    settings: Mapping[str, object]
    classes: ClassList = ClassList()  # noqa: RUF009 - frozen


def shown_to(shown: Shown, seed: int, memory: int) -> Lesson:
    """Look at all examples. Raises UsageError that names the pair, the directory or the prompt that can't be used."""
    from segcli.pipeline.incontext import ByClass, ByExample, Manner, learner

    manner = Manner(
        cast(Literal["feature", "spatial", "vote"], shown.ensemble or "feature"),
        cast(Literal["semantic", "instance"], shown.kind or ("semantic" if shown.classes_dir else "instance")),
        shown.sure,
        shown.window,
        memory,
    )
    settings: dict[str, object] = {
        "ensemble": manner.ensemble,
        "kind": manner.kind,
        "threshold": manner.threshold,
        "tiles": manner.tiles,
    }
    if shown.prompt is not None:
        return _prompt(Path(shown.prompt), manner, settings)
    if shown.classes_dir is not None:
        classes = class_examples(Path(shown.classes_dir), (shown.per_class and int(shown.per_class)) or None, seed)
        digests = {name: examples.digest for name, examples in classes.items()}
        return Lesson(
            lambda model: ByClass(learner(model), classes, manner),
            settings | {"classes": digests},
            ClassList(tuple(classes)),
        )
    examples = _examples(shown)
    nearest = number("--k", shown.k or NEAREST, low=1) if shown.bank is not None else None
    return Lesson(
        lambda model: ByExample(learner(model), examples, manner, nearest),
        settings | {"examples": examples.digest, "k": nearest},
    )


def class_examples(root: Path, most: int | None, seed: int) -> dict[str, Examples]:
    """Examples of each class (a folder of `root`), at most `most` drawn by the seed; classes in natural order.

    Raises UsageError for a directory without folders, and what `Examples` raises.
    """
    if not root.is_dir():
        raise UsageError(f"--classes-dir {root}: no such directory; give one with a folder of pairs for each class")
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not folders:
        raise UsageError(f"--classes-dir {root}: no folders in it; give each class a folder of pairs")
    classes = {}
    for folder in sorted(folders, key=lambda path: natural_key(path.name)):
        pairs = pairs_in(folder)
        if most is not None and most < len(pairs):
            pairs = random.Random(f"{seed} {folder.name}").sample(pairs, most)
        classes[folder.name] = Examples(pairs, one_target=True)
    return classes


def _examples(shown: Shown) -> Examples:
    if shown.bank is not None:
        if not Path(shown.bank).is_dir():
            raise UsageError(f"--bank {shown.bank}: no such directory; give one that holds pairs of photo and mask")
        return Examples(pairs_in(Path(shown.bank)))
    pairs = [pair for text in shown.example for pair in split_pair(text)]
    return Examples(pairs + [pair for text in shown.examples for pair in pairs_listed(text)])


def _prompt(path: Path, manner: Manner, settings: dict[str, object]) -> Lesson:
    from segcli.registry.hashes import content
    from segcli.registry.tuned import read_card

    card = read_card(path)
    if card.task.kind == "panoptic" and (manner.tiles or manner.threshold is not None):
        raise UsageError(f"--prompt {path}: is for whole photos at once; take --tiles and --threshold away")

    def teach(model: Promptable) -> Promptable:
        from segcli.pipeline.incontext import ByPrompt, learner, tunable
        from segcli.registry.tuned import read_prompt

        card.check_model(path, model.name, model.revision)
        tunable(model).tune(read_prompt(path), card.task)
        return ByPrompt(learner(model), card.task, manner)

    return Lesson(teach, settings | {"prompt": content(path)}, _classes(card.task))


def _classes(task: Task) -> ClassList:
    """The task's named ids."""
    named = {number: name for number in task.ids if (name := task.names[number]) is not None}
    things = tuple(number in task.things for number in named) if task.things else ()
    return ClassList(tuple(named.values()), things, tuple(named))

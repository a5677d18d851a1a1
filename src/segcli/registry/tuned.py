"""A tuned prompt as a file: its tensors, and in the metadata what it was tuned for, on what and how.

seg.prompt   a JSON object: the model's name and revision, kind, names of ids, things, steps, seed, data's fingerprint
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.core.errors import CheckpointError, UsageError
from segcli.core.example import Task
from segcli.registry.header import read_header
from segcli.registry.writer import check_seal, save

if TYPE_CHECKING:
    from torch import Tensor

CARD = "seg.prompt"


@dataclass(frozen=True)
class PromptCard:
    """What a prompt is.

    model, revision: of the checkpoint whose prompt it is. data: fingerprint of the photos and masks it learned from.
    start:   names of the examples that it began from. figures: losses, and whatever else was measured.
    """

    model: str
    revision: str
    task: Task
    steps: int
    seed: int
    data: str
    start: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    def check_model(self, path: Path, name: str, revision: str) -> None:
        """Raise UsageError unless the prompt was made for these very weights."""
        if (self.model, self.revision) == (name, revision):
            return
        other = f"{self.model} ({self.revision})"
        same = f", this is {name} ({revision})" if self.model == name else f", not for {name}"
        raise UsageError(f"{path}: is a prompt for {other}{same}; choose that one with -m, or tune a prompt anew")


def write_prompt(path: Path, tensors: Mapping[str, Tensor], card: PromptCard) -> None:
    """Write a sealed safetensors file; the same prompt gives the same bytes. Raises StorageError."""
    task = card.task
    said = {
        "model": card.model,
        "revision": card.revision,
        "kind": task.kind,
        "names": {str(number): task.names[number] for number in task.ids},
        "things": sorted(task.things),
        "steps": card.steps,
        "seed": card.seed,
        "data": card.data,
        "start": list(card.start),
        "figures": dict(card.figures),
    }
    save(path, tensors, {CARD: json.dumps(said, sort_keys=True)})


def read_card(path: Path) -> PromptCard:
    """What a prompt file says of itself. Raises UsageError when there is none, CheckpointError for a damaged one."""
    if not path.is_file():
        raise UsageError(f"--prompt {path}: no such file; `seg train prompt` makes one")
    text = read_header(path).metadata.get(CARD)
    if not text:
        raise UsageError(f"--prompt {path}: is no tuned prompt; `seg train prompt` makes one, -m opens checkpoints")
    try:
        return _card(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: what it says of itself can't be read ({error}); tune it anew") from None


def read_prompt(path: Path) -> dict[str, Tensor]:
    """The tensors of a prompt. Raises CheckpointError when its bytes were changed."""
    from safetensors.torch import load_file

    check_seal(path)
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def _card(said: Mapping[str, Any]) -> PromptCard:
    if said["kind"] not in ("semantic", "instance", "panoptic"):
        raise ValueError(f"kind {said['kind']!r}")
    names = {int(number): name for number, name in said["names"].items()}
    return PromptCard(
        model=said["model"],
        revision=said["revision"],
        task=Task(said["kind"], names, frozenset(said["things"])),
        steps=int(said["steps"]),
        seed=int(said["seed"]),
        data=said["data"],
        start=tuple(said["start"]),
        figures=dict(said["figures"]),
    )

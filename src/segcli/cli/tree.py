"""The command tree: verbs by name and one line each; a verb's module is imported when it is asked for."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any, get_type_hints

import typer
from typer.core import TyperGroup

from segcli.core.errors import UsageError

VERBS = {
    "point": "Mask what clicks, boxes, scribbles, polygons and rough masks point at.",
    "refer": "Mask what words refer to, alone or together with places and regions of other photos.",
    "group": "Mask the group of objects that a sentence means.",
    "panoptic": "Mask everything in a photo that belongs to given classes.",
    "incontext": "Mask what examples show: photos with masks say what is meant.",
    "vos": "Follow objects through videos, from a mask, clicks, a box or words.",
    "ask": "Answer questions about a photo in words.",
    "masks": "Convert, choose, clean, merge, measure and show masks.",
    "models": "List, fetch, check and convert checkpoints.",
    "train": "Train a checkpoint.",
    "bench": "Measure a checkpoint, or a folder of results, on a data set.",
}
"""Each verb with the first line of its help (a test holds them equal), so that `seg --help` imports none of them."""


class Verbs(TyperGroup):
    """The group `seg`: it knows its verbs from the table and imports the one that is typed."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: typer.core.TyperCommand(name, help=line) for name, line in VERBS.items()}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb's command, or None for a word that is no verb."""
        return load_verb(cmd_name, ctx) if cmd_name in VERBS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The verbs with their lines, from the table."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, spared of pydantic."""
        params: list[Any] = super().get_params(ctx)
        for param in params:
            _spare_pydantic(param, bool)
        return params


def load_verb(name: str, ctx: Any) -> Any:
    """The command of the verb `name` (a Typer command or group), its module imported now."""
    module = import_module(f"segcli.cli.{name}")
    command = typer.main.get_command(module.app)
    command.name = name
    _spare(command, ctx)
    return command


def _spare(command: Any, ctx: Any) -> None:
    """Spare the options of a command, and of those below it, the import of pydantic where they are text or flags."""
    hints = get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    for param in command.get_params(ctx):
        _spare_pydantic(param, hints.get(param.name, bool))
    for below in getattr(command, "commands", {}).values():
        _spare(below, ctx)


def _spare_pydantic(param: Any, annotation: Any) -> None:
    """Let text, lists of text and absent values pass as they are.

    Typer sends even those through pydantic, whose import (80 ms) is more than all else that `seg --help` or a refused
    option needs. Numbers and the like still go that way, when they are given.
    """
    full = param.process_value
    is_text = annotation in (str, str | None, list[str], list[str] | None)
    several = param.nargs != 1 or getattr(param, "multiple", False)

    def process(ctx: Any, value: Any) -> Any:
        absent = value is None or (several and not value)
        if param.required and absent and not ctx.resilient_parsing:
            words = f"{param.opts[0]} {param.metavar or ''}" if param.opts[0].startswith("-") else param.metavar
            raise UsageError(f"{words.strip()} is missing; see `{ctx.command_path} --help`")
        if not (absent or is_text or isinstance(value, bool)):
            return full(ctx, value)
        value = (list(value) if value else []) if several else value
        return value if param.callback is None else param.callback(ctx, param, value)

    param.process_value = process

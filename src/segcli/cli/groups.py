"""Options that verbs share, as dataclasses: a field is an option.

    @app.command()
    @verb
    def point(reading: Reading, telling: Telling, at: Annotated[list[str], typer.Option(…)] = …) -> None: ...

Typer sees one function with all options; `point` gets each group as one value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """The function as Typer wants it: parameters that are option groups (dataclasses) are replaced by their fields."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, type] = {}
    flat: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if hasattr(hint, "__dataclass_fields__"):
            groups[parameter.name] = hint
            extras = get_type_hints(hint, include_extras=True)
            flat += [_parameter(field, extras[field.name]) for field in fields(hint)]
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            flat.append(inspect.Parameter(parameter.name, kind, default=parameter.default, annotation=hint))

    def flattened(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        function(**values)

    flattened.__name__ = function.__name__
    flattened.__doc__ = function.__doc__
    flattened.__module__ = function.__module__
    flattened.__annotations__ = {parameter.name: parameter.annotation for parameter in flat} | {"return": None}
    flattened.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return flattened


def _parameter(field: Field[Any], annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty
    if field.default is not MISSING:
        default = field.default
    elif field.default_factory is not MISSING:
        default = field.default_factory()
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

"""A training plan as a file: sizes of the model, and legs that follow each other (see configs/seem-nano.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from segcli.core.errors import UsageError
from segcli.models.seem.nano import NanoConfig
from segcli.train.device_colour import Colour
from segcli.train.device_targets import Granularity
from segcli.train.device_views import DeviceViewConfig
from segcli.train.loop import LoopConfig
from segcli.train.seem import SeemRecipe
from segcli.train.views import ViewConfig

_C = TypeVar("_C")


@dataclass(frozen=True)
class Leg:
    """One stretch of training.

    parts:    only parameters whose name begins with one of them are trained (empty: all).
    frozen:   of these, parameters whose name begins with one of `frozen` stay as they are.
    backbone: learning rate of the click path's own backbone, as a part of the others' (0: it stays as it is).
    device_views: how views are made on the device; None: views and users are made on the CPU.
    """

    name: str
    recipe: SeemRecipe
    loop: LoopConfig
    parts: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    decoder: bool = True
    backbone: float = 0.0
    device_views: DeviceViewConfig | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides a run, besides the data."""

    model: NanoConfig
    legs: tuple[Leg, ...]
    seed: int = 0


def read_plan(path: Path) -> TrainingPlan:
    """Read a plan. Raises UsageError that names the file and the word that is wrong."""
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(
            f"{path}: can't be read: {error.strerror}; give a plan such as configs/seem-nano.toml"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not TOML: {error}") from error
    _only(table, {"seed", "model", "legs"}, str(path))
    model = _fill(NanoConfig, table.get("model", {}), str(path))
    legs = []
    for number, row in enumerate(table.get("legs", []), start=1):
        where = f"{path}: leg {number}"
        _only(row, {"name", "parts", "frozen", "decoder", "backbone", "view", "recipe", "loop", "device_views"}, where)
        if not isinstance(row.get("name"), str):
            raise UsageError(f'{where}: has no name; add name = "…"')
        recipe = {"view": _fill(ViewConfig, row.get("view", {}), where), **row.get("recipe", {})}
        legs.append(
            Leg(
                row["name"],
                _fill(SeemRecipe, recipe, where),
                _fill(LoopConfig, row.get("loop", {}), where),
                _prefixes(row, "parts", where),
                _prefixes(row, "frozen", where),
                bool(row.get("decoder", True)),
                float(row.get("backbone", 0.0)),
                _device_views(row["device_views"], where) if "device_views" in row else None,
            )
        )
    if not model.tuned and any(leg.backbone for leg in legs):
        raise UsageError(f"{path}: a leg trains a backbone that the model does not have; add tuned = true to [model]")
    if not legs:
        raise UsageError(f"{path}: has no [[legs]]; a plan needs one at least")
    return TrainingPlan(model, tuple(legs), int(table.get("seed", 0)))


def _prefixes(row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A leg's `parts` or `frozen`. A string alone would be read as a list of letters, and train something else."""
    names = row.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UsageError(f'{where}: {key} is no list of names; write for example {key} = ["detail."]')
    return tuple(names)


def _device_views(row: Mapping[str, Any], where: str) -> DeviceViewConfig:
    """A leg's `device_views = { stretch, feather, colour = {…}, granularity = {…} }`."""
    where = f"{where}: device_views"
    colour = _fill(Colour, row.get("colour", {}), f"{where}: colour")
    granularity = _fill(Granularity, row.get("granularity", {}), f"{where}: granularity")
    if not (len(colour.quality) == 2 and 1 <= colour.quality[0] <= colour.quality[1] <= 100):
        raise UsageError(f"{where}: colour: quality {list(colour.quality)}: is no range; write for example [30, 95]")
    if sum(astuple(granularity)) > 1:
        raise UsageError(f"{where}: granularity: its parts are more than 1 together; lower one")
    return _fill(DeviceViewConfig, {**row, "colour": colour, "granularity": granularity}, where)


def _fill(kind: type[_C], values: Mapping[str, Any], where: str) -> _C:
    """A dataclass from a table, lists as tuples."""
    _only(values, {f.name for f in fields(kind)}, where)  # type: ignore[arg-type]
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _only(values: Mapping[str, Any], known: set[str], where: str) -> None:
    odd = sorted(set(values) - known)
    if odd:
        raise UsageError(f"{where}: unknown {', '.join(odd)}; it may say {', '.join(sorted(known))}")

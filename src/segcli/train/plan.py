"""A training plan as a file: sizes of the model, and legs that follow each other (see configs/seem-nano.toml)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from segcli.core.errors import UsageError
from segcli.models.seem.nano import NanoConfig
from segcli.train.device_colour import Colour
from segcli.train.device_targets import Granularity
from segcli.train.device_views import DeviceViewConfig
from segcli.train.loop import LoopConfig
from segcli.train.seem import SeemRecipe
from segcli.train.tables import filled, only, read_table, whole
from segcli.train.views import ViewConfig

_WORDS = frozenset({
    "name", "parts", "frozen", "decoder", "backbone", "mean_with", "view", "recipe", "loop", "device_views",
})  # fmt: skip


@dataclass(frozen=True)
class Leg:
    """One stretch of training.

    parts:    only parameters whose name begins with one of them are trained (empty: all).
    frozen:   of these, parameters whose name begins with one of `frozen` stay as they are.
    backbone: learning rate of the click path's own backbone, as a part of the others' (0: it stays as it is).
    mean_with: the name of an earlier leg; what comes out is the mean of this leg's weights and of those after that one
              (a model soup, Wortsman et al. 2022). Empty: this leg's weights.
    device_views: how views are made on the device; None: views and users are made on the CPU.
    """

    name: str
    recipe: SeemRecipe
    loop: LoopConfig
    parts: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    decoder: bool = True
    backbone: float = 0.0
    mean_with: str = ""
    device_views: DeviceViewConfig | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides a run, besides the data."""

    model: NanoConfig
    legs: tuple[Leg, ...]
    seed: int = 0


def read_plan(path: Path) -> TrainingPlan:
    """Read a plan. Raises UsageError that names the file and the word that is wrong."""
    table = read_table(path, "configs/seem-nano.toml")
    only(table, ("seed", "model", "legs"), str(path))
    model = filled(NanoConfig(), table.get("model", {}), f"{path}: model")
    legs: list[Leg] = []
    for number, row in enumerate(table.get("legs", []), start=1):
        where = f"{path}: leg {number}"
        only(row, _WORDS, where)
        if not isinstance(row.get("name"), str):
            raise UsageError(f'{where}: has no name; add name = "…"')
        if not re.fullmatch(r"\w[\w.-]*", row["name"]):
            raise UsageError(f"{where}: name = {row['name']!r}: names a folder of --out; type letters and digits")
        if row["name"] in [leg.name for leg in legs]:
            raise UsageError(f"{where}: name = {row['name']!r}: another leg is called so; give each a name of its own")
        view = filled(ViewConfig(), row.get("view", {}), f"{where}: view")
        if view.side % 32:
            raise UsageError(f"{where}: view: side = {view.side}: type a multiple of 32")
        plain = {name: row[name] for name in ("decoder", "backbone", "mean_with") if name in row}
        start = Leg(
            row["name"],
            filled(SeemRecipe(view=view), row.get("recipe", {}), f"{where}: recipe"),
            filled(LoopConfig(), row.get("loop", {}), f"{where}: loop"),
            _prefixes(row, "parts", where),
            _prefixes(row, "frozen", where),
            device_views=_device_views(row["device_views"], where) if "device_views" in row else None,
        )
        leg = filled(start, plain, where)
        if leg.mean_with and leg.mean_with not in [earlier.name for earlier in legs]:
            raise UsageError(f"{where}: mean_with = {leg.mean_with!r}: no leg before it is called so")
        legs.append(leg)
    if not model.tuned and any(leg.backbone for leg in legs):
        raise UsageError(f"{path}: a leg trains a backbone that the model does not have; add tuned = true to [model]")
    if not legs:
        raise UsageError(f"{path}: has no [[legs]]; a plan needs one at least")
    return TrainingPlan(model, tuple(legs), whole(table, "seed", 0, str(path)))


def _prefixes(row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A leg's `parts` or `frozen`. A string alone would be read as a list of letters, and train something else."""
    names = row.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UsageError(f'{where}: {key} is no list of names; write for example {key} = ["detail."]')
    return tuple(names)


def _device_views(row: Mapping[str, Any], where: str) -> DeviceViewConfig:
    """A leg's `device_views = { stretch, feather, colour = {…}, granularity = {…} }`."""
    where = f"{where}: device_views"
    colour = filled(Colour(), row.get("colour", {}), f"{where}: colour")
    granularity = filled(Granularity(), row.get("granularity", {}), f"{where}: granularity")
    if not (len(colour.quality) == 2 and 1 <= colour.quality[0] <= colour.quality[1] <= 100):
        raise UsageError(f"{where}: colour: quality {list(colour.quality)}: is no range; write for example [30, 95]")
    if sum(astuple(granularity)) > 1:
        raise UsageError(f"{where}: granularity: its parts are more than 1 together; lower one")
    plain = {name: value for name, value in row.items() if name not in ("colour", "granularity")}
    return filled(DeviceViewConfig(colour=colour, granularity=granularity), plain, where)

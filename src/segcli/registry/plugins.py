"""Packages that bring systems of their own, through the entry-point group `seg.models`.

    [project.entry-points."seg.models"]
    mysystem = "mypackage.predictor:build"

`mysystem` is the word that `system` in a weights.toml may then name, the object is what `open_model` calls,
and `mypackage/weights.toml`, if it is there, is read without importing the package. A weights.toml can therefore
start code only by naming an entry point that someone installed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from segcli.core.errors import CheckpointError

GROUP = "seg.models"
SYSTEMS = ("seem", "seggpt", "psalm", "ras", "sam")


def installed() -> dict[str, EntryPoint]:
    """Entry points of the group by the system's word; seg's own systems can't be replaced."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in SYSTEMS}


def weights_files() -> list[Path]:
    """weights.toml of every plug-in that has one, found without running any of its code."""
    from importlib.util import find_spec

    places = []
    for top in dict.fromkeys(point.module.partition(".")[0] for point in installed().values()):
        spec = find_spec(top)
        folders = (spec.submodule_search_locations if spec else None) or []
        places += [path for folder in folders if (path := Path(folder) / "weights.toml").is_file()]
    return places


def is_built(system: str) -> bool:
    """True when seg, as installed here, has code for `system`. Imports nothing."""
    if system in SYSTEMS:
        return (Path(__file__).parent.parent / "models" / system / "predictor.py").is_file()
    return system in installed()


def builder(system: str) -> Callable[..., Any]:
    """The function that builds a model of `system`. Raises CheckpointError when there is none."""
    if not is_built(system):
        known = ", ".join(s for s in (*SYSTEMS, *installed()) if is_built(s)) or "none yet"
        raise CheckpointError(f"{system}: seg has no code for this system here; those it has: {known}")
    if system in SYSTEMS:
        from importlib import import_module

        build: Callable[..., Any] = import_module(f"segcli.models.{system}.predictor").build
        return build
    loaded: Callable[..., Any] = installed()[system].load()
    return loaded


def key_table(system: str, keys: str) -> Callable[[str], str | None]:
    """How files with the key table `keys` name what `system` calls otherwise. Raises CheckpointError when unknown.

    seg's own systems keep their tables in `KEY_TABLES` of their module `keys`; a plug-in beside its entry point.
    """
    from importlib import import_module
    from importlib.util import find_spec

    name = f"segcli.models.{system}.keys" if system in SYSTEMS else installed()[system].module
    tables = getattr(import_module(name), "KEY_TABLES", {}) if is_built(system) and find_spec(name) else {}
    if keys not in tables or "seg" not in tables:
        raise CheckpointError(f"{system}: opens {keys!r} files by the names they have; leave --own-names away")
    table: Callable[[str], str | None] = tables[keys]
    return table

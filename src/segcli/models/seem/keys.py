"""How files name SEEM's parameters: the modules here carry the published names, so nothing is renamed."""

from __future__ import annotations

from segcli.models.layers.loading import KeyTable, same_names

KEY_TABLES: dict[str, KeyTable] = {"original": same_names, "seg": same_names}

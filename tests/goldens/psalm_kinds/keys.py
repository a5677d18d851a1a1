"""Names and shapes of the released checkpoint."""

from __future__ import annotations

import json

import torch

from segcli.models.psalm.config import PRESETS
from segcli.models.psalm.keys import original
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.phi import Unfused
from tests.goldens.contract import Golden
from tests.goldens.psalm_kinds.recorded import Differences, exact


def released_keys(golden: Golden) -> Differences:
    """Every published tensor has its place in our model of that size, with its shape, and no place is left."""
    recorded = json.loads(golden.path.read_text(encoding="utf-8"))
    config = PRESETS["swin-b"]
    with torch.device("meta"):
        model = Psalm(config)
        shapes = {key: [s for s in shape if isinstance(s, int)] for key, shape in recorded["keys"].items()}
        tensors = {key: torch.empty(shape) for key, shape in shapes.items()}
    ours = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    published = Unfused(tensors, config.phi.heads)
    theirs = {place: published.shape(key) for key in published if (place := original(key)) is not None}
    yield exact("places", sorted(theirs), sorted(ours))
    yield exact("shapes", theirs, ours)
    yield exact("tensors", len(recorded["keys"]), recorded["count"])


def key_map(golden: Golden) -> Differences:
    """Each rule's published pattern is one that our table knows, and what it drops our table drops."""
    rules = json.loads(golden.path.read_text(encoding="utf-8"))["rules"]
    for pattern, target, how in rules:
        if target is not None or "unused" in how or "drop" in how:
            for key in _samples(pattern):
                dropped = original(key) is None
                yield exact(key, dropped, target is None)
                if not dropped and key != "lm_head.weight":
                    known = original(key) != key or key.startswith(("pixel_decoder.", "lm_head.", "region_projector."))
                    yield exact(f"{key} is known", known, True)


def _samples(pattern: str) -> list[str]:
    """Keys that a pattern means: indices 0, stars as `weight`, one for each word in braces."""
    for letter in "IJNL":
        pattern = pattern.replace(f".{letter}.", ".0.")
    pattern = pattern.replace("norm{i}", "norm0").replace("*", "weight")
    keys = [""]
    while "{" in pattern:
        before, _, rest = pattern.partition("{")
        words, _, pattern = rest.partition("}")
        keys = [key + before + word for key in keys for word in words.split(",")]
    return [key + pattern for key in keys]

"""PSALM's goldens: recorded with the official modules, a function for each kind, found by the entry's `module`."""

from __future__ import annotations

from tests.goldens.contract import Golden, Runner
from tests.goldens.psalm_kinds.end_to_end import classes, referring, regions, weights
from tests.goldens.psalm_kinds.keys import key_map, released_keys
from tests.goldens.psalm_kinds.parts import condition_pooling, decoder, pixel_decoder, projector, region_pooling
from tests.goldens.psalm_kinds.pictures import postprocess, preprocess, visual_prompts
from tests.goldens.psalm_kinds.prompts import layouts
from tests.goldens.psalm_kinds.recorded import held_to
from tests.goldens.psalm_kinds.training import losses

_RUNNERS: tuple[tuple[str, Runner], ...] = (
    # the beginning of what the manifest calls the module
    ("pooling of LLM states", held_to(condition_pooling)),
    ("end to end, interactive", held_to(regions)),
    ("end to end, panoptic", held_to(classes)),
    ("end to end, referring", held_to(referring)),
    ("end to end, video", held_to(regions)),
    ("all modules", held_to(weights)),
    ("matcher and losses", held_to(losses)),
    ("masked-attention decoder", held_to(decoder)),
    ("pixel decoder", held_to(pixel_decoder)),
    ("post-processing", held_to(postprocess)),
    ("image, region-mask and polygon", held_to(preprocess)),
    ("image-to-LLM projector", held_to(projector)),
    ("region feature pooling", held_to(region_pooling)),
    ("COCO-Interactive", held_to(visual_prompts)),
    ("prompt and token layout", held_to(layouts)),
    ("state dict", held_to(released_keys)),
    ("key map", held_to(key_map)),
)


def runner_for(golden: Golden) -> Runner | None:
    """The runner of a PSALM golden, or None."""
    if not str(golden.manifest.get("about", "")).startswith("PSALM"):
        return None
    module = str(golden.entry.get("module", ""))
    return next((runner for start, runner in _RUNNERS if module.startswith(start)), None)

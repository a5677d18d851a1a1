"""SegGPT's goldens: recorded from the original code, a function for each kind."""

from __future__ import annotations

from tests.goldens.contract import Golden, Runner
from tests.goldens.seggpt_kinds.network import block, embed, feature_ensemble, full, spatial
from tests.goldens.seggpt_kinds.pictures import prepost, video
from tests.goldens.seggpt_kinds.recorded import absolute
from tests.goldens.seggpt_kinds.training import gradients, loss, mask_generator, prompt_tuning

_RUNNERS: dict[str, Runner] = {
    "run_embed": absolute(embed),
    "run_block": absolute(block),
    "run_full": absolute(full),
    "run_fe": absolute(feature_ensemble),
    "run_spatial": absolute(spatial),
    "run_loss": gradients(loss),
    "run_prepost": absolute(prepost),
    "run_video": absolute(video),
    "run_maskgen": absolute(mask_generator),
    "run_prompt": gradients(prompt_tuning),
}


def runner_for(golden: Golden) -> Runner | None:
    """The runner of a SegGPT golden, or None."""
    if "seggpt" not in str(golden.directory.resolve()) and "Painter" not in str(golden.manifest.get("note", "")):
        return None
    return _RUNNERS.get(str(golden.entry.get("run")))

"""Referring inference (kind `refer`): all texts of an image in one pass, and each alone."""

from __future__ import annotations

import torch
from torch import Tensor

from segcli.models.seem.postprocess import resize_masks
from segcli.models.seem.prompts import Prompts
from segcli.models.seem.referring import encode_phrases, match, phrase_tokens
from tests.goldens.contract import Golden, Outcome
from tests.goldens.seem_kinds.decoder import build, variant_of
from tests.goldens.seem_kinds.recorded import Recorded


@torch.no_grad()
def run(golden: Golden) -> Outcome:
    recorded = Recorded.read(golden)
    decoder = build(recorded)
    image = decoder.prepare(recorded.get("in.mask_features"), recorded.many("in.features"))
    phrases = encode_phrases(decoder, recorded.get("in.ids"), recorded.get("in.attention_mask"))
    size, output_size = recorded.meta["image_size"], recorded.meta["output_size"]
    height, width = image.mask_features.shape[-2:]
    outputs: dict[str, Tensor] = {}
    for name, asked in {"joint": phrases, **{f"single.{t}": [p] for t, p in enumerate(phrases)}}.items():
        # Without object queries: they change nothing, and the golden says so; in the demo variant they answer.
        output = decoder(image, Prompts(text=phrase_tokens(asked)), objects=variant_of(recorded) == "demo")
        matches = match(decoder, image, output, asked)
        outputs[f"{name}.similarity"] = matches.similarity
        outputs[f"{name}.matched"] = matches.query
        outputs[f"{name}.grounding_mask"] = resize_masks(
            matches.masks, (4 * height, 4 * width), (size[0], size[1]), (output_size[0], output_size[1])
        )
    return recorded.compare(outputs)

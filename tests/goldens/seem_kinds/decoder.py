"""The decoder in its published variants (kind `dec`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from segcli.models.seem.attention import Group, Part
from segcli.models.seem.config import DecoderConfig, TextConfig
from segcli.models.seem.decoder import DecoderImage, DecoderOutput, SeemDecoder
from segcli.models.seem.draws import Draws
from segcli.models.seem.prompts import Prompts, SpatialTokens, Tokens
from segcli.models.seem.similarity import class_similarity
from tests.goldens.contract import Golden, Outcome
from tests.goldens.seem_kinds.recorded import Recorded, layers_in, load

PREFIX = "sem_seg_head.predictor."
SUFFIXES = {
    Group.OBJECT_QUERIES: ("pred_masks", "pred_captions", "pred_maskembs"),
    Group.TEXT_QUERIES: ("pred_gmasks", "pred_gtexts", "pred_gmaskembs"),
    Group.SPATIAL_QUERIES: ("pred_smasks", "pred_stexts", "pred_smaskembs"),
}


class TracedDecoder(SeemDecoder):
    """The decoder itself, which also keeps the masks of its attention (True: blocked, as recorded)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.traced: dict[str, Tensor] = {}

    def cross_mask(self, i: int, inside: Tensor) -> Tensor:
        mask = super().cross_mask(i, inside)
        self.traced[f"cross_mask.{i}"] = ~mask
        return mask

    def self_mask(self, i: int, parts: Sequence[Part]) -> Tensor:
        mask = super().self_mask(i, parts)
        self.traced[f"self_mask.{i}"] = ~mask
        return mask


def variant_of(recorded: Recorded) -> str:
    return str(recorded.meta["tiny"]["name"]).rsplit("_", 1)[-1]


def decoder_config(recorded: Recorded, weights: Mapping[str, Tensor]) -> DecoderConfig:
    queries, dim = weights["query_feat.weight"].shape
    layers = layers_in(weights, "transformer_ffn_layers.")
    text = None
    if "lang_encoder.lang_proj" in weights:
        vocabulary, width = weights["lang_encoder.lang_encoder.token_embedding.weight"].shape
        text = TextConfig(
            width,
            weights["lang_encoder.lang_encoder.positional_embedding"].shape[0],
            vocabulary,
            layers_in(weights, "lang_encoder.lang_encoder.resblocks."),
            recorded.setting("NHEADS", "heads", 8),
        )
    return DecoderConfig(
        dim,
        weights["mask_embed.layers.2.weight"].shape[0],
        weights["class_embed"].shape[1],
        recorded.setting("NHEADS", "heads", 8),
        weights["transformer_ffn_layers.0.linear1.weight"].shape[0],
        layers,
        queries,
        recorded.setting("QUERY_NUMBER", "qn", 3),
        weights["spatial_featured.weight"].shape[0],
        recorded.setting("MAX_SPATIAL_LEN", "maxsp", 512),
        weights["level_embed.weight"].shape[0],
        variant_of(recorded),
        text,
    )


def build(recorded: Recorded) -> TracedDecoder:
    weights = recorded.weights(PREFIX)
    decoder = TracedDecoder(decoder_config(recorded, weights))
    load(decoder, weights)
    return decoder


def stage_outputs(
    decoder: SeemDecoder, stage: Mapping[Group, Any], image: DecoderImage, bank: Tensor
) -> dict[str, Tensor]:
    """Everything that the published code returns for one stage, under its names."""
    outputs = {}
    for group, answers in stage.items():
        masks, classes, embeddings = SUFFIXES[group]
        outputs[masks] = decoder.masks(answers.mask_embeddings, image)
        outputs[classes] = decoder.class_embeddings(answers.hidden)
        outputs[embeddings] = answers.mask_embeddings
    if Group.OBJECT_QUERIES in stage:
        outputs["pred_logits"] = class_similarity(outputs["pred_captions"], bank, decoder.lang_encoder.logit_scale)
    return outputs


def named_outputs(decoder: SeemDecoder, output: DecoderOutput, image: DecoderImage, bank: Tensor) -> dict[str, Tensor]:
    """The published dictionary of a call, auxiliary stages included."""
    outputs = stage_outputs(decoder, output.last, image, bank)
    for i, stage in enumerate(output.stages[:-1]):
        outputs |= {f"aux.{i}.{key}": value for key, value in stage_outputs(decoder, stage, image, bank).items()}
    for tokens, name in ((output.spatial, "spatials"), (output.visual, "visuals")):
        if tokens is not None:
            for stage in ("", *(f"aux.{i}." for i in range(len(output.stages) - 1))):  # the same at every stage
                outputs |= {f"{stage}pred_p{name}": tokens.positive, f"{stage}pred_n{name}": tokens.negative}
    if output.query_objects is not None:
        outputs["prev_mask"] = decoder.spatial_masks(output, image)
    return outputs


def reference_outputs(tokens: SpatialTokens, kind: str) -> dict[str, Tensor]:
    """What the published code returns for a reference image; `kind` is spatial (v0) or visual (demo)."""
    outputs = {
        f"{kind}_query_pos": tokens.positive.transpose(0, 1),
        f"{kind}_query_neg": tokens.negative.transpose(0, 1),
    }
    for i, level in enumerate(tokens.levels):
        outputs[f"src_{kind}_queries.{i}"] = level.content.transpose(0, 1)
        outputs[f"src_{kind}_maskings.{i}"] = level.padding
    return outputs


def words(recorded: Recorded, kind: str, extra: Mapping[str, str]) -> Tokens | None:
    if f"{kind}_tokens" not in extra:
        return None
    content = recorded.get(extra[f"{kind}_tokens"]).transpose(0, 1)
    return Tokens.of_words(content, recorded.get(extra[f"{kind}_nonzero_mask"]).bool())


def prompts_of(
    recorded: Recorded,
    call: Mapping[str, Any],
    done: Mapping[str, Mapping[str, Tensor]],
    references: Mapping[str, SpatialTokens],
) -> Prompts:
    """The recorded call's `extra` as our prompts; what its task_switch turns off is left out."""
    extra: Mapping[str, str] = call["extra"]
    switch = call.get("task_switch", {})

    def asked(kind: str) -> bool:
        return bool(switch.get(kind, True))

    def marks(key: str) -> list[Tensor] | None:
        name = extra.get(key)
        return recorded.many(name.removeprefix("list:")) if name is not None and asked("spatial") else None

    previous = None
    if "prev_mask" in extra:
        from_call, tensor = extra["prev_mask"].removeprefix("out:").split(".", 1)
        previous = done[from_call][tensor]
    reference = extra.get("refimg_tokens")
    visual = call.get("extra_update", [])
    return Prompts(
        marks("spatial_query_pos_mask"),
        marks("spatial_query_neg_mask"),
        previous,
        words(recorded, "grounding", extra) if asked("grounding") else None,
        words(recorded, "audio", extra) if asked("audio") else None,
        references[reference.removeprefix("out:")] if reference else None,
        references[visual[0]] if visual and asked("visual") else None,
    )


@torch.no_grad()
def run(golden: Golden) -> Outcome:
    recorded = Recorded.read(golden)
    return recorded.compare(run_calls(recorded, build(recorded), recorded.draws()))


def run_calls(recorded: Recorded, decoder: TracedDecoder, draws: Draws) -> dict[str, Tensor]:
    """Run all calls of a golden; outputs under `<call>.<name>`."""
    bank = recorded.get("in.class_bank")
    done: dict[str, dict[str, Tensor]] = {}
    references: dict[str, SpatialTokens] = {}
    for call in recorded.meta["calls"]:
        features = recorded.many(call.get("features", "in.features"))
        image = decoder.prepare(recorded.get(call.get("mask_features", "in.mask_features")), features)
        prompts = prompts_of(recorded, call, done, references)
        name = call["name"]
        if call["task"] == "refimg" and prompts.positive is not None and prompts.negative is not None:
            tokens = decoder.read_marks(image, prompts.positive, prompts.negative, draws)
            references[name] = tokens
            done[name] = reference_outputs(tokens, "visual" if variant_of(recorded) == "demo" else "spatial")
            continue
        output = decoder(image, prompts, draws=draws)
        done[name] = named_outputs(decoder, output, image, bank) | decoder.traced
    return {f"{name}.{key}": value for name, outputs in done.items() for key, value in outputs.items()}

"""Single modules: projector, pixel decoder, decoder, pooling of conditions and of regions."""

from __future__ import annotations

import torch
from torch import nn

from segcli.models.psalm.conditions import canonical_order, class_means, sentence_mean, states_at
from segcli.models.psalm.config import DecoderConfig, PixelDecoderConfig
from segcli.models.psalm.decoder import Conditions, MaskedDecoder, StagePrediction
from segcli.models.psalm.pixel_decoder import PixelDecoder
from segcli.models.psalm.projector import Projector
from segcli.models.psalm.regions import RandomPoints, read_tokens, region_features
from tests.goldens.contract import Golden
from tests.goldens.psalm_kinds.recorded import Differences, Record, filled, value

_UNUSED = ("query_feat.weight", "SEG_query_embed.weight")


def projector(golden: Golden) -> Differences:
    record = Record(golden)
    module = Projector(record.config["in_channels"], record.config["planes"], record.config["out"])
    filled(module, record.part("w."))
    block = module.layer1[0]
    first = torch.relu(block.bn1(block.conv1(record["in.res5"])))
    yield value("after_relu1", first, record["mid.after_relu1"])
    yield value("tokens", module(record["in.res5"]), record["out.tokens"])


def pixel_decoder(golden: Golden) -> Differences:
    record, c = Record(golden), Record(golden).config
    weights = record.part("w.")
    config = PixelDecoderConfig(c["dim"], c["mask_dim"], c["heads"], c.get("points", 4), c["ffn"], c["layers"])
    module = filled(PixelDecoder(c["channels"], config), weights)
    features, scales = module({f"res{i}": record[f"in.res{i}"] for i in range(2, 6)})
    yield value("mask_features", features, record["out.mask_features"])
    for index, scale in enumerate(scales):
        yield value(f"multi_scale.{index}", scale, record[f"out.multi_scale.{index}"])


def decoder(golden: Golden) -> Differences:
    record, c = Record(golden), Record(golden).config
    weights = record.part("w.")
    features = record["in.mask_features"]
    config = DecoderConfig(c["dim"], c["heads"], c["ffn"], c["layers"], c["queries"])
    module = MaskedDecoder(c["dim"], features.shape[1], config)
    filled(module, {k: t for k, t in weights.items() if k not in _UNUSED})
    conditions = Conditions(
        record["in.class_embedding"], record["in.refer_embedding"], record.many("in.region_embedding")
    )
    image = module.prepare(features, record.many("in.multi_scale"))
    stages = module(image, record["in.seg_query"], conditions)
    yield from stages_differ(record, stages)


def stages_differ(record: Record, stages: list[StagePrediction]) -> Differences:
    """Each stage's logits beside the recorded ones; masks of earlier stages may be recorded at every n-th pixel."""
    for number, stage in enumerate([*stages[:-1], stages[-1]]):
        prefix = "out." if number == len(stages) - 1 else f"out.aux{number}."
        pairs = {
            "pred_masks": stage.masks,
            "pred_class_name_logits": stage.classes,
            "pred_SEG_logits": stage.sentence,
        }
        for region, logits in enumerate(stage.regions or ()):
            pairs[f"pred_region_logits.{region}"] = logits
        for name, ours in pairs.items():
            if f"{prefix}{name}" not in record:
                continue
            theirs = record[f"{prefix}{name}"]
            if ours is not None and name == "pred_masks" and ours.shape[-2:] != theirs.shape[-2:]:
                step = -(-ours.shape[-1] // theirs.shape[-1])
                ours = ours[..., ::step, ::step]
            assert ours is not None, name
            yield value(f"{prefix}{name}", ours, theirs)


def condition_pooling(golden: Golden) -> Differences:
    record, c = Record(golden), Record(golden).config
    weights = record.part("w.")

    def linear(name: str) -> nn.Module:
        bare = {k.removeprefix(f"{name}."): t for k, t in weights.items() if k.startswith(f"{name}.")}
        return filled(nn.Linear(c["hidden"], c["out"]), bare)

    to_class, to_sentence, to_region, to_query = (
        linear(name)
        for name in ("class_name_projector", "SEG_token_projector", "region_projector", "seg_query_projector")
    )
    hidden = record["in.hidden_states"]
    samples = range(len(hidden))
    pooled = torch.stack([class_means(hidden[b], record["in.class_index"][b].long(), c["classes"]) for b in samples])
    yield value("class_pooled", pooled, record["mid.class_pooled"])
    sentences = torch.stack([sentence_mean(hidden[b], record["in.refer_mask"][b].bool()) for b in samples])
    yield value("refer_pooled", sentences, record["mid.refer_pooled"])
    embedded = to_class(pooled)
    yield value("class_embedding", embedded, record["out.class_embedding"])
    ordered = canonical_order(embedded, record["in.random_idx"])
    yield value("class_embedding_unshuffled", ordered, record["out.class_embedding_unshuffled"])
    yield value("refer_embedding", to_sentence(sentences), record["out.refer_embedding"])
    queries = torch.stack([to_query(states_at(hidden[b], record["in.seg_mask"][b].bool())) for b in samples])
    yield value("seg_query", queries, record["out.seg_query"])
    for b in samples:
        regions = to_region(states_at(hidden[b], record["in.region_mask"][b].bool()))
        yield value(f"region_embedding.{b}", regions, record[f"out.region_embedding.{b}"])
    given = record["in.class_queries"]
    logits = given @ embedded.transpose(1, 2)
    yield value("class_logits", logits, record["out.class_logits"])
    yield value("class_prob", logits.softmax(-1), record["out.class_prob"])
    said = (given @ to_sentence(sentences).transpose(1, 2)).sigmoid()
    yield value("refer_prob", said, record["out.refer_prob"])


def region_pooling(golden: Golden) -> Differences:
    record = Record(golden)
    points = record["mid.points_rowcol"]
    at = 0
    letters = sorted(key.removeprefix("in.masks_") for key in record.tensors if key.startswith("in.masks_"))
    for image, letter in enumerate(letters):
        tokens, masks = record["in.image_tokens"][image], record[f"in.masks_{letter}"] != 0
        size = torch.tensor(masks.shape[-2:])
        for number, expected in enumerate(record[f"out.{letter}"]):
            rows = (points[at] * size).round().long()
            count = torch.zeros(masks.shape[-2:]).index_put_((rows[:, 0], rows[:, 1]), torch.ones(()), accumulate=True)
            yield value(f"{letter}{number} at the recorded points", read_tokens(tokens, count), expected)
            if len(masks[number].nonzero()) in (1, record.config["points"]):  # nothing is drawn
                ours = region_features(tokens, [masks[number]], RandomPoints(0, record.config["points"]))
                yield value(f"{letter}{number}", ours[0], expected)
            at += 1

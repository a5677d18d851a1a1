"""The whole network on a photo, in each mode."""

from __future__ import annotations

from dataclasses import replace

import torch
from safetensors.torch import load_file

from segcli.models.layers.loading import load_strict
from segcli.models.psalm.decoder import StagePrediction
from segcli.models.psalm.keys import original
from segcli.models.psalm.layout import Piece, expand, places
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.phi import Unfused, run
from segcli.models.psalm.picture import fit, full_size, pixel_values
from segcli.models.psalm.postprocess import condition_scores, instances, mask_scores, panoptic, semantic
from segcli.models.psalm.regions import AllPoints, region_features
from tests.goldens.contract import Golden
from tests.goldens.psalm_kinds.recorded import Differences, Record, config_of, exact, same_map, score, value


def build(golden: Golden) -> Psalm:
    """The model of a golden, with the weights that its manifest records for the same sizes."""
    config = golden.entry["config"]
    entries = golden.manifest["files"]
    whole = {name: entry for name, entry in entries.items() if entry["module"].startswith("all modules")}
    name = next((name for name, entry in whole.items() if entry["config"] == config), next(iter(whole)))
    weights = {k: t.float() for k, t in load_file(golden.directory / name).items()}
    sizes = config_of(config)
    model = Psalm(sizes)
    weights.setdefault("lm_head.weight", torch.zeros(sizes.phi.vocab, sizes.phi.hidden))  # not recorded
    load_strict(model, Unfused(weights, sizes.phi.heads), original)
    return model.eval()


class Passed:
    """One pass through the network, with what was seen on the way."""

    def __init__(self, golden: Golden, classes: list[list[int]], sentence: list[int]) -> None:
        self.record = record = Record(golden)
        model = build(golden)
        photo = record["in.image_u8"].numpy()
        self.size = fit(photo.shape[:2], model.config.image_size)
        self.pixels = pixel_values(photo, self.size)[None]
        self.maps = model.swin(self.pixels)
        self.tokens = model.projector(self.maps["res5"])[0]
        self.features, self.scales = model.pixel_decoder(self.maps)
        image = model.decoder.prepare(self.features, self.scales)
        regions = None
        if "in.region_masks_packed" in record:
            side = (self.size.side, self.size.side)
            prompted = self.tokens
            if "in.vp_image_u8" in record:
                other = record["in.vp_image_u8"].numpy()
                prompted = model.image_tokens(pixel_values(other, fit(other.shape[:2], self.size.side))[None])[0]
            regions = region_features(prompted, list(record.masks("in.region_masks_packed", side)), AllPoints())
        self.pieces: tuple[Piece, ...] = expand(record["in.input_ids"].tolist(), classes, sentence)
        where = places(self.pieces, len(self.tokens), model.config.decoder.queries)
        self.embeddings = model.embed(self.pieces, self.tokens, regions)
        self.hidden = run(model.language, self.embeddings)[0]
        self.heard = model.heard(self.hidden, where)
        self.stages: list[StagePrediction] = model.decoder(image, self.heard.queries, self.heard.conditions)
        self.masks = full_size(self.stages[-1].masks[0], self.size)

    def common(self) -> Differences:
        record = self.record
        if "mid.padding_mask_rows_cols" in record:
            unpadded = list(self.size.image)
            padding = [self.size.side - length for length in unpadded]
            yield exact("padding", record["mid.padding_mask_rows_cols"].tolist() in (unpadded, padding), True)
        for name, ours in (
            ("mid.pixel_values", self.pixels[0][:, ::4, ::4]),
            ("mid.image_tokens", self.tokens),
            ("mid.inputs_embeds", self.embeddings[0]),
            ("mid.hidden_states", self.hidden),
            ("mid.seg_query", self.heard.queries[0]),
            *((f"mid.swin.{level}", self.maps[level][0]) for level in self.maps),
            *((f"mid.multi_scale.{k}", scale[0]) for k, scale in enumerate(self.scales)),
            ("out.pred_masks", self.stages[-1].masks[0]),
        ):
            if name in record:
                yield value(name, ours, record[name])
        if "mid.mask_features_f16" in record:  # rounded when it was recorded
            theirs = record["mid.mask_features_f16"]
            gap = (self.features[0] - theirs).abs() - theirs.abs() * 2**-10
            yield "mid.mask_features", max(0.0, float(gap.max())), "value"
        for number, stage in enumerate(self.stages):
            prefix = "out." if number == len(self.stages) - 1 else f"out.aux{number}."
            regions = None if stage.regions is None else stage.regions[0]
            for name, logits in (
                ("pred_class_name_logits", None if stage.classes is None else stage.classes[0]),
                ("pred_SEG_logits", None if stage.sentence is None else stage.sentence[0]),
                ("pred_region_logits", regions),
            ):
                if f"{prefix}{name}" in record:
                    assert logits is not None, name
                    yield value(prefix + name, logits, record[prefix + name])


def weights(golden: Golden) -> Differences:
    model = build(replace(golden))
    yield exact("all keys used once", any(p.is_meta for p in model.parameters()), False)


def classes(golden: Golden) -> Differences:
    record = Record(golden)
    words, owner = record["in.class_name_ids"].tolist(), record["in.cls_indices"].tolist()
    count = max(owner) + 1
    lists = [[w for w, o in zip(words, owner, strict=True) if o == k] for k in range(count)]
    seen = Passed(golden, lists, [])
    yield from seen.common()
    conditions = seen.heard.conditions
    assert conditions.classes is not None
    if "mid.class_embedding" in record:
        yield value("mid.class_embedding", conditions.classes[0], record["mid.class_embedding"])
    logits = seen.stages[-1].classes
    assert logits is not None
    things = _things(golden, count - 1)
    probabilities = logits[0].softmax(-1)
    maps = semantic(probabilities, seen.masks)
    step = -(-maps.shape[-1] // record["out.sem_seg_sub"].shape[-1])
    # A map of sums over queries moves with the logits, so it is held to their tolerance.
    yield value("sem_seg_sub", maps[:, ::step, ::step], record["out.sem_seg_sub"])
    yield same_map("sem_seg_argmax", maps.argmax(0), record["out.sem_seg_argmax"])
    map_, segments = panoptic(probabilities, seen.masks.__getitem__, things)
    yield same_map("panoptic_seg", map_, record["out.panoptic_seg"])
    rows = [[s.id, int(s.isthing), s.category] for s in segments]
    yield exact("panoptic_info", rows, record["out.panoptic_info"].tolist())
    found = instances(probabilities, mask_scores(seen.masks), len(probabilities), things)
    mine, theirs = found.scores.argsort(descending=True), record["out.inst_scores"].argsort(descending=True)
    yield score("inst_scores", found.scores[mine], record["out.inst_scores"][theirs])
    yield same_map("inst_classes", found.categories[mine], record["out.inst_classes"][theirs])
    masks = record.masks("out.inst_masks_packed", seen.size.photo)
    yield same_map("inst_masks", seen.masks[found.queries[mine]] > 0, masks[theirs])


def _things(golden: Golden, count: int) -> list[bool]:
    """Which classes are things: in the words of the manifest's entry."""
    words = str(golden.entry["how"]).split("is_thing ")[1].split(".")[0]
    return [word.strip() == "1" for word in words.split(",")][:count]


def referring(golden: Golden) -> Differences:
    record = Record(golden)
    seen = Passed(golden, [], record["in.token_refer_id"].tolist())
    yield from seen.common()
    conditions = seen.heard.conditions
    assert conditions.sentence is not None
    if "mid.refer_embedding" in record:
        yield value("mid.refer_embedding", conditions.sentence[0], record["mid.refer_embedding"])
    logits = seen.stages[-1].sentence
    assert logits is not None
    scores = condition_scores(logits[0], mask_scores(seen.masks))[:, 0]
    mine, theirs = scores.argsort(), record["out.inst_scores"].argsort()
    yield score("inst_scores", scores[mine], record["out.inst_scores"][theirs])
    masks = record.masks("out.inst_masks_packed", seen.size.photo)
    yield same_map("inst_masks", (seen.masks > 0)[mine], masks[theirs])


def regions(golden: Golden) -> Differences:
    seen = Passed(golden, [], [])
    record = seen.record
    yield from seen.common()
    given = seen.heard.conditions.regions
    assert given is not None
    if "mid.region_embedding" in record:
        yield value("mid.region_embedding", given[0], record["mid.region_embedding"])
    logits = seen.stages[-1].regions
    assert logits is not None
    scores = condition_scores(logits[0].t(), mask_scores(seen.masks))
    yield score("inst_scores", scores, record["out.inst_scores"])
    masks = record.masks("out.inst_masks_packed", seen.size.photo)
    yield same_map("inst_masks", seen.masks > 0, masks)

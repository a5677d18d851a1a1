"""Before and after the network: photos, region masks, prompts that are drawn, post-processing."""

from __future__ import annotations

import numpy as np
import torch

from segcli.models.psalm.marks import POINT_RADIUS, STROKE_RADIUS, grown
from segcli.models.psalm.picture import fit, pixel_values, region_mask, scaled_polygon
from segcli.models.psalm.postprocess import condition_scores, instances, mask_scores, panoptic, semantic
from segcli.train.psalm_prompts import visual_prompts as drawn_prompts
from tests.goldens.contract import Golden
from tests.goldens.psalm_kinds.recorded import Differences, Record, exact, same_map, score, value


def preprocess(golden: Golden) -> Differences:
    record = Record(golden)
    number = 0
    while f"in.{number}.image_u8" in record:
        photo = record[f"in.{number}.image_u8"].numpy()
        size = fit(photo.shape[:2], record.config["image_size"])
        yield value(f"{number} pixel_values", pixel_values(photo, size), record[f"out.{number}.pixel_values"])
        padding = torch.ones(size.side, size.side)
        padding[: size.image[0], : size.image[1]] = 0
        yield same_map(f"{number} padding_mask", padding, record[f"out.{number}.padding_mask"])
        region = region_mask(record[f"in.{number}.region_mask"].numpy() != 0, size)
        yield same_map(f"{number} region_mask", torch.from_numpy(region), record[f"out.{number}.region_mask"])
        truth = scaled_polygon(record[f"in.{number}.polygon"].numpy(), size)
        yield same_map(f"{number} gt_mask", torch.from_numpy(truth), record[f"out.{number}.gt_mask"])
        number += 1


class RecordedPromptDraws:
    """The generator's draws in their order: kind, bounds, value."""

    def __init__(self, log: np.ndarray) -> None:
        self._left = [tuple(row) for row in log]

    def uniform(self, low: float, high: float) -> float:
        kind, a, b, drawn = self._left.pop(0)
        if kind != 0 or abs(a - low) + abs(b - high) > 1e-9:
            raise ValueError(f"the recording draws kind {kind} in {a}..{b} where {low}..{high} is asked for")
        return float(drawn)

    def choice(self, count: int) -> int:
        kind, a, _, drawn = self._left.pop(0)
        if kind != 1 or a != count:
            raise ValueError(f"the recording draws kind {kind} of {a} where one of {count} is asked for")
        return int(drawn)

    @property
    def finished(self) -> bool:
        return not self._left


def visual_prompts(golden: Golden) -> Differences:
    record = Record(golden)
    draws = RecordedPromptDraws(record["rand.log"].numpy())
    found = drawn_prompts(record["in.mask"].numpy() != 0, draws)
    for name in ("point", "mask", "box", "scribble"):
        yield same_map(name, torch.from_numpy(getattr(found, name)), record[f"out.{name}"])
    yield exact("draws left over", draws.finished, True)
    for name, radius in (("point", POINT_RADIUS), ("scribble", STROKE_RADIUS)):
        disc = grown(record[f"in.{name}"].numpy() != 0, radius)
        yield same_map(f"{name}_r{radius}", torch.from_numpy(disc), record[f"out.{name}_r{radius}"])


def postprocess(golden: Golden) -> Differences:
    record = Record(golden)
    masks, logits = record["in.mask_logits"], record["in.class_logits"]
    things = record["in.is_thing"].bool().tolist()
    sure, area = mask_scores(masks), (masks > 0).flatten(1).sum(1)
    classes = logits.softmax(-1)
    map_, segments = panoptic(classes, masks.__getitem__, things)
    yield same_map("panoptic_seg", map_, record["out.panoptic_seg"])
    rows = [[s.id, int(s.isthing), s.category] for s in segments]
    yield exact("panoptic_info", rows, record["out.panoptic_info"].tolist())
    for name, kept in (("instance_all", None), ("instance_things", things)):
        found = instances(classes, sure, len(classes), kept)
        order = found.scores.argsort(descending=True)
        yield score(f"{name} scores", found.scores[order], record[f"out.{name}.scores_sorted"])
        yield same_map(f"{name} classes", found.categories[order], record[f"out.{name}.classes_sorted"])
        yield same_map(f"{name} areas", area[found.queries[order]], record[f"out.{name}.mask_area_sorted"])
    said = condition_scores(record["in.SEG_logits"], sure)[:, 0]
    order = said.argsort(descending=True)
    yield score("SEG scores", said[order], record["out.SEG.scores_sorted"])
    yield same_map("SEG areas", area[order], record["out.SEG.mask_area_sorted"])
    regions = condition_scores(record["in.region_logits"].t(), sure)
    yield score("region scores", regions, record["out.region_scores"])
    maps = semantic(classes, masks)
    step = -(-maps.shape[-1] // record["out.sem_seg"].shape[-1])
    yield score("sem_seg", maps[:, ::step, ::step], record["out.sem_seg"])

"""Matching and losses, with the recorded draws."""

from __future__ import annotations

import torch

from segcli.models.psalm.decoder import StagePrediction
from segcli.train.psalm_loss import PsalmLoss, PsalmLossConfig, Targets
from tests.goldens.contract import Golden
from tests.goldens.psalm_kinds.recorded import Differences, Record, same_map, value


class RecordedDraws:
    """The uniform draws in the order in which they were made."""

    def __init__(self, record: Record) -> None:
        self._left = [record[key] for key in sorted(k for k in record.tensors if k.startswith("rand."))]

    def uniform(self, shape: tuple[int, ...]) -> torch.Tensor:
        draw = self._left.pop(0)
        if tuple(draw.shape) != shape:
            raise ValueError(f"the recording draws {tuple(draw.shape)} numbers where {shape} are asked for")
        return draw

    @property
    def finished(self) -> bool:
        return not self._left


def losses(golden: Golden) -> Differences:
    record = Record(golden)
    early = len({key.split(".")[1] for key in record.tensors if key.startswith("in.aux")})
    stages = [_stage(record, f"in.aux{index}.") for index in range(early)] + [_stage(record, "in.")]
    targets = []
    while f"in.target{len(targets)}.masks" in record:
        prefix = f"in.target{len(targets)}."
        targets.append(Targets(record[prefix + "masks"].float(), record[prefix + "labels"].long()))
    draws = RecordedDraws(record)
    loss = PsalmLoss(_config(record), draws)
    found, matches = loss.with_matches(stages, targets)
    yield "draws left over", 0.0 if draws.finished else float("inf"), "value"
    for number, matched in enumerate(matches):
        for image, match in enumerate(matched):
            pairs = torch.stack(match)
            theirs = record[f"out.match{number}.image{image}"]
            yield same_map(f"match{number}.image{image}", _sorted(pairs), _sorted(theirs))
    found["total_weighted"] = loss.total(found)
    for key in sorted(k for k in record.tensors if k.startswith(("out.loss", "out.total"))):
        yield value(key, found[key.removeprefix("out.")].reshape(1), record[key])


def _config(record: Record) -> PsalmLossConfig:
    c = record.config
    return PsalmLossConfig(
        points=c["points"], oversample=c.get("oversample", 3.0), importance=c.get("importance", 0.75)
    )


def _stage(record: Record, prefix: str) -> StagePrediction:
    regions = record.many(f"{prefix}pred_region_logits")
    return StagePrediction(
        record[prefix + "pred_masks"],
        record.tensors.get(prefix + "pred_class_name_logits"),
        record.tensors.get(prefix + "pred_SEG_logits"),
        tuple(regions) if regions else None,
    )


def _sorted(pairs: torch.Tensor) -> torch.Tensor:
    """Rows (queries, targets) in the queries' order."""
    return pairs[:, pairs[0].argsort()]

"""`seg bench refer`, `grefer` and `group`: answers that lie in a file of JSON lines, one a sentence.

{"id": SENTENCE, "rle": {"size": [H, W], "counts": "…"}}      the union of what was meant; "rle": null for nothing
{"id": SENTENCE, "masks": [{"rle": …}, …]}                    several masks (seg's own JSON lines have this form)
{"id": SENTENCE, "rle": …, "no_target": true}                 the model's own word for "nothing here"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.bench.records import Record, Summary, digest_json
from segcli.core.errors import ItemError, StorageError, UsageError
from segcli.core.rle import decode, from_coco
from segcli.datasets.coco import read_lines
from segcli.datasets.fewshot import resize_nearest
from segcli.datasets.groups import MARKER, Group
from segcli.datasets.referring import Sentence
from segcli.metrics.referring import (
    Grefer,
    Overlap,
    best_candidates,
    grefer_scores,
    group_scores,
    overlap,
    psalm_scores,
    says_no_target,
    seem_scores,
    union,
)

RULES = ("seem", "psalm")


@dataclass(frozen=True)
class Answer:
    """One line of results."""

    masks: tuple[dict[str, Any], ...]
    no_target: bool | None

    def mask(self, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
        """Union of the masks bool [H, W]. Raises ItemError for another size."""
        result = np.zeros(size, np.bool_)
        for entry in self.masks:
            try:
                rle = from_coco(entry)
            except (KeyError, TypeError, ValueError) as error:
                raise ItemError(f"{where}: its mask is no run-length code ({error})") from None
            if rle.size != size:
                raise ItemError(f"{where}: the answer is {rle.size[1]}x{rle.size[0]}, the photo {size[1]}x{size[0]}")
            result |= decode(rle)
        return result


def read_answers(path: Path) -> dict[str, Answer]:
    """Answers by id. Raises StorageError for a line without id or with one that was there before."""
    answers: dict[str, Answer] = {}
    for number, line in enumerate(read_lines(path), 1):
        name = line.get("id", line.get("ask", {}).get("id") if isinstance(line.get("ask"), dict) else None)
        if name is None:
            raise StorageError(f'{path}:{number}: has no "id"; it must name the sentence')
        if str(name) in answers:
            raise StorageError(f"{path}:{number}: answers {name} a second time")
        masks = [m.get("rle", m) for m in line.get("masks", [])]
        if line.get("rle") is not None:
            masks.append(line["rle"])
        flag = line.get("no_target")
        answers[str(name)] = Answer(tuple(masks), None if flag is None else bool(flag))
    return answers


@dataclass(frozen=True)
class ReferMeasure:
    """Referring segmentation: every sentence has a target. rule: whose rounding and empty cases ("seem", "psalm")."""

    sentences: tuple[Sentence, ...]
    answers: Mapping[str, Answer]
    rule: str = "seem"
    name: str = "refer"

    @property
    def settings(self) -> dict[str, Any]:
        """The rule."""
        return {"rule": self.rule}

    @cached_property
    def _by_name(self) -> dict[str, Sentence]:
        return {str(s.sentence_id): s for s in self.sentences}

    def items(self) -> Sequence[str]:
        """Ids of the sentences."""
        return [str(s.sentence_id) for s in self.sentences]

    def measure(self, item: str) -> Record:
        """Overlap of one sentence."""
        sentence = self._by_name[item]
        answer = _answer(self.answers, item)
        both, either = overlap(sentence.mask(), answer.mask(sentence.size, f"sentence {item}"))
        return Record(
            item,
            digest_json([a.get("segmentation") for a in sentence.annotations]),
            {"text": sentence.text, "both": both, "either": either},
            both / either if either else 0.0,
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """cIoU, mIoU, Pr@t in percent (rule "psalm": cIoU and gIoU)."""
        samples = [Overlap(r.values["both"], r.values["either"]) for r in records]
        if self.rule == "seem":
            metrics = {k.replace("precision", "Pr"): v for k, v in seem_scores(samples).items()}
        else:
            metrics = {k: 100 * v for k, v in psalm_scores(samples).items()}
        return Summary(metrics, tuple({"id": r.name, "text": r.values["text"], "IoU": r.score} for r in records))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """None: the photos are not part of what is read."""
        return None


@dataclass(frozen=True)
class GreferMeasure:
    """Generalised referring: a sentence may mean nothing or several things.

    size: measure in a squashed square of that side, as ReLA's evaluator (480), or None for the photo's resolution.
    no_target_pixels: answers with fewer pixels say "nothing" where a line has no word of its own; None for never.
    """

    sentences: tuple[Sentence, ...]
    answers: Mapping[str, Answer]
    size: int | None = 480
    no_target_pixels: int | None = None
    name: str = "grefer"

    @property
    def settings(self) -> dict[str, Any]:
        """Size and rule for "nothing"."""
        return {"size": self.size, "no_target_pixels": self.no_target_pixels}

    @cached_property
    def _by_name(self) -> dict[str, Sentence]:
        return {str(s.sentence_id): s for s in self.sentences}

    def items(self) -> Sequence[str]:
        """Ids of the sentences."""
        return [str(s.sentence_id) for s in self.sentences]

    def measure(self, item: str) -> Record:
        """Overlap of one sentence, and both sides' word about having a target."""
        sentence = self._by_name[item]
        answer = _answer(self.answers, item)
        mask = answer.mask(sentence.size, f"sentence {item}")
        says = answer.no_target
        if says is None:
            says = self.no_target_pixels is not None and says_no_target(mask, self.no_target_pixels)
        scaled = None if self.size is None else (self.size, self.size)
        shown = mask if scaled is None else resize_nearest(mask, scaled)
        truth = sentence.mask(scaled)
        both, either = overlap(truth, shown)
        none = not sentence.annotations
        score = grefer_scores([Grefer(Overlap(both, either), none, says)])["gIoU"] / 100
        return Record(
            item,
            digest_json([a.get("segmentation") for a in sentence.annotations]),
            {"text": sentence.text, "both": both, "either": either, "no_target": none, "says_none": says},
            score,
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """gIoU, cIoU, Pr@t in percent, T_acc and N_acc in [0, 1]."""
        samples = [
            Grefer(Overlap(v["both"], v["either"]), v["no_target"], v["says_none"]) for v in (r.values for r in records)
        ]
        metrics = grefer_scores(samples)
        undefined = [k for k, v in metrics.items() if v != v]
        notes = [f"{k} is undefined: no sample of its kind (the published tool stops)" for k in undefined]
        rows = [{"id": r.name, "text": r.values["text"], "IoU": r.score} for r in records]
        return Summary(metrics, tuple(rows), notes=tuple(notes))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """None: the photos are not part of what is read."""
        return None


@dataclass(frozen=True)
class GroupMeasure:
    """Groups of masks: gIoU and cIoU overall, with and without reference masks.

    answers None measures the best that the candidates allow: for each target the candidate of highest IoU.
    """

    groups: tuple[Group, ...]
    answers: Mapping[str, Answer] | None
    name: str = "group"

    @property
    def settings(self) -> dict[str, Any]:
        """Whether candidates were chosen by the truth."""
        return {"best_candidates": self.answers is None}

    @cached_property
    def _by_name(self) -> dict[str, Group]:
        return {str(g.line): g for g in self.groups}

    def items(self) -> Sequence[str]:
        """Line numbers."""
        return [str(g.line) for g in self.groups]

    def measure(self, item: str) -> Record:
        """Overlap of the unions."""
        group = self._by_name[item]
        targets = group.masks("targets")
        if self.answers is None:
            candidates = group.masks("candidates")
            chosen = union([candidates[k] for k in best_candidates(targets, candidates) if k >= 0], group.size)
        else:
            chosen = _answer(self.answers, item).mask(group.size, f"sample {item}")
        both, either = overlap(union(targets, group.size), chosen)
        return Record(
            item,
            digest_json([r.coco() for r in group.targets]),
            {"prompt": group.prompt, "both": both, "either": either, "refs": MARKER in group.prompt},
            both / either if either else 1.0,
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """In percent: overall, `w/` and `w/o` references."""
        metrics: dict[str, float] = {}
        notes = []
        for word, wanted in (("", (True, False)), (" w/o refs", (False,)), (" w/ refs", (True,))):
            samples = [Overlap(v["both"], v["either"]) for v in (r.values for r in records) if v["refs"] in wanted]
            scores = group_scores(samples) if samples else {"gIoU": float("nan"), "cIoU": float("nan")}
            metrics |= {f"{k}{word}": v for k, v in scores.items()}
            if not samples:
                notes.append(f"no sample{word}: its scores are undefined")
        rows = [{"line": r.name, "prompt": r.values["prompt"], "IoU": r.score} for r in records]
        return Summary(metrics, tuple(rows), notes=tuple(notes))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """None: the photos are not part of what is read."""
        return None


def _answer(answers: Mapping[str, Answer], item: str) -> Answer:
    if item not in answers:
        raise ItemError(f"{item}: has no answer in the results; every sentence needs a line, if only with a null rle")
    return answers[item]


def check_rule(rule: str) -> None:
    """Raises UsageError for a word that is none of `RULES`."""
    if rule not in RULES:
        raise UsageError(f"--rule {rule}: there are {', '.join(RULES)}")

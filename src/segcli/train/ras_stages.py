"""RAS as published: stage 1 (the mask projector on captions), stage 2 (instruction tuning on groups), fine-tuning.

The encoders are frozen throughout. Rates, batches and epochs are the paper's; the share of warm-up steps is LLaVA's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.core.ask import Ask, Reference
from segcli.core.errors import StorageError, UsageError
from segcli.core.image import Image
from segcli.core.rle import Rle, from_coco, iou
from segcli.datasets.coco import read_json, read_lines
from segcli.datasets.files import read_rgb
from segcli.datasets.groups import MARKER, Group, read_groups
from segcli.models.ras.autoregressive import teacher_forced
from segcli.models.ras.layout import layout
from segcli.models.ras.loss import assign, selection_loss
from segcli.models.ras.model import Fed, Question, Ras
from segcli.models.ras.predictor import EncodedPhoto, RasPredictor
from segcli.train.loop import LoopConfig, Losses, train

WARMUP = 0.03
Task = Literal["ores", "gres", "res"]


@dataclass(frozen=True)
class Stage:
    """What one stage trains, and how. parts: beginnings of the names of trained parameters."""

    lr: float
    batch: int
    epochs: int
    parts: tuple[str, ...]

    def loop(self, samples: int, seed: int = 0) -> LoopConfig:
        """The loop's settings for a number of samples: Adam, cosine, no weight decay, no averaging."""
        steps = max(1, math.ceil(samples / self.batch) * self.epochs)
        return LoopConfig(
            steps=steps, lr=self.lr, final_lr=0.0, warmup=math.ceil(WARMUP * steps), weight_decay=0.0, clip=1.0,
            accumulate=self.batch, average=0.0, seed=seed,
        )  # fmt: skip


ALL = (
    *("language_model.", "mask_projector.", "image_projector.", "classifier.", "pointer."),
    *("mask_pool_pre", "mask_ref_pre", "stop"),
)
PROJECTOR = Stage(1e-3, 128, 1, ("mask_projector.", "mask_pool_pre"))
INSTRUCTION = Stage(2e-5, 128, 1, ALL)


def stage_of(name: str, task: Task = "ores") -> Stage:
    """The stage called "1", "2" or "finetune"; the last depends on the task. Raises UsageError."""
    if name == "finetune":
        return Stage(2e-5, 64, 2 if task == "res" else 4, ALL)
    stages = {"1": PROJECTOR, "2": INSTRUCTION}
    if name not in stages:
        raise UsageError(f"--stage {name}: unknown; type 1, 2 or finetune")
    return stages[name]


@dataclass(frozen=True)
class Caption:
    """A photo, what is said of it, and masks in it: one sample of stage 1."""

    image: str
    text: str
    masks: tuple[Rle, ...]


def read_captions(captions: Path, masks: Path) -> list[Caption]:
    """LLaVA-Pretrain's list with the masks of a stream of JSON lines; photos without masks are left out.

    Raises StorageError when nothing is left.
    """
    regions = {
        Path(e["image"]).name: tuple(from_coco(m["rle"]) for m in e["masks"]) for e in read_lines(masks) if "masks" in e
    }
    found = []
    for entry in read_json(captions, list):
        said = [turn["value"] for turn in entry.get("conversations", ()) if turn.get("from") == "gpt"]
        own = regions.get(Path(str(entry.get("image", ""))).name, ())
        if said and own:
            found.append(Caption(entry["image"], said[0], own))
    if not found:
        raise StorageError(
            f"{captions}: no caption whose photo has masks in {masks}; make them with point --everything"
        )
    return found


def trained_only(model: Ras, parts: Sequence[str]) -> None:
    """Freeze everything but the parameters whose names begin so."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(parts)))


def question_of(predictor: RasPredictor, group: Group, folder: Path) -> tuple[Question, Tensor]:
    """A group as the network reads it, and its labels [N]. Raises ItemError for a photo that can't be read."""
    encoded = _encoded(predictor, folder / group.image)
    text = group.prompt
    for number in range(1, len(group.refs) + 1):
        text = text.replace(MARKER, f"{{{number}}}", 1)
    candidates = sorted((m for m in group.candidates if m.area), key=lambda m: -m.area)[: predictor.most]
    labels = assign(iou(candidates, [t for t in group.targets if t.area]))
    ask = Ask(text=text, references=tuple(Reference(None, r) for r in group.refs))
    return predictor.question(encoded, ask, candidates), torch.from_numpy(labels).float()


def group_loss(predictor: RasPredictor, batch: Sequence[tuple[Question, Tensor]]) -> Losses:
    """The selection loss, or the cross-entropy of the autoregressive baseline."""
    model = predictor.model
    if model.config.decoding == "autoregressive":
        return {"selection": torch.stack([teacher_forced(model, q, labels) for q, labels in batch]).mean()}
    return {"selection": selection_loss(model([q for q, _ in batch]), [labels for _, labels in batch])}


def caption_loss(predictor: RasPredictor, head: Tensor, caption: Caption, folder: Path) -> Losses:
    """Cross-entropy of a caption behind mask tokens alone, without the photo's own tokens."""
    model, words = predictor.model, predictor.words
    encoded = _encoded(predictor, folder / caption.image)
    masks = sorted((m for m in caption.masks if m.area), key=lambda m: -m.area)[: predictor.most]
    tokens = model.mask_projector(predictor.features(encoded, masks))
    ids = words.ids(caption.text)
    embeddings = torch.cat([model._words(words.start), model._paired(tokens, model.mask_pool_pre), model._words(ids)])
    fed = Fed(embeddings, layout(len(embeddings), 0, 0, 1, "causal"), tokens, len(embeddings))
    states = model.hidden([fed])[0, -len(ids) - 1 : -1]
    logits = states.float() @ head.to(states.device).float().T
    return {"caption": F.cross_entropy(logits, torch.tensor(ids, device=states.device))}


def run_groups(
    predictor: RasPredictor, stage: Stage, groups: Path, folder: Path, out: Path, say: Callable[[str], None]
) -> None:
    """Stage 2 or fine-tuning on a file of groups. Raises StorageError for one that holds none with candidates."""
    samples = [g for g in read_groups(groups, "train") if g.candidates]
    if not samples:
        raise StorageError(f"{groups}: no group has candidates; make the file with seg train groups")
    trained_only(predictor.model, stage.parts)

    def batches(seed: int) -> Iterator[list[tuple[Question, Tensor]]]:
        for number in _shuffled(len(samples), seed):
            with torch.no_grad():
                sample = question_of(predictor, samples[number], folder)
            yield [sample]

    say(f"{len(samples)} groups, {stage.loop(len(samples)).steps} steps of {stage.batch}")
    loop = stage.loop(len(samples))
    train(predictor.model, batches, lambda _, batch: group_loss(predictor, batch), loop, out, device=predictor.device)


def run_captions(
    predictor: RasPredictor,
    stage: Stage,
    head: Tensor,
    samples: Sequence[Caption],
    folder: Path,
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Stage 1."""
    trained_only(predictor.model, stage.parts)

    def batches(seed: int) -> Iterator[Caption]:
        for number in _shuffled(len(samples), seed):
            yield samples[number]

    def loss_of(_: nn.Module, caption: Caption) -> Losses:
        return caption_loss(predictor, head, caption, folder)

    say(f"{len(samples)} captions, {stage.loop(len(samples)).steps} steps of {stage.batch}")
    train(predictor.model, batches, loss_of, stage.loop(len(samples)), out, device=predictor.device)


def _encoded(predictor: RasPredictor, path: Path) -> EncodedPhoto:
    pixels = read_rgb(path)
    (encoded,) = predictor.encode([Image(pixels, (int(pixels.shape[0]), int(pixels.shape[1])), path.name)])
    assert isinstance(encoded, EncodedPhoto)
    # Features made in inference mode can't be part of a graph; copies can.
    return EncodedPhoto([m.clone() for m in encoded.maps], encoded.size, encoded.name)


def _shuffled(count: int, seed: int) -> Iterator[int]:
    """Numbers below `count` without end, each once before any comes again."""
    rng = np.random.default_rng(seed)
    while True:
        yield from (int(n) for n in rng.permutation(count))

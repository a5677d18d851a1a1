"""Trains the words of seem-nano: `seg train words --data DIR --config configs/seem-nano-words.toml --out DIR`.

Everything below the word head stays as it is; looks are encoded once (word_bank.py), and only the head is trained.
Places are trained with the likelihood of the words that a pixel may be called (its label, or a narrower word under
it; an unlabelled pixel of a photo whose things are all labelled may be anything but those things). Regions likewise.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from segcli.core.errors import CheckpointError, StorageError
from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.models.seem.vocabulary import BUNDLED, Vocabulary
from segcli.models.seem.words import WordHead, WordImage
from segcli.registry.header import read_header
from segcli.train import word_bank
from segcli.train.loop import LoopConfig, averaged, train
from segcli.train.placing import placed
from segcli.train.run import export
from segcli.train.tables import filled, only, read_table
from segcli.train.word_bank import Bank, BankConfig, WordBatch
from segcli.train.word_views import UNLABELLED, allowed_words, load

Say = Callable[[str], None]
_KEPT = 10  # every so many-th photo by the hash of its name is kept back to validate
_STRIDE = 2  # of the codes, for the places at stride 8
_MUCH = 1e9


@dataclass(frozen=True)
class WordRecipe:
    """What is trained. `dropout`: share of input channels left out; `balance`: power of 1/frequency that a region's
    word weighs; `unlabelled`: weight of pixels without a label; `loose`: share of masks that are grown or shrunk."""

    batch: int = 32
    dropout: float = 0.15
    balance: float = 0.5
    unlabelled: float = 0.5
    loose: float = 0.4


@dataclass(frozen=True)
class WordsPlan:
    """Everything that decides a run, besides the photos and the member whose words they are."""

    bank: BankConfig = field(default_factory=BankConfig)
    recipe: WordRecipe = field(default_factory=WordRecipe)
    loop: LoopConfig = field(default_factory=LoopConfig)
    seed: int = 0


def read_plan(path: Path) -> WordsPlan:
    """Read a plan. Raises UsageError that names the file and the word that is wrong."""
    table = read_table(path, "configs/seem-nano-words.toml")
    only(table, ("seed", "bank", "recipe", "loop"), str(path))
    plan = WordsPlan()
    return filled(
        replace(
            plan,
            bank=filled(plan.bank, table.pop("bank", {}), f"{path}: bank"),
            recipe=filled(plan.recipe, table.pop("recipe", {}), f"{path}: recipe"),
            loop=filled(plan.loop, table.pop("loop", {}), f"{path}: loop"),
        ),
        table,
        str(path),
    )


class Objective:
    """Losses of a word head on a batch of looks."""

    def __init__(self, vocabulary: Vocabulary, recipe: WordRecipe, frequency: Tensor) -> None:
        self.recipe = recipe
        self.allowed = torch.from_numpy(allowed_words(vocabulary))
        self.weight = ((frequency + 1) / (frequency + 1).mean()).pow(-recipe.balance).clamp(0.3, 3.0)

    def __call__(self, head: nn.Module, batch: WordBatch) -> dict[str, Tensor]:
        """`places` and `regions`."""
        assert isinstance(head, WordHead)
        batch = self._beside(head, batch)
        p = self.recipe.dropout if head.training else 0.0
        image = head(*(F.dropout2d(t, p) for t in (batch.res4, batch.res5, batch.features)))
        masks = F.avg_pool2d(batch.region[:, None], 4)
        number = torch.arange(len(masks), device=masks.device)
        what = head.what(image, self._loosened(masks) if head.training else masks, number)
        # A quarter of the places is enough for a step, and costs a quarter.
        top, left = (int(v) for v in torch.randint(0, 2, (2,)))
        some = WordImage(image.hidden, image.places[:, :, top::2, left::2])
        codes = batch.codes[:, _STRIDE * top :: 2 * _STRIDE, _STRIDE * left :: 2 * _STRIDE].long()
        places = self.places(head.where(some), codes, batch.open)
        return {"places": places, "regions": self.regions(what, batch.word)}

    def places(self, logits: Tensor, codes: Tensor, free: Tensor) -> Tensor:
        """Mean negative log-likelihood of the words that each place may be called.

        logits [B, V + 1, h, w]; codes [B, h, w] as in `Look`; free bool [B, V + 1]: what is unlabelled may be.
        """
        named, unlabelled = codes < len(self.allowed), codes == UNLABELLED
        may_be = self.allowed[codes.clamp(max=len(self.allowed) - 1)]
        may_be = torch.where(unlabelled[..., None], free[:, None, None, :], may_be)
        counted = named | (unlabelled & may_be.any(-1))
        logits = logits.float().permute(0, 2, 3, 1)[counted]
        meant = torch.logsumexp(logits.masked_fill(~may_be[counted], -_MUCH), 1)
        weight = torch.where(named, 1.0, self.recipe.unlabelled)[counted]
        return ((torch.logsumexp(logits, 1) - meant) * weight).sum() / weight.sum().clamp(min=1)

    def regions(self, logits: Tensor, words: Tensor) -> Tensor:
        """The same for regions, rare words weighing more; logits [B, V + 1], words [B], -1 for no region."""
        asked = words >= 0
        logits, words = logits[asked].float(), words[asked]
        meant = torch.logsumexp(logits.masked_fill(~self.allowed[words], -_MUCH), 1)
        weight = self.weight[words]
        return ((torch.logsumexp(logits, 1) - meant) * weight).sum() / weight.sum().clamp(min=1e-6)

    def _beside(self, head: nn.Module, batch: WordBatch) -> WordBatch:
        """The batch where the head is; what is compared with it goes there too."""
        device = next(head.parameters()).device
        self.allowed, self.weight = self.allowed.to(device), self.weight.to(device)
        return placed(batch, device)

    def _loosened(self, masks: Tensor) -> Tensor:
        """Masks as a click may give them: some grown by a cell, some shrunk."""
        draw = torch.rand(len(masks), 1, 1, 1, device=masks.device)
        grown, shrunk = F.max_pool2d(masks, 3, 1, 1), -F.max_pool2d(-masks, 3, 1, 1)
        shrinks = (draw >= self.recipe.loose / 2) & (draw < self.recipe.loose) & (shrunk.sum((2, 3), True) > 1)
        return torch.where(draw < self.recipe.loose / 2, grown, torch.where(shrinks, shrunk, masks))


class Validation:
    """Accuracy of region words, and mean IoU of the places of each word on looks at whole photos."""

    def __init__(self, bank: Bank, objective: Objective, least: int = 16) -> None:
        self.bank, self.objective, self.least = bank, objective, least

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """`labels` and `where`."""
        assert isinstance(model, WordHead)
        model.eval()
        device = next(model.parameters()).device
        allowed = self.objective.allowed.to(device)
        right, ious = [], []
        with torch.inference_mode():
            for start in range(0, len(self.bank), 32):
                rows = range(start, min(start + 32, len(self.bank)))
                batch = placed(self.bank.batch(rows), device)
                image = model(batch.res4, batch.res5, batch.features)
                number = torch.arange(len(batch.word), device=device)
                what = model.what(image, F.avg_pool2d(batch.region[:, None], 4), number)
                asked = batch.word >= 0
                best = what[asked, :-1].argmax(1)
                right += allowed[batch.word[asked], best].tolist()
                chances = model.where(image).softmax(1)
                codes = batch.codes[:, ::_STRIDE, ::_STRIDE]
                for chance, code in zip(chances[~asked], codes[~asked], strict=True):
                    for word in torch.unique(code[code < len(allowed)]).tolist():
                        truth = code == word
                        if truth.sum() >= self.least:
                            answer = (chance[allowed[word]].sum(0) > 0.4) & (code != 255)
                            ious.append(float((answer & truth).sum() / (answer | truth).sum()))
        model.train()
        found = {"labels": right, "where": ious}
        return {name: round(float(np.mean(values)), 4) for name, values in found.items() if values}


def batches(banks: Sequence[Bank], size: int, seed: int) -> Iterator[WordBatch]:
    """Endless batches; an epoch goes through each bank's rows once, a batch comes out of one bank."""
    rng = np.random.default_rng(seed)
    while True:
        cuts = [(bank, cut) for bank in banks for cut in _cuts(rng.permutation(len(bank)), size)]
        for index in rng.permutation(len(cuts)):
            bank, rows = cuts[index]
            yield bank.batch(rows)


def _cuts(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)] or [rows]


def train_words(
    plan: WordsPlan,
    folders: Sequence[Path],
    out: Path,
    start: Path,
    backbone: Path,
    *,
    words: Path | None = None,
    bank: Path | None = None,
    device: str = "cpu",
    say: Say = print,
) -> Path:
    """Train and return the member with its words, `out/seem-nano.safetensors`.

    start:    the seem-nano whose words they are, as `seg train seem` leaves it; all of it but the words stays.
    backbone: safetensors of the frozen backbone, as bundled.
    words:    a seem-nano whose words this one goes on from (default: afresh).
    bank:     where encoded looks are kept (default: `out/bank`); those that are there already are used.
    A run that was stopped goes on when it is run again with the same `out`.
    Raises CheckpointError for files of other weights, StorageError for photos without names of classes.
    """
    vocabulary = BUNDLED
    torch.manual_seed(plan.seed)
    model = seem_with_words(start, backbone, vocabulary, words)
    assert model.words is not None
    training, kept = _banks(folders, bank or out / "bank", model.to(device), vocabulary, plan.bank, plan.seed)
    counts = sum(np.bincount(b.words[b.words >= 0], minlength=len(vocabulary.words)) for b in training)
    objective = Objective(vocabulary, plan.recipe, torch.as_tensor(counts).float())
    say(f"{sum(map(len, training))} looks to train on, {len(kept) if kept else 0} kept back to validate")
    step = train(
        model.words,
        lambda seed: batches(training, plan.recipe.batch, seed),
        objective,
        replace(plan.loop, seed=plan.seed),
        out,
        validate=Validation(kept, objective) if kept else None,
        device=device,
    )
    say(f"{step} of {plan.loop.steps} steps; log in {out / 'log.jsonl'}")
    model.words.load_state_dict(averaged(model.words, out / "state.pt"))
    return export(model.cpu(), out / "seem-nano.safetensors", shared=backbone.name)


def seem_with_words(start: Path, backbone: Path, vocabulary: Vocabulary, words: Path | None = None) -> SeemNano:
    """seem-nano with fresh words or those of the file `words`, all else from `start` and the backbone's file.

    Raises CheckpointError for files of other weights.
    """
    stuff = tuple(word for word in vocabulary.words if word in vocabulary.stuff)
    tensors = {**_weights(backbone), **_weights(start)}
    model = SeemNano(replace(_config(start), words=vocabulary.words, stuff=stuff))
    own = {k: v for k, v in tensors.items() if not k.startswith("words.")}
    named = model.state_dict()
    odd = [k for k, v in own.items() if k not in named or named[k].shape != v.shape]
    odd += [k for k in named if k not in own and not k.startswith("words.")]
    if odd:
        raise CheckpointError(f"{start}: is no seem-nano on {backbone.name}: {odd[0]} does not fit")
    model.load_state_dict(own, strict=False)
    if words is not None:
        assert model.words is not None
        mine = {k.removeprefix("words."): v for k, v in _weights(words).items() if k.startswith("words.")}
        fresh = model.words.state_dict()
        if set(mine) != set(fresh) or any(fresh[k].shape != v.shape for k, v in mine.items()):
            raise CheckpointError(f"{words}: holds no words of this member; give the seem-nano that has them")
        model.words.load_state_dict(mine)
    return model


def _weights(path: Path) -> dict[str, Tensor]:
    read_header(path)  # refuses what is no safetensors in a line
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def _config(start: Path) -> NanoConfig:
    """The sizes that a checkpoint says it has."""
    values = json.loads(read_header(start).metadata.get("seg.config", "null"))
    known = {f.name for f in fields(NanoConfig)}
    if not isinstance(values, dict) or not set(values) <= known:
        raise CheckpointError(f"{start}: is no seem-nano that `seg train seem` wrote; give one with --start")
    sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return NanoConfig(**sizes)


def _banks(
    data: Sequence[Path], folder: Path, model: SeemNano, vocabulary: Vocabulary, config: BankConfig, seed: int
) -> tuple[list[Bank], Bank | None]:
    """Training banks and the one that is kept back (None of few photos), read from `folder` or made there."""
    if not any(folder.glob("train*/rest.npz")):
        photos = load(data, vocabulary)
        held = [zlib.crc32(p.name.encode()) % _KEPT == 0 for p in photos]
        learned, kept = ([p for p, k in zip(photos, held, strict=True) if k == side] for side in (False, True))
        if not learned:
            raise StorageError("--data: no photo of which objects.jsonl names classes; words are learned from those")
        make = partial(word_bank.write, model=model, config=config, words=len(vocabulary.words))
        if kept:
            make(kept, folder=folder / "kept", seed=seed + 1)
        make(learned, folder=folder / "train", seed=seed)  # the last: it says that all are there
    training = [Bank(path.parent) for path in sorted(folder.glob("train*/rest.npz"))]
    return training, Bank(folder / "kept") if (folder / "kept" / "rest.npz").is_file() else None

"""Trains the words of seem-nano: `python -m segcli.train.words --data DIR --out DIR [--start FILE]`.

Everything below the word head stays as it is; looks are encoded once (word_bank.py), and only the head is trained.
Places are trained with the likelihood of the words that a pixel may be called (its label, or a narrower word under
it; an unlabelled pixel of a photo whose things are all labelled may be anything but those things). Regions likewise.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from segcli.models.seem.nano import NanoConfig, SeemNano
from segcli.models.seem.vocabulary import BUNDLED, Vocabulary
from segcli.models.seem.words import WordHead, WordImage
from segcli.registry.places import BUNDLED as BUNDLED_FILES
from segcli.train import word_bank
from segcli.train.loop import LoopConfig, averaged, train
from segcli.train.run import export
from segcli.train.word_bank import Bank, BankConfig, WordBatch
from segcli.train.word_views import UNLABELLED, allowed_words, load

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


class Objective:
    """Losses of a word head on a batch of looks."""

    def __init__(self, vocabulary: Vocabulary, recipe: WordRecipe, frequency: Tensor) -> None:
        self.recipe = recipe
        self.allowed = torch.from_numpy(allowed_words(vocabulary))
        self.weight = ((frequency + 1) / (frequency + 1).mean()).pow(-recipe.balance).clamp(0.3, 3.0)

    def __call__(self, head: nn.Module, batch: WordBatch) -> dict[str, Tensor]:
        """`places` and `regions`."""
        assert isinstance(head, WordHead)
        p = self.recipe.dropout if head.training else 0.0
        image = head(*(F.dropout2d(t, p) for t in (batch.res4, batch.res5, batch.features)))
        masks = F.avg_pool2d(batch.region[:, None], 4)
        what = head.what(image, self._loosened(masks) if head.training else masks, torch.arange(len(masks)))
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

    def _loosened(self, masks: Tensor) -> Tensor:
        """Masks as a click may give them: some grown by a cell, some shrunk."""
        draw = torch.rand(len(masks), 1, 1, 1)
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
        allowed = self.objective.allowed
        right, ious = [], []
        with torch.inference_mode():
            for start in range(0, len(self.bank), 32):
                batch = self.bank.batch(range(start, min(start + 32, len(self.bank))))
                image = model(batch.res4, batch.res5, batch.features)
                what = model.what(image, F.avg_pool2d(batch.region[:, None], 4), torch.arange(len(batch.word)))
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
        return {"labels": round(float(np.mean(right)), 4), "where": round(float(np.mean(ious)), 4)}


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


def main(argv: Sequence[str] | None = None) -> Path:
    """Make the bank if it is not there, train, and write the member with its words."""
    parser = argparse.ArgumentParser(description="Train the words of seem-nano over its frozen encoder.")
    parser.add_argument("--data", type=Path, action="append", required=True, help="a source of photos with masks")
    parser.add_argument("--config", type=Path, help="bank, recipe and loop, see configs/seem-nano-words.toml")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bank", type=Path, help="encoded looks (default: OUT/bank)")
    parser.add_argument("--start", type=Path, default=BUNDLED_FILES / "seem-nano.safetensors")
    parser.add_argument("--words", type=Path, help="go on from the words of this checkpoint (default: afresh)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    plan = tomllib.loads(options.config.read_text()) if options.config else {}
    config = BankConfig(**plan.get("bank", {}))
    recipe = WordRecipe(**plan.get("recipe", {}))
    loop = LoopConfig(**plan.get("loop", {}))
    vocabulary = BUNDLED
    torch.manual_seed(loop.seed)
    model = _model(options.start, vocabulary, options.words)
    assert model.words is not None
    training, kept = _banks(options.data, options.bank or options.out / "bank", model, vocabulary, config, loop.seed)
    counts = sum(np.bincount(b.words[b.words >= 0], minlength=len(vocabulary.words)) for b in training)
    objective = Objective(vocabulary, recipe, torch.as_tensor(counts).float())
    train(
        model.words,
        lambda seed: batches(training, recipe.batch, seed),
        objective,
        loop,
        options.out,
        validate=Validation(kept, objective),
    )
    model.words.load_state_dict(averaged(model.words, options.out / "state.pt"))
    return export(model, options.out / "seem-nano.safetensors", shared="lite0.safetensors")


def _model(start: Path, vocabulary: Vocabulary, words: Path | None) -> SeemNano:
    """seem-nano with fresh words or those of the file `words`, all else from `start` and the bundled backbone."""
    stuff = tuple(word for word in vocabulary.words if word in vocabulary.stuff)
    tensors = {**load_file(BUNDLED_FILES / "lite0.safetensors"), **load_file(start)}
    tuned = any(name.startswith("click_backbone.") for name in tensors)
    model = SeemNano(replace(NanoConfig(), words=vocabulary.words, stuff=stuff, tuned=tuned))
    own = {k: v.float() for k, v in tensors.items() if not k.startswith("words.")}
    missing = [k for k in model.load_state_dict(own, strict=False).missing_keys if not k.startswith("words.")]
    if missing:
        raise ValueError(f"{start}: has no {missing[0]}")
    if words is not None:
        assert model.words is not None
        mine = {k.removeprefix("words."): v.float() for k, v in load_file(words).items() if k.startswith("words.")}
        model.words.load_state_dict(mine)
    return model


def _banks(
    data: Sequence[Path], folder: Path, model: SeemNano, vocabulary: Vocabulary, config: BankConfig, seed: int
) -> tuple[list[Bank], Bank]:
    """Training banks and the one that is kept back, read from `folder` or made there."""
    if not (folder / "kept" / "rest.npz").is_file():
        photos = load(data, vocabulary)
        held = [zlib.crc32(p.name.encode()) % _KEPT == 0 for p in photos]
        make = partial(word_bank.write, model=model, config=config, words=len(vocabulary.words))
        make([p for p, k in zip(photos, held, strict=True) if not k], folder=folder / "train", seed=seed)
        make([p for p, k in zip(photos, held, strict=True) if k], folder=folder / "kept", seed=seed + 1)
    training = [Bank(path.parent) for path in sorted(folder.glob("train*/rest.npz"))]
    return training, Bank(folder / "kept")


if __name__ == "__main__":
    print(main(), file=sys.stdout)

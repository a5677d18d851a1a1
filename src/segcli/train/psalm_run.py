"""Runs a stage of PSALM's training, from a checkpoint to a checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segcli.core.errors import UsageError
from segcli.datasets import folders
from segcli.models.psalm.config import config_of
from segcli.models.psalm.keys import TOKENIZER
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.predictor import PsalmPredictor
from segcli.models.psalm.tokenizer import FILES, Tokenizer, read_tokenizer
from segcli.registry.writer import save
from segcli.train.export import halved
from segcli.train.loop import LoopConfig, averaged, train
from segcli.train.psalm import BATCH, LOOPS, PsalmObjective, PsalmRecipe, prepare
from segcli.train.psalm_data import (
    School,
    Source,
    batches,
    class_source,
    read_talks,
    region_source,
    sentence_source,
    word_source,
)
from segcli.train.psalm_parts import fill_from
from segcli.train.sharding import whole

Say = Callable[[str], None]


@dataclass(frozen=True)
class PsalmData:
    """Where lessons come from. folders: photos with masks; refer: RefCOCO folders; talks: LLaVA's JSON files.

    photos: the folder in which the photos of `refer` and `talks` are.
    """

    folders: tuple[Path, ...] = ()
    refer: tuple[Path, ...] = ()
    talks: tuple[Path, ...] = ()
    photos: Path = Path()


def sources_of(school: School, data: PsalmData, stage: int) -> list[Source]:
    """The sources of a stage: captions for the first, everything there is for the second.

    Raises UsageError when there is nothing for the stage, and what the readers raise.
    """
    talks = [talk for path in data.talks for talk in read_talks(path, data.photos)]
    if stage == 1:
        if not talks:
            raise UsageError("--stage 1 learns from captions; give --talks FILE.json with --photos DIR")
        return [word_source(school, talks, plain=True)]
    photos = [photo for root in data.folders for source in folders.sources(root) for photo in folders.photos(source)]
    found: list[Source] = []
    if any(o.name for photo in photos for o in photo.objects or ()):
        found.append(class_source(school, photos))
    if photos:
        found.append(region_source(school, photos))
    found += [sentence_source(school, root, data.photos) for root in data.refer]
    if talks:
        found.append(word_source(school, talks))
    if not found:
        raise UsageError("--stage 2 has nothing to learn from; give --data DIR, --refer DIR or --talks FILE.json")
    return found


def fresh(
    config: str, tokenizer: Path, seed: int, parts: Sequence[Path] = (), say: Say = print
) -> tuple[Psalm, Tokenizer]:
    """A PSALM of random weights for a tokenizer.json, with the weights of `parts` where those have some.

    The files: Mask2Former with a Swin (image encoder and decoders), Phi (the language model), a projector.
    Raises CheckpointError or UsageError for what does not fit together.
    """
    sizes = config_of(config, config)
    words = read_tokenizer({FILES[0]: tokenizer.read_bytes()}, str(tokenizer))
    if words.size > sizes.phi.vocab:
        raise UsageError(f"{tokenizer}: has {words.size} words, {config} has room for {sizes.phi.vocab}")
    torch.manual_seed(seed)
    model = Psalm(sizes)
    torch.nn.init.normal_(model.mask_tokens, std=0.02)  # zeros would make all queries the same at the start
    if parts:
        filled = fill_from(model, list(parts), sizes.phi.heads)
        say(f"{len(filled)} of {len(model.state_dict())} tensors from {len(parts)} files, the others are random")
    return model, words


def run_stage(
    model: Psalm,
    tokenizer: Tokenizer,
    data: PsalmData,
    recipe: PsalmRecipe,
    out: Path,
    *,
    steps: int | None = None,
    lr: float | None = None,
    batch: int = 4,
    total: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    say: Say = print,
) -> Path:
    """Train one stage and return the checkpoint, `out/psalm.safetensors` in half precision.

    batch: photos at once; `total` (as published: 128, then 64) behind one step of all processes together.
    A run that was stopped goes on when it is run again with the same `out`.
    """
    school = School(model.config, tokenizer)
    sources = sources_of(school, data, recipe.stage)
    say(f"stage {recipe.stage}: {len(sources)} kinds of lessons")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    accumulate = max(1, round((total or BATCH[recipe.stage]) / (batch * processes)))
    loop: LoopConfig = replace(LOOPS[recipe.stage], accumulate=accumulate, seed=seed)
    if steps is not None:
        loop = replace(loop, steps=steps, warmup=max(1, steps * loop.warmup // loop.steps))
    if lr is not None:
        loop = replace(loop, lr=lr)
    step = train(
        prepare(model.float(), recipe),
        partial(batches, sources, batch),
        PsalmObjective(recipe, seed),
        loop,
        out,
        device=device,
        shards=_language_layers,
    )
    say(f"{step} of {loop.steps} steps; the log is {out / 'log.jsonl'}")
    return export(model, tokenizer, out / "psalm.safetensors", averaged(model, out / "state.pt"))


def _language_layers(network: nn.Module) -> Iterable[nn.Module]:
    """What processes under torchrun hold together: most of the parameters are there."""
    assert isinstance(network, Psalm)
    layers = network.language.layers
    assert isinstance(layers, nn.ModuleList)
    return layers


def export(model: Psalm, tokenizer: Tokenizer, path: Path, trained: Mapping[str, Tensor] | None = None) -> Path:
    """Write all weights in half precision, the tokenizer beside them, and what the file is.

    trained: what takes the place of the model's own. Under torchrun all processes call this and the first one writes.
    Raises UsageError for weights beyond half precision, StorageError when the file can't be written.
    """
    state = {**whole(model.state_dict()), **(trained or {})}
    if int(os.environ.get("RANK", "0")):
        return path
    tensors = halved(state, path)
    tensors[TOKENIZER] = torch.from_numpy(np.frombuffer(tokenizer.to_json().encode(), np.uint8).copy())
    metadata = {
        "seg.system": "psalm",
        "seg.config": json.dumps(asdict(model.config), sort_keys=True),
        "seg.accepts": ",".join(sorted(PsalmPredictor.accepts)),
        "seg.licence": "Apache-2.0",
    }
    save(path, tensors, metadata)
    return path


def start_from(name: str, offline: bool = False) -> tuple[Psalm, Tokenizer]:
    """The network and tokenizer of a checkpoint. Raises UsageError for one that is no PSALM, and as `open_model`."""
    from segcli.registry.load import open_model

    opened = open_model(name, device="cpu", dtype="fp32", offline=offline)
    if not isinstance(opened, PsalmPredictor):
        raise UsageError(f"--start {name}: is no PSALM; choose another")
    return opened.model.requires_grad_(True), opened.tokenizer

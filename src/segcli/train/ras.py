"""Trains ras-nano: language model, projector and classifier on features that the frozen encoders gave once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from segcli.core.errors import CheckpointError, StorageError
from segcli.datasets.folders import photos, sources
from segcli.models.layers.loading import load_strict
from segcli.models.ras.colours import COLOURS
from segcli.models.ras.config import NANO, LanguageConfig, RasConfig
from segcli.models.ras.loss import selection_loss
from segcli.models.ras.matches import Related
from segcli.models.ras.model import Question, Ras
from segcli.models.ras.names import rows
from segcli.models.ras.predictor import RasPredictor
from segcli.models.ras.relations import standing
from segcli.models.ras.text import REFERENCE, TENSOR, Words, framed
from segcli.registry.load import open_model
from segcli.registry.writer import save
from segcli.train.groups_rules import Meant
from segcli.train.loop import LoopConfig, Losses, averaged, train
from segcli.train.placing import placed
from segcli.train.ras_names import learn
from segcli.train.ras_samples import IRREGULAR, draw, plural, sentences
from segcli.train.ras_scenes import Scene, mirrored, objects_of, scene_of
from segcli.train.ras_views import view
from segcli.train.ras_warm import go_on
from segcli.train.tables import built, filled, only, read_table

Say = Callable[[str], None]


@dataclass(frozen=True)
class RasRecipe:
    """How samples are made.

    most:     candidates of one sample, others are left out; extra: how often candidates that are no object are added.
    positive: weight of positive candidates in the loss (the published 5 is for official members).
    noise:    deviation of noise on what encoders saw of each object (features of deviation 1), against learning photos
              by heart.
    views:    parts of each photo that are seen beside the whole one, each with its own encoding.
    copies:   worn copies of objects among the extra candidates of a photo.
    spread:   how much more a candidate of the photo's mean area counts in the loss than one of no area, of all.
    folds, naming, dimness: of the head that names masks: folds and steps of its training, and noise on its features.
    opening:  batches after which another kind of sentence joins, from two kinds on; 0 has all from the start. Without
              it nothing is learnt for long: what holds for all kinds together is next to nothing.
    """

    batch: int = 32
    most: int = 28
    extra: float = 0.4
    positive: float = 2.0
    opening: int = 100
    noise: float = 0.0
    views: int = 0
    copies: int = 0
    spread: float = 0.0
    folds: int = 4
    naming: int = 1200
    dimness: float = 1.0


@dataclass(frozen=True, eq=False)
class Sample:
    """A question with labels [N]: 1 meant, 0 not meant, -1 counts for nothing. areas: [N], pixels of candidates."""

    question: Question
    labels: Tensor
    areas: Tensor
    kind: str


def read_plan(path: Path) -> tuple[RasConfig, RasRecipe, LoopConfig, int]:
    """A plan such as configs/ras-nano.toml: the config with its sizes, recipe, loop and seed. Raises UsageError."""
    table = read_table(path, "configs/ras-nano.toml")
    only(table, ("seed", "language", "recipe", "loop"), str(path))
    language = filled(LanguageConfig(), table.get("language", {}), f"{path}: language")
    recipe = filled(RasRecipe(), table.get("recipe", {}), f"{path}: recipe")
    loop = filled(LoopConfig(), table.get("loop", {}), f"{path}: loop")
    return replace(NANO, language=language), recipe, loop, int(table.get("seed", 0))


def tokenizer(words: Sequence[str], size: int) -> Words:
    """A byte-pair tokenizer of at most `size` tokens for the templates and these nouns."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    built = Tokenizer(models.BPE(unk_token="<unk>"))
    built.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789.,-'")
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<unk>", "<s>"], initial_alphabet=letters, show_progress=False
    )
    plain = [s.replace(REFERENCE, " ").replace("{", " ").replace("}", " ") for s in sentences()]
    nouns = [form for word in words for form in (word, *([plural(word)] if word in IRREGULAR else []))]
    built.train_from_iterator([*plain * 20, *nouns * 5, *COLOURS * 20], trainer)
    return Words(built.to_str())


def read_scenes(
    predictor: RasPredictor,
    folders: Sequence[Path],
    seed: int,
    say: Say,
    kept: Callable[[int], bool],
    views: int = 0,
    copies: int = 0,
) -> Iterator[Scene]:
    """Scenes of all photos below `folders` whose number passes `kept`, and of `views` other views of each."""
    rng = np.random.default_rng(seed)
    number = 0
    for folder in folders:
        for source in sources(folder):
            for photo in photos(source):
                number += 1
                if not kept(number):
                    continue
                pixels, ids = photo.pixels(), photo.ids()
                shown = [(pixels, ids), *(view(pixels, ids, rng) for _ in range(views))]
                for own, known in shown:
                    scene = scene_of(predictor, own, objects_of(photo, own, known, rng, copies), number)
                    if scene is not None:
                        yield scene
            say(f"{source.name}: read")


def batches(
    scenes: Sequence[Scene], words: Words, names: Sequence[str], recipe: RasRecipe, template: str, seed: int
) -> Iterator[list[Sample]]:
    """Endless batches of samples; scenes of one batch have about as many objects, so that little is filled up."""
    rng = np.random.default_rng(seed)
    number = seed  # the loop begins at the step that it has reached
    ranked = sorted(scenes, key=lambda scene: len(scene.features))
    reach = max(recipe.batch, len(ranked) // 10)
    while True:
        first = int(rng.integers(-reach // 2, len(ranked) - reach // 2))
        near = ranked[max(first, 0) : max(first, 0) + reach]
        kinds = 2 + number // recipe.opening if recipe.opening else None
        number += 1
        some = [near[int(n)] for n in rng.integers(0, len(near), recipe.batch)]
        drawn = [(scene, draw(scene.objects, rng, names, kinds)) for scene in some]
        yield [sample(scene, meant, words, recipe, template, rng) for scene, meant in drawn]


def sample(
    scene: Scene, meant: Meant, words: Words, recipe: RasRecipe, template: str, rng: np.random.Generator
) -> Sample:
    """A sentence as the network reads it, its candidates in random order."""
    count = len(scene.features)
    shown = list(range(count))
    if count > recipe.most:
        must = set(meant.references) | (set(meant.targets) if meant.kind == "superlative" else set())
        shown = sorted({*must, *(int(n) for n in rng.permutation(count)[: recipe.most])})
    labels = torch.zeros(len(shown))
    labels[[k for k, n in enumerate(shown) if n in meant.targets]] = 1
    if len(scene.extra) and rng.random() < recipe.extra:
        pure = torch.from_numpy(scene.objects.purity[:, list(meant.targets)].sum(1))
        labels = torch.cat([labels, torch.where(pure >= 0.7, 1.0, torch.where(pure <= 0.3, 0.0, -1.0))])
        shown += range(count, count + len(scene.extra))
    references = list(meant.references)
    known = torch.cat([scene.features, scene.extra]) if len(shown) and shown[-1] >= count else scene.features
    if recipe.noise:
        shaken = torch.from_numpy(rng.normal(0, recipe.noise, known.shape).astype(np.float32))
        shaken[:, known.shape[1] - scene.measured :] = 0
        known = known + shaken
    place = standing(scene.boxes[shown], scene.areas[shown], scene.objects.size)
    related = Related(torch.from_numpy(place), scene.beside[shown][:, references])
    chances = None if scene.chances is None else scene.chances[[*shown, *references]]
    before, between, after = framed(words, meant.sentence, template)
    question = Question(known[shown], known[references], before, between, after, None, related, chances)
    return Sample(question, labels, torch.from_numpy(scene.areas[shown]).float(), meant.kind)


def loss_of(model: nn.Module, batch: Sequence[Sample], positive: float, spread: float = 0.0) -> Losses:
    """The selection loss of a batch; candidates with the label -1 stand there and count for nothing.

    `spread` of a candidate's weight goes with its area, up to four times the mean of its photo's.
    """
    logits = model([s.question for s in batch])
    counted = [s.labels >= 0 for s in batch]
    large = [(s.areas / s.areas.mean()).clamp(max=4) for s in batch]
    return {
        "selection": selection_loss(
            [one[use] for one, use in zip(logits, counted, strict=True)],
            [s.labels[use] for s, use in zip(batch, counted, strict=True)],
            positive,
            [1 - spread + spread * one[use] for one, use in zip(large, counted, strict=True)],
        )
    }


def train_nano(
    config: RasConfig,
    recipe: RasRecipe,
    loop: LoopConfig,
    folders: Sequence[Path],
    out: Path,
    backbone: Path,
    *,
    start: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    say: Say = print,
) -> Path:
    """Train and return the checkpoint, `out/ras-nano.safetensors`. One photo in twenty is kept back to validate.

    start: a checkpoint whose language model, projector and tokenizer it goes on from; None begins at random.
    """
    torch.manual_seed(seed)
    names = class_names(folders)
    old = None if start is None else open_model(str(start), device="cpu", say=say)
    if old is not None and not isinstance(old, RasPredictor):
        raise CheckpointError(f"{start}: is not a RAS; give one's checkpoint with --start")
    words = tokenizer(names, config.language.vocabulary) if old is None else old.words
    several = len(names) + 1 if config.names else 0  # and no object at all
    config = replace(config, language=replace(config.language, vocabulary=len(words)), names=several)
    model = built(partial(Ras, config), "[language]")
    if model.names is not None:
        forms = [*([colour] for colour in COLOURS), *([name, plural(name)] for name in names), []]
        model.names.ids.copy_(rows([[words.ids(form) for form in own] for own in forms]))
    if not backbone.is_file():
        raise CheckpointError(f"{backbone}: no such file; give the encoder's safetensors with --backbone")
    frozen = {k.removeprefix("backbone."): v.float() for k, v in load_file(backbone).items()}
    load_strict(model.encoders[0].get_submodule("model"), frozen, name=str(backbone))
    predictor = RasPredictor(model, words, "ras-nano", "training", torch.device("cpu"), say)
    scenes = list(read_scenes(predictor, folders, seed, say, lambda n: n % 20 != 0, recipe.views, recipe.copies))
    held = list(read_scenes(predictor, folders, seed, say, lambda n: n % 20 == 0))
    if not recipe.views:  # other views are mirrored half of the time
        scenes += [mirrored(predictor, scene) for scene in scenes]
    if not scenes:
        raise StorageError("no photo with two labelled objects; give folders with images/ and masks/")
    say(f"{len(scenes)} scenes to train on, {len(held)} to validate; {len(words)} tokens, {len(names)} class names")
    mean, deviation = moments(scenes, model.colour_columns)
    scenes, held = (standardised(part, mean, deviation) for part in (scenes, held))
    if model.names is not None:
        chances = learn(
            model.names, scenes, names, folds=recipe.folds, steps=recipe.naming, noise=recipe.dimness, say=say
        )
        scenes = [replace(scene, chances=one) for scene, one in zip(scenes, chances, strict=True)]
        model.names.layers.requires_grad_(False)
    if old is not None:
        go_on(model, old.model, mean, deviation)
    checks = [placed(one, torch.device(device)) for one in _validation(held, words, names, recipe, config.template)]

    def validate(model: nn.Module, step: int) -> dict[str, float]:
        model.eval()
        with torch.inference_mode():
            return accuracy(model, checks)

    step = train(
        model,
        lambda start: batches(scenes, words, names, recipe, config.template, start),
        lambda m, batch: loss_of(m, [placed(s, torch.device(device)) for s in batch], recipe.positive, recipe.spread),
        loop,
        out,
        validate=validate if checks else None,
        device=device,
    )
    say(f"{step} of {loop.steps} steps; log in {out}")
    model = model.cpu()
    model.load_state_dict(averaged(model, out / "state.pt"), strict=False)  # the frozen encoders are not in it
    fold(model, mean, deviation)
    return export(model, words, out / "ras-nano.safetensors", shared=backbone.name)


def class_names(folders: Sequence[Path]) -> list[str]:
    """All class names of the photos, in order of the alphabet."""
    found = {
        o.name for folder in folders for s in sources(folder) for p in photos(s) for o in p.objects or () if o.name
    }
    return sorted(found)


def moments(scenes: Sequence[Scene], plain: slice = slice(0)) -> tuple[Tensor, Tensor]:
    """Mean and deviation [F] of all objects' features; 0 and 1 for the `plain` columns, which are read as they are."""
    every = torch.cat([s.features for s in scenes])
    mean, deviation = every.mean(0), every.std(0).clamp(min=1e-3)
    mean[plain], deviation[plain] = 0, 1
    return mean, deviation


def standardised(scenes: Sequence[Scene], mean: Tensor, deviation: Tensor) -> list[Scene]:
    """The scenes with features of mean 0 and deviation 1, as a network learns best; `fold` undoes it."""
    return [replace(s, features=(s.features - mean) / deviation, extra=(s.extra - mean) / deviation) for s in scenes]


def fold(model: Ras, mean: Tensor, deviation: Tensor) -> None:
    """Take mean and deviation of the features into the first layers that see them, which then read them as they are."""
    for first in [model.mask_projector[0], *([model.names.layers[0]] if model.names is not None else [])]:
        assert isinstance(first, nn.Linear)
        with torch.no_grad():
            first.weight.div_(deviation)
            first.bias.sub_(first.weight @ mean)


def accuracy(model: nn.Module, samples: Sequence[Sample]) -> dict[str, float]:
    """Share of right candidates, and of samples that are right as a whole; cIoU of all and of each kind."""
    right: list[float] = []
    whole: list[float] = []
    shared: dict[str, list[float]] = {}
    for first in range(0, len(samples), 32):
        part = samples[first : first + 32]
        for logits, s in zip(model([s.question for s in part]), part, strict=True):
            chosen, meant = logits > 0, s.labels > 0.5
            good = (chosen == meant)[s.labels >= 0]
            right.append(float(good.float().mean()))
            whole.append(float(good.all()))
            for kind in ("cIoU", s.kind):
                sums = shared.setdefault(kind, [0.0, 0.0])
                sums[0] += float(s.areas[chosen & meant].sum())
                sums[1] += float(s.areas[chosen | meant].sum())
    found = {"candidates": sum(right) / len(right), "groups": sum(whole) / len(whole)}
    found |= {kind: both / max(either, 1.0) for kind, (both, either) in sorted(shared.items())}
    return {name: round(value, 4) for name, value in found.items()}


def _validation(
    scenes: Sequence[Scene], words: Words, names: Sequence[str], recipe: RasRecipe, template: str
) -> Iterator[Sample]:
    rng = np.random.default_rng(1)
    alone = replace(recipe, extra=0.0, noise=0.0)
    for scene in scenes:
        for _ in range(6):
            yield sample(scene, draw(scene.objects, rng, names), words, alone, template, rng)


def export(model: Ras, words: Words, path: Path, shared: str) -> Path:
    """Write all but the frozen encoders, and the tokenizer, with what the file is."""
    own = {k: v.detach().contiguous() for k, v in model.state_dict().items() if not k.startswith("encoders.")}
    state = {k: v.half() if v.is_floating_point() else v for k, v in own.items()}
    metadata = {
        "seg.system": "ras",
        "seg.config": json.dumps(model.config.to_json(), sort_keys=True),
        "seg.accepts": "reference,text",
        "seg.keys": "seg",
        "seg.licence": "Apache-2.0",
        "seg.bundled": shared,
    }
    save(path, {**state, TENSOR: words.to_tensor()}, metadata)
    return path

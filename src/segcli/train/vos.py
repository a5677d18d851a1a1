"""Trains vos-nano, the tracker of the bundled members: `seg train vos --data DIR --videos DIR --config FILE --out DIR`.

The frozen backbone sees short scenes (propagation_scenes.py); of each the first frame's masks are given, the recent
frame's are known roughly, and the new frame's are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from segcli.core.errors import CheckpointError, StorageError
from segcli.datasets.video import Video, folder_sequences
from segcli.models.backbones.efficientnet_lite import EfficientNetLite
from segcli.models.layers.loading import load_strict
from segcli.models.layers.propagation.loading import PREFIX, load_propagation
from segcli.models.layers.propagation.network import PropagationNet
from segcli.registry.header import read_header
from segcli.train.export import save_half
from segcli.train.loop import LoopConfig, averaged, train
from segcli.train.photos import load_photos
from segcli.train.propagation import Objective, PropagationRecipe, groups, scenes, start_keys
from segcli.train.propagation_scenes import Clip, composed
from segcli.train.tables import filled, read_table
from segcli.train.views import TrainingPhoto

Say = Callable[[str], None]
_IGNORED = 255
_BEGINNINGS = 30  # scenes that the keys' directions are taken from


@dataclass(frozen=True)
class VosPlan:
    """Everything that decides a run, besides the photos and videos.

    left_out: sequences that are not trained on, where the videos have them.
    """

    recipe: PropagationRecipe = field(default_factory=PropagationRecipe)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=2000, lr=1.5e-3, warmup=40, clip=3.0))
    left_out: tuple[str, ...] = ()
    seed: int = 0


def read_plan(path: Path) -> VosPlan:
    """Read a plan. Raises UsageError that names the file and the word that is wrong."""
    table = read_table(path, "configs/vos-nano.toml")
    plan = VosPlan()
    plan = replace(
        plan,
        recipe=filled(plan.recipe, table.pop("recipe", {}), f"{path}: recipe"),
        loop=filled(plan.loop, table.pop("loop", {}), f"{path}: loop"),
    )
    return filled(plan, table, str(path))


def train_vos(
    plan: VosPlan,
    folders: Sequence[Path],
    videos: Sequence[Path],
    out: Path,
    backbone: Path,
    *,
    start: Path | None = None,
    device: str = "cpu",
    say: Say = print,
) -> Path:
    """Train and return the checkpoint, `out/vos-nano.safetensors` (the averaged weights in half precision).

    folders:  photos with masks, of which scenes are composed. videos: folders of sequences; none is allowed.
    backbone: safetensors of the frozen backbone, as bundled.
    start:    a vos-nano whose weights this one begins with; None begins as the untrained rule.
    A run that was stopped goes on when it is run again with the same `out`.
    Raises CheckpointError for files of other weights, StorageError for folders without photos.
    """
    photos, clips = load_photos(folders), read_clips(videos, plan.left_out)
    if not any(weight == 1.0 for photo in photos for weight in photo.weights.values()):
        raise StorageError("--data: no photo with a labelled object; scenes are composed of those")
    say(f"{len(photos)} photos and {len(clips)} filmed objects to train on")
    encoder = EfficientNetLite()
    if not backbone.is_file():
        raise CheckpointError(f"{backbone}: no such file; give the backbone's safetensors with --backbone")
    shared = {name.removeprefix("backbone."): t.float() for name, t in load_file(backbone).items()}
    load_strict(encoder, shared, name=str(backbone))
    torch.manual_seed(plan.seed)
    net = _begun(encoder, photos, plan.seed) if start is None else _going_on(encoder, start)
    loop = replace(plan.loop, seed=plan.seed)
    step = train(
        net,
        lambda seed: scenes(photos, clips, plan.recipe, seed),
        Objective(encoder.to(device), plan.recipe, plan.seed),
        loop,
        out,
        device=device,
        groups=groups,
    )
    say(f"{step} of {loop.steps} steps; log in {out / 'log.jsonl'}")
    state = averaged(net, out / "state.pt")
    return export({PREFIX + name: tensor for name, tensor in state.items()}, out / "vos-nano.safetensors", backbone)


def export(tensors: dict[str, torch.Tensor], path: Path, backbone: Path) -> Path:
    """Write the tracker's weights. Opened by itself the file is the bundled seem-nano with this tracker."""
    metadata = {
        "seg.part": "propagation",
        "seg.system": "seem",
        "seg.config": "nano",
        "seg.accepts": "box,classes,mask,point,polygon,previous,scribble,text,video",
        "seg.bundled": f"{backbone.name},seem-nano.safetensors",
        "seg.licence": "Apache-2.0",
    }
    save_half(tensors, path, metadata)
    return path


def read_clips(roots: Sequence[Path], left_out: Sequence[str] = ()) -> list[Clip]:
    """Each object of the sequences `SEQ/frames`, `SEQ/masks` below `roots` (palette indices, 255 ignored) as a clip.

    Sequences of a single frame are passed over. Raises StorageError for a folder without sequences.
    """
    found = [v for root in roots for v in folder_sequences(root) if v.name not in left_out and len(v.frames) > 1]
    return [clip for video in found for clip in _clips(video)]


def _clips(video: Video) -> list[Clip]:
    frames, labels = [video.photo(f) for f in video.frames], [video.truth(f) for f in video.frames]
    numbers = sorted({int(n) for label in labels for n in np.unique(label)} - {0, _IGNORED})
    return [Clip(frames, [label == number for label in labels]) for number in numbers]


def _begun(backbone: EfficientNetLite, photos: Sequence[TrainingPhoto], seed: int) -> PropagationNet:
    net, rng = PropagationNet(backbone.channels), np.random.default_rng(seed)
    drawn = (composed(photos, rng) for _ in range(_BEGINNINGS))
    start_keys(net, backbone, torch.stack([scene.frames[0] for scene in drawn if scene is not None]))
    return net


def _going_on(backbone: EfficientNetLite, start: Path) -> PropagationNet:
    read_header(start)  # refuses what is no safetensors in a line
    tensors = {name: t.float() for name, t in load_file(start).items()}
    net = load_propagation(tensors, backbone.channels, str(start))
    if net is None:
        raise CheckpointError(f"{start}: holds no tracker; give a vos-nano with --start, or leave it out")
    return net.train().requires_grad_(True)

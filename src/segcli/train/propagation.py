"""Trains propagation's keys and head: `python -m segcli.train.propagation CONFIG --photos DIR --videos DIR --out DIR`.

The frozen backbone sees short scenes (propagation_scenes.py), through which objects are followed as a tracker does it
(propagation_unroll.py). Sequences that are left out are followed whole from time to time, and scored.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.datasets.video import folder_sequences
from segcli.metrics.boundary import frame_score
from segcli.models.backbones.efficientnet_lite import MEAN, SCALE, EfficientNetLite
from segcli.models.layers.propagation.loading import PREFIX, load_propagation
from segcli.models.layers.propagation.network import PropagationNet, joined_levels
from segcli.models.layers.propagation.propagator import Propagator
from segcli.registry.places import BUNDLED
from segcli.train.export import save_half
from segcli.train.loop import LoopConfig, averaged, train
from segcli.train.photos import load_photos
from segcli.train.propagation_scenes import Clip, Scene, composed, filmed
from segcli.train.propagation_unroll import Objective, PropagationRecipe
from segcli.train.propagation_warps import Rng
from segcli.train.views import TrainingPhoto

_VISIBLE = 0.002  # of the first frame, below it an object is not followed
_C = TypeVar("_C")


@dataclass(frozen=True)
class PropagationPlan:
    """Everything that decides a run, besides the data. left_out: sequences that only score."""

    recipe: PropagationRecipe = field(default_factory=PropagationRecipe)
    loop: LoopConfig = field(default_factory=LoopConfig)
    left_out: tuple[str, ...] = ()


def read_plan(path: Path) -> PropagationPlan:
    """Read a plan. Raises UsageError that names the file and the word that is wrong."""
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(
            f"{path}: can't be read: {error.strerror}; give a plan such as configs/vos-nano.toml"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not TOML: {error}") from error
    where = str(path)
    _only(table, {f.name for f in fields(PropagationPlan)}, where)
    return PropagationPlan(
        _filled(PropagationRecipe, table.get("recipe", {}), where),
        _filled(LoopConfig, table.get("loop", {}), where),
        tuple(table.get("left_out", ())),
    )


def scenes(
    photos: Sequence[TrainingPhoto], clips: Sequence[Clip], recipe: PropagationRecipe, seed: int
) -> Iterator[list[Scene]]:
    """Endless steps' scenes. Same seed, same scenes."""
    rng = np.random.default_rng(seed)
    while True:
        step: list[Scene] = []
        while len(step) < recipe.scenes:
            if clips and rng.random() < recipe.videos:
                scene: Scene | None = filmed(clips[int(rng.integers(len(clips)))], rng, recipe.frames, photos)
            else:
                scene = composed(photos, rng, recipe.frames, clips)
            if scene is None:
                continue
            visible = np.flatnonzero(scene.masks[0].mean((1, 2)).numpy() > _VISIBLE)
            picked = rng.permutation(visible)[: recipe.objects].tolist()
            if picked:
                step.append(Scene(scene.frames, scene.masks[:, picked]))
        yield step


@torch.no_grad()
def start_keys(net: PropagationNet, backbone: EfficientNetLite, frames: Tensor) -> None:
    """The keys begin as the principal directions of the backbone's levels, so that they compare as those do.

    frames: float [N, 3, H, W] in 0..255.
    """
    cells = torch.cat([joined_levels(backbone(frame[None]))[0].flatten(1).T for frame in frames])
    _, directions = torch.linalg.eigh((cells.T @ cells / len(cells)).double())
    dim = net.key.weight.shape[0]
    net.key.weight.copy_(directions[:, -dim:].T[:, :, None, None])


def groups(named: list[tuple[str, nn.Parameter]], decay: float) -> list[dict[str, Any]]:
    """Keys, temperature and gains learn at 0.3 of the rate: they start well."""
    slow = {"key.weight", "log_tau", "gain"}
    return [
        {"params": [p for n, p in named if n not in slow], "weight_decay": decay},
        {"params": [p for n, p in named if n in slow], "weight_decay": decay, "scale": 0.3},
    ]


def read_clips(root: Path) -> dict[str, Clip]:
    """The sequences `SEQ/frames`, `SEQ/masks` below `root` by name; object 1 of each."""
    return {
        v.name: Clip([v.photo(f) for f in v.frames], [v.truth(f) == 1 for f in v.frames])
        for v in folder_sequences(root)
    }


def followed(net: PropagationNet, backbone: EfficientNetLite, clip: Clip) -> float:
    """Mean J of a clip's later frames when its first mask is given."""

    def seen(pixels: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = dict(backbone(pixels.contiguous(memory_format=torch.channels_last)))
        return maps | {"photo": (F.avg_pool2d(pixels, 2) - MEAN) / SCALE}

    tracker = Propagator("vos-nano", seen, net)
    scores = []
    for number, (pixels, truth) in enumerate(zip(clip.frames, clip.masks, strict=True)):
        answer = tracker.step(Image(pixels, truth.shape), {1: truth} if number == 0 else None)[1]
        if number:
            scores.append(frame_score(truth, answer).j)
    return float(np.mean(scores))


def _begun(backbone: EfficientNetLite, photos: Sequence[TrainingPhoto], rng: Rng) -> PropagationNet:
    net = PropagationNet(backbone.channels)
    drawn = (composed(photos, rng, 1) for _ in range(30))
    start_keys(net, backbone, torch.stack([scene.frames[0] for scene in drawn if scene is not None]))
    return net


def _filled(kind: type[_C], values: Mapping[str, Any], where: str) -> _C:
    _only(values, {f.name for f in fields(kind)}, where)  # type: ignore[arg-type]
    return kind(**values)


def _only(values: Mapping[str, Any], known: set[str], where: str) -> None:
    odd = sorted(set(values) - known)
    if odd:
        raise UsageError(f"{where}: unknown {', '.join(odd)}; it may say {', '.join(sorted(known))}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and write `vos-nano.safetensors`."""
    parser = argparse.ArgumentParser(prog="python -m segcli.train.propagation", description="Train vos-nano.")
    parser.add_argument("config", type=Path, help="the plan, such as configs/vos-nano.toml")
    parser.add_argument("--photos", type=Path, action="append", required=True, help="folders with images and masks")
    parser.add_argument("--videos", type=Path, required=True, help="folder of sequences")
    parser.add_argument("--out", type=Path, required=True, help="where state, log and checkpoint go")
    parser.add_argument("--start", type=Path, help="go on from this checkpoint; otherwise from the untrained rule")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(arguments)
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    plan = read_plan(given.config)
    photos, clips = load_photos(given.photos), read_clips(given.videos)
    missing = sorted(set(plan.left_out) - set(clips))
    if missing:
        raise UsageError(f"{given.videos}: no sequence {', '.join(missing)}; there are {', '.join(clips)}")
    backbone = EfficientNetLite()
    shared = load_file(BUNDLED / "lite0.safetensors")
    backbone.load_state_dict({name.removeprefix("backbone."): t.float() for name, t in shared.items()})
    if given.start is None:
        net = _begun(backbone, photos, np.random.default_rng(plan.loop.seed))
    else:
        started = load_propagation(load_file(given.start), backbone.channels, str(given.start))
        if started is None:
            raise UsageError(f"{given.start}: holds no {PREFIX}… tensors; give a vos-nano.safetensors")
        net = started.float().train().requires_grad_(True)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = Objective(backbone.to(given.device), plan.recipe, plan.loop.seed)
    trained = [clip for name, clip in clips.items() if name not in plan.left_out]

    def validate(model: nn.Module, step: int) -> dict[str, float]:
        assert isinstance(model, PropagationNet)
        scores = {name: followed(model, backbone, clips[name]) for name in plan.left_out}
        return scores | {"mean": float(np.mean(list(scores.values())))}

    train(
        net,
        lambda seed: scenes(photos, trained, plan.recipe, seed),
        objective,
        plan.loop,
        given.out,
        validate=validate if plan.left_out else None,
        device=given.device,
        groups=groups,
    )
    state = averaged(net, given.out / "state.pt")
    file = given.out / "vos-nano.safetensors"
    save_half(
        {PREFIX + name: tensor for name, tensor in state.items()},
        file,
        {"seg.part": "propagation", "seg.licence": "Apache-2.0"},
    )
    print(json.dumps({"file": str(file)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

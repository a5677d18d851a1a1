"""Objects a second that a training of seem-nano can be fed with: views and users on the CPU, and on the device.

    python benchmarks/feeding.py [--data DIR|PACK …] [--device cuda] [--views 6] [--side 256] [--batches 4] [--json]

"views": photos cut, augmented and asked for. "users": first prompts and three rounds of clicks for each object, after
answers that are the truth with noise. Both sources draw the same number of views of the same photos. On a CPU both have
one thread and CPU seconds are counted, elsewhere seconds by the clock. Without --data photos are cuts of the examples
with drawn regions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from drawn import EXAMPLES
from PIL import Image
from torch import Tensor

from segcli.registry.device import resolve
from segcli.train.device_colour import Colour
from segcli.train.device_targets import Granularity
from segcli.train.device_users import DeviceUsers
from segcli.train.device_views import DeviceViewConfig, DeviceViews
from segcli.train.photos import load_photos
from segcli.train.resident import resident
from segcli.train.seem import ObjectBatch, SeemRecipe, Users, collate
from segcli.train.views import TrainingPhoto, ViewConfig, views

ROUNDS = 3
EVERYTHING = DeviceViewConfig(0.1, 0.3, Colour(jpeg=0.2), Granularity(0.15, 0.1, 0.1))


def cuts(count: int, side: int = 384) -> list[TrainingPhoto]:
    """Cuts of the examples, regions around random places as objects."""
    rng = np.random.default_rng(0)
    sources = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.jpg"))]
    ys, xs = np.mgrid[: side * 3 // 4, :side]
    photos = []
    for number in range(count):
        source = sources[number % len(sources)]
        pixels = np.asarray(source.resize((side, side * 3 // 4)))
        places = rng.uniform(0, side, (12, 2))
        labels = ((ys[..., None] - places[:, 0]) ** 2 + (xs[..., None] - places[:, 1]) ** 2).argmin(2) + 1
        ids = {int(i): 1.0 for i in np.unique(labels)}
        photos.append(TrainingPhoto(pixels, labels.astype(np.uint8), ids, tuple(ids), dict.fromkeys(ids, "region")))
    return photos


def seconds(run: Callable[[], int], device: torch.device) -> tuple[float, int]:
    """How long a run takes, and how many objects it made; one run before it is not counted."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.process_time() if device.type == "cpu" else time.perf_counter()

    run()
    start = now()
    objects = run()
    return now() - start, objects


def ask(users: Users | DeviceUsers, logits: Tensor) -> None:
    for _ in range(ROUNDS):
        users.answer(logits)
        users.prompts()


def measure(
    batches: Iterator[ObjectBatch],
    users: Callable[[ObjectBatch], Users | DeviceUsers],
    count: int,
    device: torch.device,
) -> dict[str, float]:
    kept: list[ObjectBatch] = []

    def make() -> int:
        kept[:] = [next(batches).to(device) for _ in range(count)]
        return sum(len(batch.truth) for batch in kept)

    rates = {}
    took, objects = seconds(make, device)
    rates["views"] = objects / took
    noise = torch.Generator(device).manual_seed(0)
    answers = [
        (b.truth[:, None] - 0.5) * 4 + 2 * torch.randn(b.truth[:, None].shape, generator=noise, device=device)
        for b in kept
    ]

    def click() -> int:
        for batch, logits in zip(kept, answers, strict=True):
            ask(users(batch), logits)
        return sum(len(batch.truth) for batch in kept)

    took, objects = seconds(click, device)
    rates["users"] = objects / took
    rates["both"] = 1 / (1 / rates["views"] + 1 / rates["users"])
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--views", type=int, default=6, help="a batch")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device = torch.device(resolve(options.device).device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    photos = load_photos(options.data) if options.data else cuts(24)
    view, recipe, rng = ViewConfig(side=options.side), SeemRecipe(), np.random.default_rng(0)

    def on_cpu() -> Iterator[ObjectBatch]:
        stream = views(photos, view, 0)
        while True:
            yield collate([next(stream) for _ in range(options.views)])

    held = resident(photos, device)

    def on_device(config: DeviceViewConfig) -> dict[str, float]:
        source = DeviceViews(held, view, config, options.views).stream()
        return measure(source, lambda b: DeviceUsers(b, recipe, b.chance), options.batches, device)  # type: ignore[arg-type]

    rows = {
        "cpu": measure(on_cpu(), lambda b: Users(b, recipe, rng), options.batches, device),
        "device, the same": on_device(DeviceViewConfig()),
        "device, everything": on_device(EVERYTHING),
    }
    if options.json:
        print(json.dumps({"device": str(device), "objects a second": rows, "everything": asdict(EVERYTHING)}))
        return
    print(f"objects a second on {device}, {options.views} views of {options.side} px a batch (beside the first row)")
    for name, row in rows.items():
        print(f"{name:20}", *(f"{k} {v:8.1f} ({v / rows['cpu'][k]:.2f}x)" for k, v in row.items()), sep="  ")


if __name__ == "__main__":
    main()

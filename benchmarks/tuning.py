"""What a tuned prompt is worth, beside the example that it began from and beside eight examples.

    python benchmarks/tuning.py --train TRAIN/msrc --dev DEV/msrc --class cow --class sheep [--json]

For each class a prompt is tuned on the photos of TRAIN that show it, from one of them; DEV is looked at only to score.
Figures are the mean IoU over DEV's photos with the class. "8 examples" are plain ones of the same photos, drawn by a
seed. The hash of all weights is taken before and after.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from segcli.core.example import Example, Task
from segcli.registry.load import open_model
from segcli.registry.tuned import read_prompt
from segcli.train.prompt import TunableModel, TuningPlan, mean_iou, tunable, tune
from segcli.train.prompt_data import Lessons, read_lessons, richest

MANY = 8


def weights_hash(model: Any) -> str:
    """Over every tensor of the network that the predictor holds."""
    network = model.network if hasattr(model, "network") else model.engine.model
    whole = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        whole.update(name.encode() + tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def shown(model: TunableModel, examples: Sequence[Example], queries: Sequence[Example], task: Task) -> float:
    fork = cast(TunableModel, model.fork())
    fork.learn(examples, kind="semantic")
    return mean_iou(fork, queries, task)


def measure(model: TunableModel, learned: Lessons, queries: list[Example], plan: TuningPlan) -> dict[str, float]:
    first = [learned.read(photo) for photo in richest(learned, 1)]
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(learned.learned))[:MANY].tolist()
    many = [learned.read(learned.learned[n]) for n in chosen]
    row = {"example": shown(model, first, queries, learned.task), "many": shown(model, many, queries, learned.task)}
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        out = tune(model, learned, plan, Path(folder, "p.safetensors"), device="cpu", say=lambda line: None)
        fork = cast(TunableModel, model.fork())
        fork.tune(read_prompt(out), learned.task)
    row["seconds"] = time.process_time() - started
    row["tuned"] = mean_iou(fork, queries, learned.task)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--dev", type=Path, nargs="+", required=True)
    parser.add_argument("--class", dest="classes", action="append", required=True)
    parser.add_argument("--model", default="seggpt-nano")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = tunable(open_model(options.model, device="cpu", dtype="fp32", say=lambda line: None))
    before = weights_hash(model)
    plan = TuningPlan()
    plan = replace(
        plan, loop=replace(plan.loop, steps=options.steps, lr=options.lr, warmup=min(10, options.steps // 10))
    )
    rows = []
    for name in options.classes:
        learned = read_lessons(options.train, "semantic", [name], hold_out=0)
        held = read_lessons(options.dev, "semantic", [name], hold_out=0)
        queries = [held.read(photo) for photo in held.learned]
        row = {"class": name, "learned": len(learned.learned), "photos": len(queries)}
        row |= measure(model, learned, queries, plan)
        rows.append(row)
        print(
            f"{name:12} {row['learned']:4} photos, {row['seconds']:6.1f} s; on {row['photos']} others: "
            f"example {row['example']:.3f}, {MANY} examples {row['many']:.3f}, tuned {row['tuned']:.3f}",
            file=sys.stderr if options.json else sys.stdout,
            flush=True,
        )
    means = {key: float(np.mean([row[key] for row in rows])) for key in ("example", "many", "tuned")}
    same = weights_hash(model) == before
    if options.json:
        print(json.dumps({"model": model.name, "rows": rows, "mean": means, "weights_unchanged": same}))
    else:
        print(f"mean: example {means['example']:.3f}, {MANY} examples {means['many']:.3f}, tuned {means['tuned']:.3f}")
        print(f"every weight as it was: {same}")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

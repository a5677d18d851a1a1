"""SegGPT beside transformers' port: seconds and peak memory for the same random weights, one CPU thread.

    python benchmarks/seggpt.py [--examples 1 8] [--blocks 24] [--json]

Every case runs in a process of its own, so that its peak memory is its own. Seconds are CPU seconds of that process:
a busy machine disturbs them less than a clock. `--blocks` makes a shallower model of the same width, for a quick look;
its ratios are close to the full model's, not equal.

"a directory sharing the examples" is the cost of a further photo: what does not depend on the photo is done before.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segcli.models.seggpt.config import PRESETS, SegGPTConfig
from segcli.models.seggpt.embedding import INSTANCE
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.keys import key_table
from segcli.models.seggpt.model import SegGPT

SEED = 0
WEIGHT_STD = 0.02


@dataclass(frozen=True)
class Cost:
    """What one case took. `further` is the CPU time of one more photo with the same examples."""

    seconds: float
    further: float
    wall: float
    peak_gb: float


def config_for(preset: str, blocks: int) -> SegGPTConfig:
    """The preset with that many blocks; the decoder reads as many of them as in the preset, evenly."""
    full = PRESETS[preset]
    skips = full.skips_after
    if blocks != full.depth:
        after = blocks - 1 - full.merge_after
        if after < len(skips) - 1:
            raise SystemExit(f"--blocks {blocks}: give at least {full.merge_after + len(skips)}")
        skips = tuple(full.merge_after + round(after * k / (len(skips) - 1)) for k in range(len(skips)))
    return replace(full, depth=blocks, skips_after=skips, drop_path=0.0)


def random_model(config: SegGPTConfig) -> SegGPT:
    with torch.device("meta"):
        model = SegGPT(config)
    generator = torch.Generator().manual_seed(SEED)
    state = {}
    for name, value in model.state_dict().items():
        state[name] = torch.empty(value.shape).normal_(std=WEIGHT_STD, generator=generator)
        if "norm" in name and name.endswith("weight"):
            state[name] += 1
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False)


def pictures(config: SegGPTConfig, examples: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalised example photos and masks [N, 3, side, side] and a query [3, side, side]."""
    generator = torch.Generator().manual_seed(SEED + 1)
    shape = (examples, 3, config.side, config.side)
    photos, masks = (torch.randn(shape, generator=generator) for _ in range(2))
    return photos, masks, torch.randn(shape[1:], generator=generator)


def ours(config: SegGPTConfig, examples: int) -> tuple[float, float, torch.Tensor]:
    photos, masks, query = pictures(config, examples)
    engine = InContext(random_model(config))
    start = time.process_time()
    prepared = engine.prepare(photos, masks, INSTANCE)
    ready = time.process_time()
    answer = engine.answer(prepared, query)
    end = time.process_time()
    return end - start, end - ready, answer


def library(config: SegGPTConfig, examples: int) -> tuple[float, float, torch.Tensor]:
    import transformers

    photos, masks, query = pictures(config, examples)
    state = random_model(config).state_dict()
    settings = transformers.SegGptConfig(
        hidden_size=config.embed_dim,
        num_hidden_layers=config.depth,
        num_attention_heads=config.num_heads,
        image_size=list(config.canvas),
        patch_size=config.patch_size,
        mlp_dim=int(config.embed_dim * config.mlp_ratio),
        pretrain_image_size=config.pretrain_size,
        decoder_hidden_size=config.decoder_dim,
        merge_index=config.merge_after,
        intermediate_hidden_state_indices=list(config.skips_after),
        drop_path_rate=0.0,
    )
    with torch.device("meta"):
        model = transformers.SegGptForImageSegmentation(settings).eval()
    table = key_table("transformers", config.depth)
    model.load_state_dict({theirs: state[ours] for theirs, ours in table.items()}, assign=True)
    del state
    with torch.inference_mode():
        start = time.process_time()
        output = model(
            pixel_values=query.expand(examples, -1, -1, -1),
            prompt_pixel_values=photos,
            prompt_masks=masks,
            embedding_type="instance",
            feature_ensemble=examples > 1,
        ).pred_masks[0]
        seconds = time.process_time() - start
    return seconds, seconds, output[:, config.side :]


CASES = {"seg": ours, "transformers": library}


def measure(which: str, config: SegGPTConfig, examples: int, result: Any) -> None:
    """Run one case in this (fresh) process and send back its cost and answer."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    seconds, further, answer = CASES[which](config, examples)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    result.send((Cost(seconds, further, time.perf_counter() - start, peak), answer.numpy()))


def in_fresh_process(which: str, config: SegGPTConfig, examples: int) -> tuple[Cost, NDArray[np.float32]]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(which, config, examples, sender))
    process.start()
    sender.close()
    try:
        cost, answer = receiver.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"{which} with {examples} examples ended with exit code {process.exitcode}") from None
    process.join()
    return cost, answer


def compare(config: SegGPTConfig, examples: int) -> dict[str, Any]:
    costs, answers = {}, {}
    for which in CASES:
        costs[which], answers[which] = in_fresh_process(which, config, examples)
        cost = costs[which]
        print(f"{examples} examples, {which:12}: {cost.seconds:7.1f} s, peak {cost.peak_gb:5.2f} GB", file=sys.stderr)
    seg, peer = costs["seg"], costs["transformers"]
    return {
        "examples": examples,
        "seg": asdict(seg),
        "transformers": asdict(peer),
        "times_faster": peer.seconds / seg.seconds,
        "times_faster_in_a_directory": peer.further / seg.further,
        "share_of_memory": seg.peak_gb / peer.peak_gb,
        "largest_difference": float(np.abs(answers["seg"] - answers["transformers"]).max()),
        "spread_of_answers": float(answers["seg"].std()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--blocks", type=int, default=24, help="fewer than 24 make a shallower model")
    parser.add_argument("--preset", default="vit-l", choices=sorted(PRESETS))
    parser.add_argument("--json", action="store_true", help="one JSON line for each number of examples")
    options = parser.parse_args()
    config = config_for(options.preset, options.blocks)
    for examples in options.examples:
        row = compare(config, examples)
        if options.json:
            print(json.dumps(row))
            continue
        print(f"\n{examples} example(s), {options.preset}, {config.depth} blocks, float32, one CPU thread")
        print("                                      seconds   peak GB")
        for which, cost in (("transformers", row["transformers"]), ("seg", row["seg"])):
            print(f"  {which:34} {cost['seconds']:9.1f} {cost['peak_gb']:9.2f}")
        print(f"  {'seg, a directory sharing the examples':34} {row['seg']['further']:6.1f}")
        print(
            f"  faster: {row['times_faster']:.2f}x, in a directory {row['times_faster_in_a_directory']:.2f}x; "
            f"memory: {row['share_of_memory']:.2f} of theirs"
        )
        why = "" if examples == 1 else " (theirs mixes the two streams in the block before the merge)"
        print(
            f"  answers differ by at most {row['largest_difference']:.2g}, spread {row['spread_of_answers']:.2g}{why}"
        )


if __name__ == "__main__":
    main()

"""Photos and clicks a second of a released SEEM, as seg runs it beside the published order of work in float32.

    python benchmarks/seem_rates.py [--config focal-l] [--device cuda] [--dtype bf16] [--seconds 10] [--json]

Meant for a GPU. Panoptic: a photo at the published test size through backbone, decoder, 133 classes and the map at the
photo's size; clicks: the second one on an encoded photo, with the first one's mask as memory. The published order runs
its whole decoder for a click, object queries, class logits and masks at every layer, and draws nothing at random here.
Weights are random, so nothing is found: a real photo's map takes a little longer on both sides.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # the published order stands with the tests

from tests.models.seem.published import published_call

from segcli.core.ask import Ask, Point
from segcli.core.classes import known
from segcli.core.image import Image
from segcli.core.rle import encode
from segcli.models.seem.attention import Group
from segcli.models.seem.config import preset
from segcli.models.seem.marks import marks_of, previous_logits
from segcli.models.seem.model import SeemModel
from segcli.models.seem.postprocess import panoptic, resize_interactive, resize_masks
from segcli.models.seem.prompts import Prompts
from segcli.models.seem.released_predictor import ReleasedPredictor

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
CLICK = Ask(points=(Point(200, 150), Point(500, 300, positive=False)))


def rate(seconds: float, run: Callable[[], object], device: torch.device) -> float:
    """Runs a second, over at least `seconds` and two runs, after one that isn't counted."""

    def done() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    run()
    start, count = done(), 0
    while count < 2 or done() - start < seconds:
        run()
        count += 1
    return count / (done() - start)


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="focal-l")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bf16", choices=sorted(DTYPES))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    config = preset(options.config)
    width, height = 640, 480
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image(pixels, (height, width))
    square = np.zeros((height, width), bool)
    square[100:200, 150:250] = True
    click = replace(CLICK, previous=encode(square))
    names = known("coco").names
    model = SeemModel(config).to(device)
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as banks:
        plain = ReleasedPredictor(model, "published order", "random", Path(banks))
        bank = plain.language.bank(names)
        photo = plain.look(image)
        mask_features, maps = photo.image.mask_features, photo.image.maps

        def published_photo() -> object:
            x = torch.from_numpy(resized(image, photo.size.image)).permute(2, 0, 1)[None].to(device)
            features, levels = model.sem_seg_head.pixel_decoder(model.backbone(model.prepare_image(x)))
            stage = published_call(model.decoder, features, levels, Prompts(), bank)
            group = Group.OBJECT_QUERIES
            masks = resize_masks(stage[f"masks.{group}"][0], photo.size.padded, photo.size.image, image.size)
            return panoptic(stage[f"classes.{group}"][0], masks, set(range(80)))[0].cpu()

        def published_click() -> Tensor:
            positive, negative = (mark.to(device) for mark in marks_of(click, photo.size))
            cells = (int(mask_features.shape[-2]), int(mask_features.shape[-1]))
            memory = previous_logits(encode(square), photo.size, cells).to(mask_features)
            prompts = Prompts([positive], [negative], memory)
            chosen = published_call(model.decoder, mask_features, maps, prompts, bank)["chosen"]
            return (resize_interactive(chosen[0], photo.size.padded, photo.size.image, image.size) > 0).cpu()

        result["panoptic_photos_per_second_published_fp32"] = rate(options.seconds, published_photo, device)
        result["clicks_per_second_published_fp32"] = rate(options.seconds, published_click, device)
        quick = ReleasedPredictor(model.to(DTYPES[options.dtype]), "seg", "random", Path(banks))
        (encoded,) = quick.encode([image])
        everything = Ask(classes=names, kind="panoptic")
        result[f"panoptic_photos_per_second_{options.dtype}"] = rate(
            options.seconds, lambda: quick.decode(quick.encode([image])[0], [everything]), device
        )
        result[f"clicks_per_second_{options.dtype}"] = rate(
            options.seconds, lambda: quick.decode(encoded, [click]), device
        )
    if options.json:
        print(json.dumps({"config": options.config, "device": str(device), **result}))
        return
    for name, value in result.items():
        print(f"{name:44} {value:.4g}")


def resized(image: Image, size: tuple[int, int]) -> np.ndarray:
    """The photo at the network's size, as published."""
    from PIL import Image as Pillow

    return np.array(Pillow.fromarray(image.pixels).resize((size[1], size[0]), Pillow.Resampling.BICUBIC))


if __name__ == "__main__":
    main()

"""SEEM's exact speed-ups beside the published order of work, on this machine, with random weights.

    python benchmarks/seem.py [--config focal-t] [--size 512] [--threads 1] [--repeats 3] [--json]

A click after the first: the published code re-runs its whole decoder, object queries, class logits and all; ours
keeps the photo's keys and values and answers with the clicked object's queries alone. A class bank: real
names in all 81 sentences, cut at their end token, behind which causal attention can't look, and kept on disk. Weights
are random: neither the time nor the equality of the two depends on them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # the oracle stands with the tests

from tests.models.seem.published import published_call

from segcli.core.classes import known
from segcli.models.seem.bank import in_templates
from segcli.models.seem.config import preset
from segcli.models.seem.language import BACKGROUND, Language
from segcli.models.seem.model import SeemModel
from segcli.models.seem.prompts import Prompts
from segcli.models.seem.similarity import normalise
from segcli.models.seem.templates import TEMPLATES
from segcli.models.seem.tokenizer import CONTEXT, token_ids

COCO = known("coco")
NAMES = 8  # of the bank that is measured


def best_of(repeats: int, run: Callable[[], object]) -> float:
    """CPU seconds of the quickest run, which a busy machine disturbs less than a clock."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def square(size: int, *centres: tuple[float, float]) -> Tensor:
    """3x3 clicks at fractions of a square photo."""
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    for x, y in centres:
        column, row = int(x * size), int(y * size)
        mask[0, row - 1 : row + 2, column - 1 : column + 2] = True
    return mask


def clicks(model: SeemModel, size: int, repeats: int) -> dict[str, float]:
    """Seconds of the photo, and of its second click in both orders of work."""
    decoder = model.decoder
    photo = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(0))
    x = model.prepare_image(photo)
    mask_features, multi_scale = model.sem_seg_head.pixel_decoder(model.backbone(x))
    bank = normalise(torch.randn(len(COCO) + 1, 512, generator=torch.Generator().manual_seed(1)))
    image = decoder.prepare(mask_features, multi_scale)
    first = Prompts([square(size, (0.4, 0.5))], [square(size)])
    before = decoder.spatial_masks(decoder(image, first, objects=False), image)
    second = Prompts([square(size, (0.4, 0.5))], [square(size, (0.7, 0.3))], before)

    def ours() -> Tensor:
        return decoder.spatial_masks(decoder(image, second, objects=False), image)

    def published() -> Tensor:
        return published_call(decoder, mask_features, multi_scale, second, bank)["chosen"]

    difference = float((ours() - published()).abs().max())
    return {
        "photo_seconds": best_of(1, lambda: model.encode(photo)),
        "prepare_seconds": best_of(repeats, lambda: decoder.prepare(mask_features, multi_scale)),
        "click_seconds_published": (slow := best_of(repeats, published)),
        "click_seconds": (quick := best_of(repeats, ours)),
        "click_ratio": quick / slow,
        "click_max_difference": difference,
        "click_largest_logit": float(ours().abs().max()),
        "encoded_megabytes": image.nbytes / 1e6,
    }


def class_bank(model: SeemModel, repeats: int) -> dict[str, float]:
    """Seconds of a bank of 8 of COCO's names and the background: uncut, cut, and read back by another process."""
    decoder = model.decoder
    names = COCO.names[:: len(COCO) // NAMES][:NAMES]
    sentences = in_templates([*names, BACKGROUND], TEMPLATES)
    ids = torch.from_numpy(token_ids([text for texts in sentences for text in texts])).view(NAMES + 1, -1, CONTEXT)

    def uncut(ids: Tensor = ids) -> Tensor:
        means = torch.stack([normalise(decoder.lang_encoder.tokens(texts)[1]).mean(0) for texts in ids])
        return means / means.norm(dim=-1, keepdim=True)

    with tempfile.TemporaryDirectory() as folder:

        def fresh(kept: Path | None) -> Tensor:
            return Language(decoder, "benchmark", kept).bank(names)

        slow, quick = best_of(1, uncut), best_of(1, lambda: fresh(None))
        difference = float((uncut(ids[:1]) - fresh(Path(folder))[:1]).abs().max())
        again = best_of(repeats, lambda: fresh(Path(folder)))
        language = Language(decoder, "benchmark", Path(folder))
        language.bank(names)
        held = best_of(repeats, lambda: language.bank(names))
    return {
        "bank_seconds_uncut_8": slow,
        "bank_seconds_8": quick,
        "bank_seconds_133_extrapolated": quick * (len(COCO) + 1) / (NAMES + 1),
        "bank_ratio": quick / slow,
        "bank_seconds_read_from_disk": again,
        "bank_seconds_held": held,
        "bank_max_difference": difference,
    }


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="focal-t")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = SeemModel(preset(options.config)).eval()
    result = clicks(model, options.size, options.repeats) | class_bank(model, options.repeats)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:32} {value:.4g}")


if __name__ == "__main__":
    main()

"""Training: loss, gradients, prompt tuning, masks."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from segcli.models.seggpt.embedding import INSTANCE
from segcli.models.seggpt.keys import key_table
from segcli.models.seggpt.loss import hidden_pixels, in_context_loss, smooth_l1
from segcli.models.seggpt.model import half_mask
from segcli.models.seggpt.prompt import TunedPrompt, prompt_loss
from segcli.train.seggpt_data import BlockwiseMask
from tests.goldens.contract import Golden, Outcome, Runner, within
from tests.goldens.seggpt_kinds.recorded import (
    Differences,
    Record,
    difference,
    kinds,
    load_model,
)

# f, l: losses and gradients


def gradients(differences: Callable[[Golden], Differences]) -> Runner:
    """Compare differences that are already relative (to the tensor's largest value, or their share of tolerance)."""

    def run(golden: Golden) -> Outcome:
        return within(differences(golden), float(golden.entry["tolerance"]["rel_to_tensor_max"]))

    return run


def relative(ours: Tensor | None, theirs: Tensor) -> float:
    return float("inf") if ours is None else difference(ours, theirs) / float(theirs.abs().max())


def loss_share(ours: Tensor, theirs: Tensor) -> float:
    """Losses are held to 1e-5 relative, a tenth of what tensors are held to."""
    return 10 * relative(ours.reshape(1), theirs)


def norm_share(ours: Tensor, theirs: Tensor) -> float:
    """Gradient norms are held to 1e-3 each, relative: ten times what tensors are held to."""
    return float(((ours - theirs).abs() / theirs.abs().clamp_min(1e-30)).max()) / 10


def loss(golden: Golden) -> Differences:
    record, model = Record(golden), load_model(golden)
    i, o, config = record.i, record.o, model.config
    photos, targets = (i[name].clone().requires_grad_() for name in ("imgs", "tgts"))
    kind, valid = kinds(i["seg_type"], len(photos)), i["valid"].float()
    canvas = model(photos, targets, i["mask"], kind)
    hidden = hidden_pixels(i["mask"].float(), config.grid, config.patch_size)
    ours = in_context_loss(canvas, targets, hidden, valid)
    ours.backward()
    yield "loss", loss_share(ours, o["loss"])
    yield "pred", relative(canvas, o["pred"])
    names, parameters = key_table("original", config.depth), dict(model.named_parameters())
    norms = torch.stack([parameters[names[name]].grad.norm() for name in golden.entry["param_order"]])
    yield "param_grad_norms", norm_share(norms, o["param_grad_norms"])
    yield "total_grad_norm", norm_share(norms.norm().reshape(1), o["total_grad_norm"])
    for name in (name for name in o if name.startswith("grad.")):
        yield name, relative(parameters[names[name.removeprefix("grad.")]].grad, o[name])
    yield "grad_input_imgs", relative(photos.grad, o["grad_input_imgs"])
    yield "grad_input_tgts", relative(targets.grad, o["grad_input_tgts"])
    yield "sl1_values", relative(smooth_l1(i["sl1_diff"]), o["sl1_values"])
    with torch.no_grad():
        rows = i["half_mask_rows"]
        canvas = model(photos, targets, rows, kinds(INSTANCE, len(photos)))
        hidden = hidden_pixels(rows.float(), config.grid, config.patch_size)
        half = in_context_loss(canvas, targets, hidden, torch.ones_like(valid))
    yield "official.loss_half_mask_valid1", loss_share(half, o["official.loss_half_mask_valid1"])
    # transformers multiplies by the batch when its mask has one row: the reason why ours broadcasts before summing
    yield "hf.loss_default_mask", loss_share(half * len(photos), o["hf.loss_default_mask"])


def prompt_tuning(golden: Golden) -> Differences:
    record, model = Record(golden), load_model(golden)
    model.requires_grad_(False)
    prompt = TunedPrompt(record.i["prompt_photo"], record.i["prompt_target"])
    queries, labels = record.i["query"], record.i["label"]
    kind = kinds(record.config["_seg_type"], len(queries))
    ours, canvas = prompt_loss(model, prompt, queries, labels, kind)
    ours.backward()
    yield "loss", loss_share(ours, record.o["loss"])
    yield "pred", relative(canvas, record.o["pred"])
    yield "grad_prompt_photo", relative(prompt.photo.grad, record.o["grad_prompt_photo"])
    yield "grad_prompt_target", relative(prompt.target.grad, record.o["grad_prompt_target"])


# i: masks of training


def mask_generator(golden: Golden) -> Differences:
    record = Record(golden)
    for tag, (grid, hidden, smallest, largest) in record.config["settings"].items():
        generator = BlockwiseMask(tuple(grid), hidden, smallest, largest)
        for seed in record.config["seeds"]:
            blocks, cells = random.Random(seed), np.random.RandomState(seed)
            name = f"{tag}.seed{seed}"
            masks = np.stack([generator.draw(blocks, cells) for _ in record.o[name]])
            yield name, difference(masks, record.o[name])
            after = np.array([blocks.random(), cells.random_sample()])
            yield f"{name}.next_random", difference(after, record.o[f"{name}.next_random"])
    for name, theirs in record.o.items():
        if name.startswith("half_mask_"):
            yield name, difference(half_mask(tuple(theirs.shape)).reshape(theirs.shape), theirs)

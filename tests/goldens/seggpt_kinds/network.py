"""The network: embedding, one block, the whole model, ensembles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segcli.models.seggpt.attention import relative_table
from segcli.models.seggpt.block import Block, WindowedBlock, unwindowed, windowed
from segcli.models.seggpt.embedding import INSTANCE, SEMANTIC, resized_positions
from segcli.models.seggpt.ensemble import spatial_example
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.keys import BLOCK_KEYS
from segcli.models.seggpt.model import SegGPT, half_mask
from segcli.models.seggpt.prepost import (
    lower_half,
    resized_photo,
    stacked,
    unit,
)
from tests.goldens.contract import Golden
from tests.goldens.seggpt_kinds.recorded import (
    Differences,
    Record,
    Tensors,
    difference,
    kinds,
    load_model,
)

# a: embedding


def embed(golden: Golden) -> Differences:
    record, model = Record(golden), load_model(golden)
    i, o, embedding = record.i, record.o, model.embedding
    yield "patch_tokens", difference(embedding.patches(i["imgs"]), o["patch_tokens"])
    for rows, columns in record.config["_grids"]:
        name = f"pos_{rows}x{columns}"
        yield name, difference(resized_positions(embedding.positions, (rows, columns)), o[name])
    x, y = embedding(i["imgs"], i["tgts"], i["mask"], kinds(i["seg_type"], len(i["imgs"])))
    yield "block0_input", difference(torch.cat([x, y]), o["block0_input"])


# b: one block


def block(golden: Golden) -> Differences:
    record = Record(golden)
    c, window = record.config, record.config.get("window")
    dim, heads = c["dim"], c["heads"]
    ours = WindowedBlock(dim, heads, window) if window else Block(dim, heads, tuple(c["table"]))
    ours.load_state_dict({BLOCK_KEYS["original"][name]: value for name, value in record.w.items()})
    for height, width in c["sizes"]:
        size = f"{height}x{width}"
        x = record.i[f"x_{size}"]
        yield f"y_{size}", difference(ours(x), record.o[f"y_{size}"])
        if window:
            inside = ours.attention(windowed(ours.norm1(x), window))
            yield f"attn_windows_{size}", difference(inside, record.o[f"attn_windows_{size}"])
            yield f"attn_{size}", difference(ours.attend(x), unwindowed(inside, (height, width)))
        else:
            yield f"attn_{size}", difference(ours.attend(x), record.o[f"attn_{size}"])
            for name, table, length in (
                (f"Rh_{height}", ours.attention.relative_rows, height),
                (f"Rw_{width}", ours.attention.relative_columns, width),
            ):
                yield name, difference(relative_table(table, length), record.o[name])


# c, d: the whole model


def watched(model: SegGPT, outputs: Tensors) -> list[Any]:
    """Hooks that keep what the goldens record on the way: states after blocks, and the normalised skips."""

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: outputs.__setitem__(name, output)

    skips = iter(range(len(model.config.skips_after)))
    hooks = [model.blocks[n].register_forward_hook(keep(f"block{n}_out")) for n in range(model.config.depth)]
    hooks.append(model.norm.register_forward_hook(lambda _m, _i, o: outputs.__setitem__(f"skip{next(skips)}", o)))
    return hooks


def patchified(canvas: Tensor, patch: int) -> Tensor:
    """[B, 3, H, W] -> [B, L, patch*patch*3], channel fastest: the order of the original's output."""
    tiles = canvas.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # [B, 3, h, p, w, p]
    return tiles.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def canvas_differences(model: SegGPT, record: Record, prefix: str, suffix: str, kind: int | None) -> Differences:
    """Everything recorded for one forward pass under `prefix`, and the lower half by the shared path."""
    photos, targets = record.i[f"imgs{suffix}"], record.i[f"tgts{suffix}"]
    outputs: Tensors = {}
    hooks = watched(model, outputs)
    grid = (photos.shape[2] // model.config.patch_size, photos.shape[3] // model.config.patch_size)
    each = None if kind is None else kinds(kind, len(photos))
    outputs["canvas"] = model(photos, targets, half_mask(grid), each, ensemble=len(photos) > 1)
    for hook in hooks:
        hook.remove()
    outputs["patchified"] = patchified(outputs["canvas"], model.config.patch_size)
    for name, theirs in record.o.items():
        part = name.removeprefix(prefix)
        if name.startswith(prefix) and part in outputs:
            yield name, difference(outputs[part], theirs)
    if photos.shape[2:] == model.config.canvas:
        engine, half = InContext(model), photos.shape[2] // 2
        examples = engine.prepare(photos[:, :, :half], targets[:, :, :half], kind)
        ours = engine.answer(examples, photos[0, :, half:])
        yield f"{prefix}shared path", difference(ours, lower_half(record.o[f"{prefix}canvas"][0]))


def full(golden: Golden) -> Differences:
    record, model = Record(golden), load_model(golden)
    by_name = {"semantic": SEMANTIC, "instance": INSTANCE, "none": None}
    for name in sorted(record.o):
        if name.endswith(".canvas"):
            *size, kind, _ = name.split(".")
            suffix = "".join(f"_{each}" for each in size)  # inputs of another canvas size, as in imgs_big
            yield from canvas_differences(model, record, name.removesuffix("canvas"), suffix, by_name[kind])


def feature_ensemble(golden: Golden) -> Differences:
    record, model = Record(golden), load_model(golden)
    kind = record.config["_seg_type"]
    yield from canvas_differences(model, record, "official.", "", kind)
    lone = record.o["official.no_ensemble.canvas"]
    photos, targets = (record.i[name][: len(lone)] for name in ("imgs", "tgts"))
    alone = model(photos, targets, half_mask(model.config.grid), kinds(kind, len(lone)))
    yield "official.no_ensemble.canvas", difference(alone, lone)


# e: the spatial ensemble


def spatial(golden: Golden) -> Differences:
    record, model = Record(golden), load_model(golden)
    photos, masks = record.i["example_photos"].numpy(), record.i["example_masks"].numpy()
    if len(photos) != record.config["_n"] ** 2:
        raise ValueError(f"{len(photos)} examples for {record.config['_n']} x {record.config['_n']} tiles")
    side = model.config.side
    photo, mask = spatial_example(list(photos), list(masks), side)
    query = resized_photo(record.i["query_photo"].numpy(), side)
    imgs = stacked([unit(photo)], [unit(query)])
    tgts = stacked([unit(mask)], [unit(mask)])
    yield "tiled_photo", difference(photo, record.o["tiled_photo"])
    yield "tiled_mask", difference(mask, record.o["tiled_mask"])
    yield "imgs", difference(imgs, record.o["imgs"])
    yield "tgts", difference(tgts, record.o["tgts"])
    canvas = model(imgs, tgts, half_mask(model.config.grid), kinds(INSTANCE, 1))
    yield "canvas", difference(canvas, record.o["canvas"])

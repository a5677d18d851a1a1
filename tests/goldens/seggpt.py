"""SegGPT's goldens: recorded from the original code, a function for each kind."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors.torch import load_file
from torch import Tensor

from segcli.models.seggpt.attention import relative_table
from segcli.models.seggpt.block import Block, WindowedBlock, unwindowed, windowed
from segcli.models.seggpt.config import SegGPTConfig
from segcli.models.seggpt.embedding import INSTANCE, SEMANTIC, resized_positions
from segcli.models.seggpt.ensemble import spatial_example
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.keys import BLOCK_KEYS, key_table, renamed
from segcli.models.seggpt.loss import hidden_pixels, in_context_loss, smooth_l1
from segcli.models.seggpt.model import SegGPT, half_mask
from segcli.models.seggpt.palette import class_colors, nearest_class, with_background
from segcli.models.seggpt.prepost import (
    binary,
    lower_half,
    normalised,
    overlay,
    painted,
    resized_mask,
    resized_output,
    resized_photo,
    stacked,
    unit,
)
from segcli.models.seggpt.prompt import TunedPrompt, prompt_loss
from segcli.models.seggpt.tracker import ObjectMemory, Pair
from segcli.train.seggpt_data import BlockwiseMask
from tests.goldens.contract import Golden, Outcome, Runner, within

Differences = Iterator[tuple[str, float]]
Tensors = dict[str, Tensor]


class Record:
    """One recorded file: inputs `i`, outputs `o`, weights `w`, without their prefixes; halves cast to float32."""

    def __init__(self, golden: Golden) -> None:
        everything = load_file(golden.path)
        self.i = _part(everything, "in.")
        self.o = _part(everything, "out.")
        self.w = _part(everything, "w.")
        self.config: dict[str, Any] = golden.entry["config"]

    def image(self, name: str) -> NDArray[np.uint8]:
        """A recorded PNG or JPEG as RGB pixels."""
        return np.asarray(Pillow.open(io.BytesIO(self.i[name].numpy().tobytes())).convert("RGB"))


def _part(tensors: Tensors, prefix: str) -> Tensors:
    found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in found.items()}


def config_of(recorded: dict[str, Any]) -> SegGPTConfig:
    """Our config from the constructor arguments that the manifest states."""
    height, width = recorded["img_size"]
    return SegGPTConfig(
        canvas=(height, width),
        patch_size=recorded["patch_size"],
        embed_dim=recorded["embed_dim"],
        depth=recorded["depth"],
        num_heads=recorded["num_heads"],
        pretrain_size=recorded["pretrain_img_size"],
        decoder_dim=recorded["decoder_embed_dim"],
        mlp_ratio=recorded.get("mlp_ratio", 4.0),
        drop_path=recorded.get("drop_path_rate", 0.0),
    )


def load_model(golden: Golden) -> SegGPT:
    """The model of an entry with the weights that it names, in evaluation mode."""
    source = golden.manifest["weights"][golden.entry["weights"]]
    weights = _part(load_file(golden.directory / source["file"]), "w.")
    config = config_of(golden.entry["config"])
    model = SegGPT(config)
    model.load_state_dict(renamed(weights, "original", config.depth))
    return model.eval()


def difference(ours: Tensor | NDArray[Any], theirs: Tensor) -> float:
    """Largest absolute difference; infinite for other shapes."""
    mine = (ours.detach() if isinstance(ours, Tensor) else torch.tensor(ours)).double()
    return float((mine - theirs.double()).abs().max()) if mine.shape == theirs.shape else float("inf")


def absolute(differences: Callable[[Golden], Differences]) -> Runner:
    """Compare against the entry's absolute tolerance (plus the relative one of the largest value, if stated)."""

    def run(golden: Golden) -> Outcome:
        with torch.no_grad():
            return within(differences(golden), float(golden.entry["tolerance"]["abs"]))

    return run


def kinds(seg_type: Tensor | int, count: int) -> Tensor:
    """Recorded types (B, 1) or one number -> our kinds [B]."""
    return seg_type.long().flatten() if isinstance(seg_type, Tensor) else torch.full((count,), seg_type)


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
    by_name = {"semantic": SEMANTIC, "instance": INSTANCE}
    for name in sorted(record.o):
        if name.endswith(".canvas"):
            *big, kind, _ = name.split(".")
            suffix = "_big" if big else ""
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


# g: before and after the model


def prepost(golden: Golden) -> Differences:
    record = Record(golden)
    o, side = record.o, record.config["res"]
    query, photos = record.image("query_png"), [record.image(name) for name in ("prompt_png", "prompt2_png")]
    masks = [record.image(name) for name in ("mask_png", "mask2_png")]
    small = resized_photo(query, side)
    imgs = stacked([unit(resized_photo(each, side)) for each in photos], [unit(small)] * len(photos))
    targets = [unit(resized_mask(each, side)) for each in masks]
    yield "imgs", difference(imgs, o["imgs"])
    yield "tgts", difference(stacked(targets, targets), o["tgts"])
    tokens = o["mask"].shape[1]
    rows = round((2 * tokens) ** 0.5)
    yield "mask", difference(half_mask((rows, rows // 2)), o["mask"])
    yield "query_resized", difference(small, o["query_resized"])
    yield "mask_resized", difference(resized_mask(masks[0], side), o["mask_resized"])
    yield from real_size(query, masks[0], o)
    colors = painted(lower_half(record.i["raw_canvas"][0]))
    yield "output_clip_f64", beyond(difference(colors, o["output_clip_f64"]), 1e-10)
    at_photo = resized_output(colors, query.shape[:2])
    yield "output_resized_f64", beyond(difference(at_photo, o["output_resized_f64"]), 1e-10)
    yield "overlay", difference(overlay(query, at_photo), o["overlay"])
    yield "binary_mask_res", difference(binary(colors), o["binary_mask_res"])
    smooth = resized_output(colors, query.shape[:2], "bilinear").astype(np.uint8)
    yield "painter_semantic_png_pixels", difference(smooth, o["painter_semantic_png_pixels"])
    for count in record.config["palettes"]:
        yield f"palette_{count}", difference(with_background(class_colors(count)), o[f"palette_{count}"])
    for name, count in numbered(o, "painter_abs_class"):
        yield name, difference(nearest_class(smooth.astype(np.float64), class_colors(count)), o[name])
    for name, count in numbered(o, "hf_post.labels"):
        yield name, difference(nearest_class(at_photo, with_background(class_colors(count)), "squared"), o[name])
    yield "hf_pil.pixel_values", beyond(difference(normalised(unit(small))[None], o["hf_pil.pixel_values"]), 1e-6)
    for name, count in numbered(o, "hf_pil.prompt_masks_palette"):
        painting = with_background(class_colors(count))[record.i["label_map"].numpy()]
        ours = normalised(unit(resized_mask(painting, side)))[None]
        yield name, beyond(difference(ours, o[name]), 1e-6)


def numbered(outputs: Tensors, prefix: str) -> Iterator[tuple[str, int]]:
    """Recorded names that end in a number of classes, and that number."""
    for name in outputs:
        if name.startswith(prefix):
            yield name, int(name.removeprefix(prefix))


def real_size(query: NDArray[np.uint8], mask: NDArray[np.uint8], o: Tensors) -> Differences:
    """The same resizes at the published 448."""
    photo, target = resized_photo(query, 448), resized_mask(mask, 448)
    yield "query_448_rows", difference(photo[[0, 223, 447]], o["query_448_rows_0_223_447"])
    yield "mask_448_every16", difference(target[::16, ::16], o["mask_448_every16"])
    for name, pixels in (("query", photo), ("mask", target)):
        digest = np.frombuffer(hashlib.sha256(pixels.tobytes()).digest(), np.uint8)
        yield f"sha256_{name}_448", difference(digest, o[f"sha256_{name}_448"])


def beyond(value: float, allowed: float) -> float:
    """0 within `allowed`, else the difference: for the parts of an exact golden that are held to less."""
    return 0.0 if value <= allowed else value


# h: video


def video(golden: Golden) -> Differences:
    record, model = Record(golden), load_model(golden)
    kind = {"instance": INSTANCE, "semantic": SEMANTIC}[record.config["_seg"]]
    engine, frames = InContext(model), list(record.i["frames"].numpy())
    for tag, (capacity, mask, photo) in record.config["_runs"].items():
        yield from video_run(engine, record, tag, capacity, (mask, photo), frames, kind)


def video_run(
    engine: InContext,
    record: Record,
    tag: str,
    capacity: int,
    prompt: tuple[str, str | None],
    frames: list[NDArray[np.uint8]],
    kind: int,
) -> Differences:
    side, o = engine.model.config.side, record.o
    mask, photo = prompt
    example, queries = (record.image(photo), frames) if photo else (frames[0], frames[1:])
    first = Pair(resized_photo(example, side), resized_mask(record.image(mask), side))
    memory = ObjectMemory([first], capacity, "published")
    counts, newest = [], first
    for number, frame in enumerate(queries):
        small = resized_photo(frame, side)
        counts.append(len(memory.pairs))
        newest = memory.pairs[-1]
        colors = memory.paint(engine, small, kind)
        memory.remember(small, colors)
        yield f"{tag}.output_clip", difference(colors, o[f"{tag}.output_clip"][number])
        yield f"{tag}.binary", exact(binary(colors), o[f"{tag}.binary"][number])
        picture = overlay(frame, resized_output(colors, frame.shape[:2])).astype(int)
        yield f"{tag}.overlay", beyond(difference(picture, o[f"{tag}.overlay"][number]), 1)
    yield f"{tag}.num_samples", exact(np.array(counts), o[f"{tag}.num_samples"])
    stacked_target = normalised(unit(newest.target)).permute(1, 2, 0)
    yield f"{tag}.last_target_normalised", difference(stacked_target, o[f"{tag}.last_target_normalised"])


def exact(ours: NDArray[Any], theirs: Tensor) -> float:
    """0 for equal arrays, infinite otherwise: for what no tolerance covers."""
    return 0.0 if difference(ours, theirs) == 0 else float("inf")


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


_RUNNERS: dict[str, Runner] = {
    "run_embed": absolute(embed),
    "run_block": absolute(block),
    "run_full": absolute(full),
    "run_fe": absolute(feature_ensemble),
    "run_spatial": absolute(spatial),
    "run_loss": gradients(loss),
    "run_prepost": absolute(prepost),
    "run_video": absolute(video),
    "run_maskgen": absolute(mask_generator),
    "run_prompt": gradients(prompt_tuning),
}


def runner_for(golden: Golden) -> Runner | None:
    """The runner of a SegGPT golden, or None."""
    if "seggpt" not in str(golden.directory.resolve()) and "Painter" not in str(golden.manifest.get("note", "")):
        return None
    return _RUNNERS.get(str(golden.entry.get("run")))

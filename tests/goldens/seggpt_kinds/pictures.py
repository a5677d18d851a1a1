"""Pictures: before and after the model, and the video loop."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segcli.models.seggpt.embedding import INSTANCE, SEMANTIC
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.model import half_mask
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
from segcli.models.seggpt.tracker import ObjectMemory, Pair
from tests.goldens.contract import Golden
from tests.goldens.seggpt_kinds.recorded import (
    Differences,
    Record,
    Tensors,
    beyond,
    difference,
    exact,
    load_model,
)

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

"""`seg train ras` and `seg train groups`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli.trainoptions import (
    Debug,
    Device,
    NanoBackbone,
    Out,
    Threads,
    begin,
    lite,
    optional,
    owned,
    paths,
    say,
    there,
)
from segcli.core.errors import UsageError


def ras(
    out: Out,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="DIR", help="For the nano member: folders with images/ and masks/."),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="The nano member's plan, see configs/ras-nano.toml.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", metavar="1|2|finetune", help="A stage of the published training.")
    ] = None,
    task: Annotated[
        str, typer.Option("--task", metavar="ores|gres|res", help="What --stage finetune is for.")
    ] = "ores",
    start: Annotated[
        str | None, typer.Option("--start", metavar="FILE", help="A checkpoint of RAS to go on from.")
    ] = None,
    groups: Annotated[
        str | None, typer.Option("--groups", metavar="FILE", help="Stage 2, finetune: groups of seg train groups.")
    ] = None,
    captions: Annotated[
        str | None, typer.Option("--captions", metavar="FILE", help="Stage 1: LLaVA-Pretrain's list.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option("--masks", metavar="FILE", help="Stage 1: masks of its photos as JSON lines.")
    ] = None,
    images: Annotated[str, typer.Option("--images", metavar="DIR", help="Where the photos of these files are.")] = ".",
    llava: Annotated[
        list[str] | None, typer.Option("--llava", metavar="FILE", help="Stage 1: safetensors of LLaVA-1.5.")
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option("--encoder", metavar="KIND=FILE", help="Stage 1: clip, convnext, siglip or dinov2."),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="FILE", help="Stage 1: LLaVA's tokenizer.json.")
    ] = None,
    size: Annotated[str, typer.Option("--size", metavar="7b|13b", help="Stage 1: which LLaVA.")] = "13b",
    backbone: NanoBackbone = None,
    device: Device = "auto",
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Train RAS: the nano member from photos with masks, or a stage of the published training.

    Example: seg train ras --data photos/ --config configs/ras-nano.toml --out runs/first
    """
    from segcli.registry.device import check_words, resolve

    check_words(device, "auto")
    if (stage is None) == (config is None):
        raise UsageError("give --config for the nano member, or --stage 1, 2 or finetune for the published training")
    if task not in ("ores", "gres", "res"):
        raise UsageError(f"--task {task}: unknown; type ores, gres or res")
    if stage is None:
        if not data:
            raise UsageError(
                "--data is missing; give folders with images/, masks/ and an objects.jsonl that names classes"
            )
        there(data, packs=False)
        where = begin(data, device, threads)
        from segcli.train.ras import read_plan, train_nano

        sizes, recipe, loop, seed = read_plan(Path(config or ""))
        folders, lite0, first, tell = paths(data), lite(backbone), optional(start), say("ras")
        with owned(Path(out)):
            done = train_nano(
                sizes, recipe, loop, folders, Path(out), lite0, start=first, seed=seed, device=where(), say=tell
            )
        print(done)
        return
    begin((), device, threads)
    from segcli.train.ras_run import Files, run_stage

    files = Files(
        images=Path(images),
        start=optional(start),
        groups=optional(groups),
        captions=optional(captions),
        masks=optional(masks),
        llava=tuple(Path(f) for f in llava or ()),
        encoders=tuple(encoder or ()),
        tokenizer=optional(tokenizer),
    )
    with owned(Path(out)):
        print(run_stage(stage, task, size, files, Path(out), resolve(device).device, say("ras")))


def groups(
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="The groups, as JSON lines.")],
    instances: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES", help="COCO or LVIS instances; several of the same photos are merged."),
    ] = None,
    refcoco: Annotated[
        list[str] | None, typer.Option("--refcoco", metavar="DIR", help="A folder of RefCOCO's layout: expressions.")
    ] = None,
    genome: Annotated[
        str | None, typer.Option("--visual-genome", metavar="DIR", help="A folder of Visual Genome's JSON files.")
    ] = None,
    images: Annotated[
        str, typer.Option("--images", metavar="DIR", help="--visual-genome: where its photos are.")
    ] = ".",
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME|FILE", help="--visual-genome: what draws masks in boxes.")
    ] = "sam.vit-b",
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="DIR", help="RefCOCO's layout: leave out its validation and test photos."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Draws which objects are references.")] = 0,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Make groups of masks with sentences, from annotations that others made.

    Example: seg train groups instances_train2017.json lvis_v1_train.json --exclude refcoco --out groups.jsonl
    """
    if not (instances or refcoco or genome):
        raise UsageError("nothing to make groups from; give instances files, --refcoco DIR or --visual-genome DIR")

    from itertools import chain

    from segcli.train.groups import excluded, from_expressions, from_instances, from_visual_genome, write

    sources = []
    if instances:
        sources.append(from_instances([Path(f) for f in instances]))
    sources += [from_expressions(Path(d)) for d in refcoco or ()]
    if genome:
        from segcli.registry.load import open_model

        sources.append(from_visual_genome(Path(genome), Path(images), open_model(model, device=device)))
    count = write(chain.from_iterable(sources), Path(out), seed, excluded([Path(d) for d in exclude or ()]))
    say("groups")(f"{count} groups")
    print(out)

"""`seg train`: train a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli.trainoptions import (
    Backbone,
    Debug,
    Device,
    Masked,
    MaskedOrPacked,
    NanoBackbone,
    Offline,
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

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.callback()
def train() -> None:
    """Train a checkpoint.

    A run that was stopped goes on when the same command is typed again. Under torchrun it uses several GPUs.
    """


@app.command()
def seem(
    data: MaskedOrPacked,
    out: Out,
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="The plan: sizes and legs, see configs/seem-nano.toml.")
    ],
    start: Annotated[
        str | None, typer.Option("--start", metavar="FILE", help="A checkpoint to begin from, not random weights.")
    ] = None,
    backbone: Backbone = None,
    device: Device = "auto",
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Train SEEM's nano member for clicks, boxes, strokes and rough masks.

    Example: seg train seem --data photos/ --config configs/seem-nano.toml --out runs/first
    """
    where = begin(data, device, threads)
    from segcli.train.plan import read_plan
    from segcli.train.run import run_plan

    plan, first = read_plan(Path(config)), optional(start)
    with owned(Path(out)):
        print(
            run_plan(plan, paths(data), Path(out), lite(backbone), start=first, device=where(), say=say("seem")),
        )


@app.command()
def seggpt(
    data: Masked,
    out: Out,
    config: Annotated[
        str,
        typer.Option(
            "--config", metavar="FILE", help="The plan, see configs/seggpt-vit-l.toml and configs/seggpt-nano.toml."
        ),
    ],
    start: Annotated[
        str | None, typer.Option("--start", metavar="NAME|FILE", help="A SegGPT to begin from, not random weights.")
    ] = None,
    bank: Annotated[
        str | None,
        typer.Option("--bank", metavar="DIR", help="nano: where encoded views are kept (default: OUT/bank)."),
    ] = None,
    backbone: NanoBackbone = None,
    device: Device = "auto",
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Train SegGPT: in-context colouring of pairs of photos, as published, or the nano member.

    The plan says which: the nano member's has preset = "nano" in its [model].

    Example: seg train seggpt --data photos/ --config configs/seggpt-vit-l.toml --out runs/first
    """
    from segcli.cli.train_nano import seggpt_nano
    from segcli.core.errors import UsageError

    where = begin(data, device, threads)
    from segcli.train.seggpt import is_nano, read_plan, run_plan

    if is_nano(Path(config)):
        seggpt_nano(config, data, out, start, bank, backbone, where())
        return
    if bank or backbone:
        raise UsageError("--bank and --backbone are for the nano member; take them away, or give its plan")
    plan = read_plan(Path(config))
    with owned(Path(out)):
        print(run_plan(plan, paths(data), Path(out), start=start, device=where(), say=say("seggpt")))


@app.command()
def prompt(
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="DIR", help="A folder with images/ and masks/; objects.jsonl may name classes."),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="The prompt, a .safetensors.")],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME|FILE", help="The checkpoint that it is for.")
    ] = "seggpt-nano",
    kind: Annotated[
        str, typer.Option("--kind", metavar="semantic|instance|panoptic", help="What masks mean.")
    ] = "semantic",
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="A class that is meant. Repeatable.", show_default="all"),
    ] = None,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=0, help="How many of the photos it begins from; 0: noise.")
    ] = 1,
    hold_out: Annotated[
        int, typer.Option("--hold-out", metavar="N", min=0, help="Each N-th photo is kept back to measure; 0: none.")
    ] = 5,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Steps.")] = 300,
    lr: Annotated[float, typer.Option("--lr", metavar="X", help="The highest learning rate.")] = 1e-2,
    photos: Annotated[int, typer.Option("--photos", metavar="N", min=1, help="Photos behind one step.")] = 2,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="For the order of photos.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
    offline: Offline = False,
    debug: Debug = False,
) -> None:
    """Tune a prompt: learn what stands in place of examples, the checkpoint stays as it is.

    Example: seg train prompt --data mugs/ --out mug.safetensors; seg incontext photos/ --prompt mug.safetensors
    """
    from segcli.core.errors import UsageError
    from segcli.registry.device import check_words, resolve
    from segcli.registry.weights import find

    check_words(device, "auto")
    if kind not in ("semantic", "instance", "panoptic"):
        raise UsageError(f"--kind {kind}: unknown; type semantic, instance or panoptic")
    if not out.endswith(".safetensors"):
        raise UsageError(f"--out {out}: a prompt is a file; type for example --out prompt.safetensors")
    if not lr > 0:
        raise UsageError(f"--lr {lr}: is not above 0")
    entry = find(model)
    if "examples" not in entry.accepts:
        raise UsageError(f"-m {model}: does not take examples; choose another (`seg models list`)")
    there(data, packs=False)

    from dataclasses import replace

    from segcli.registry.load import open_model
    from segcli.train.prompt import TuningPlan, tunable, tune
    from segcli.train.prompt_data import read_lessons

    lessons = read_lessons(paths(data), kind, classes or [], hold_out)  # type: ignore[arg-type]
    plan = TuningPlan(photos_a_step=photos, examples=examples)
    plan = replace(plan, loop=replace(plan.loop, steps=steps, lr=lr, seed=seed, warmup=min(10, steps // 10)))
    where = str(resolve(device).device)
    opened = open_model(model, device=where, dtype="fp32", threads=threads, offline=offline)
    with owned(Path(out).with_suffix(".tuning")):
        print(tune(tunable(opened), lessons, plan, Path(out), device=where, say=say("prompt")))


@app.command()
def psalm(
    out: Out,
    stage: Annotated[
        str | None,
        typer.Option("--stage", metavar="1|2", help="As published. 1: the projector, on captions; 2: the rest."),
    ] = None,
    start: Annotated[str | None, typer.Option("--start", metavar="NAME|FILE", help="The PSALM to begin from.")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE|NAME",
            help="The nano member's plan, see configs/psalm-nano.toml. With --stage: random weights of this size.",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="FILE", help="With --config: a tokenizer.json.")
    ] = None,
    parts: Annotated[
        list[str] | None,
        typer.Option(
            "--part", metavar="FILE", help="With --config: safetensors of Mask2Former, Phi or a projector. Repeatable."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="DIR", help="Photos with masks; objects.jsonl names their classes. Repeatable."),
    ] = None,
    refer: Annotated[
        list[str] | None, typer.Option("--refer", metavar="DIR", help="Sentences in RefCOCO's layout. Repeatable.")
    ] = None,
    talks: Annotated[
        list[str] | None,
        typer.Option("--talks", metavar="FILE", help="Captions or conversations in LLaVA's JSON. Repeatable."),
    ] = None,
    photos: Annotated[
        str, typer.Option("--photos", metavar="DIR", help="Where the photos of --refer and --talks are.")
    ] = ".",
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="Steps.", show_default="as published")
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", metavar="X", help="The highest learning rate.", show_default="as published")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="N", min=1, help="Photos at once on each device.", show_default="4"),
    ] = None,
    total: Annotated[
        int | None,
        typer.Option("--total", metavar="N", min=1, help="Photos behind one step.", show_default="as published"),
    ] = None,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute layers twice instead of keeping what they computed.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", min=0, help="For the order of lessons and points.", show_default="0"),
    ] = None,
    backbone: NanoBackbone = None,
    device: Device = "auto",
    threads: Threads = None,
    offline: Offline = False,
    debug: Debug = False,
) -> None:
    """Train PSALM: words, regions, classes and conversations together, in its two published stages or the nano member.

    Example: seg train psalm --data photos/ --config configs/psalm-nano.toml --out runs/nano

    Example: seg train psalm --stage 2 --start psalm.swin-b --data photos/ --talks chat.json --photos coco/ -o runs/one
    """
    from segcli.core.errors import StorageError, UsageError
    from segcli.registry.device import check_words, resolve

    check_words(device, "auto")
    if config is not None and config.endswith(".toml"):
        from segcli.cli.train_nano import psalm_nano

        options = {
            "--stage": stage, "--tokenizer": tokenizer, "--part": parts, "--refer": refer, "--talks": talks,
            "--steps": steps, "--lr": lr, "--batch": batch, "--total": total, "--seed": seed,
            "--checkpointing": checkpointing,
        }  # fmt: skip
        if given := [option for option, typed in options.items() if typed]:
            raise UsageError(f"{given[0]} is for the published stages; the nano member's plan {config} says all of it")
        where = begin(data or (), device, threads)
        psalm_nano(config, data or (), out, start, backbone, where())
        return
    if stage is None:
        raise UsageError("give --config FILE.toml for the nano member, or --stage 1 or 2 for the published training")
    if backbone is not None:
        raise UsageError("--backbone is for the nano member; take it away, or give its plan with --config FILE.toml")
    if stage not in ("1", "2"):
        raise UsageError(f"--stage {stage}: there are two; type --stage 1 or --stage 2")
    if (start is None) == (config is None) or (config is None) != (tokenizer is None):
        raise UsageError("begin from a checkpoint with --start NAME, or anew with --config NAME and --tokenizer FILE")
    if parts and config is None:
        raise UsageError("--part goes with --config; take it away, or --start")
    if lr is not None and not lr > 0:
        raise UsageError(f"--lr {lr}: is not above 0")
    for path in (*(data or ()), *(refer or ()), photos):
        if not Path(path).is_dir():
            raise StorageError(f"{path}: no such folder")
    for file in (*(talks or ()), *(parts or ()), *((tokenizer,) if tokenizer else ())):
        if not Path(file).is_file():
            raise StorageError(f"{file}: no such file")
    import torch

    from segcli.train.psalm import PsalmRecipe
    from segcli.train.psalm_run import PsalmData, fresh, run_stage, start_from

    if threads is not None:
        torch.set_num_threads(threads)
    if start is not None:
        model, words = start_from(start, offline)
    else:
        model, words = fresh(str(config), Path(str(tokenizer)), seed or 0, paths(parts or ()), say("psalm"))
    with owned(Path(out)):
        checkpoint = run_stage(
            model,
            words,
            PsalmData(paths(data or ()), paths(refer or ()), paths(talks or ()), Path(photos)),
            PsalmRecipe(int(stage), checkpointing=checkpointing),
            Path(out),
            steps=steps,
            lr=lr,
            batch=batch or 4,
            total=total,
            seed=seed or 0,
            device=str(resolve(device).device),
            say=say("psalm"),
        )
    print(checkpoint)


def _more() -> None:
    """Commands that have modules of their own."""
    from segcli.cli import train_nano, train_pack, train_ras, train_teach

    app.command()(train_pack.pack)
    app.command()(train_nano.words)
    app.command()(train_nano.vos)
    app.command()(train_ras.ras)
    app.command()(train_ras.groups)
    app.command()(train_teach.teach)


_more()

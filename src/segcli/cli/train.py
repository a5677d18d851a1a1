"""`seg train`: train a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

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
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="DIR", help="A folder with images/ and masks/ (object ids, 255 ignored)."),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Where state, log and checkpoint go.")],
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="The plan: sizes and legs, see configs/seem-nano.toml.")
    ],
    start: Annotated[
        str | None, typer.Option("--start", metavar="FILE", help="A checkpoint to begin from, not random weights.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", metavar="FILE", help="Frozen backbone (default: the bundled one).")
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:N or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")] = False,
) -> None:
    """Train SEEM's nano member for clicks, boxes, strokes and rough masks.

    Example: seg train seem --data photos/ --config configs/seem-nano.toml --out runs/first
    """
    from segcli.core.errors import StorageError
    from segcli.registry.device import check_words, resolve
    from segcli.registry.places import BUNDLED

    check_words(device, "auto")
    missing = [d for d in data if not Path(d).is_dir()]
    if missing:
        raise StorageError(f"{missing[0]}: no such folder; give one that holds images/ and masks/")
    import torch

    from segcli.train.plan import read_plan
    from segcli.train.run import run_plan

    plan = read_plan(Path(config))
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint = run_plan(
        plan,
        [Path(d) for d in data],
        Path(out),
        Path(backbone) if backbone else BUNDLED / "lite0.safetensors",
        start=Path(start) if start else None,
        device=str(resolve(device).device),
        say=lambda line: print(f"seg train seem: {line}", file=sys.stderr, flush=True),
    )
    print(checkpoint)

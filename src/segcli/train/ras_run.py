"""Runs a stage of RAS's published training from files, and writes the checkpoint that it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from segcli.core.errors import UsageError
from segcli.models.ras.config import PRESETS
from segcli.models.ras.predictor import RasPredictor
from segcli.models.ras.text import TENSOR, Words
from segcli.registry.load import open_model
from segcli.registry.writer import save
from segcli.train.loop import averaged
from segcli.train.ras_stages import Task, read_captions, run_captions, run_groups, stage_of
from segcli.train.ras_start import assemble

Say = Callable[[str], None]


@dataclass(frozen=True)
class Files:
    """What was typed; which are needed depends on the stage. encoders: KIND=FILE each."""

    images: Path
    start: Path | None = None
    groups: Path | None = None
    captions: Path | None = None
    masks: Path | None = None
    llava: tuple[Path, ...] = ()
    encoders: tuple[str, ...] = ()
    tokenizer: Path | None = None


def run_stage(name: str, task: str, size: str, files: Files, out: Path, device: torch.device, say: Say) -> Path:
    """Train and return the checkpoint, `out/ras.safetensors`. Raises UsageError for a file that the stage lacks."""
    stage = stage_of(name, cast(Task, task))
    out.mkdir(parents=True, exist_ok=True)
    if name == "1":
        if size not in PRESETS:
            raise UsageError(f"--size {size}: unknown; type {', '.join(PRESETS)}")
        for option, given in (
            ("--llava", files.llava), ("--tokenizer", files.tokenizer), ("--captions", files.captions),
            ("--masks", files.masks),
        ):  # fmt: skip
            if not given:
                raise UsageError(f"--stage 1 needs {option}; give it")
        assert files.tokenizer is not None
        assert files.captions is not None
        assert files.masks is not None
        encoders = dict(_kind_and_file(text) for text in files.encoders)
        model, head = assemble(PRESETS[size], files.llava, encoders)
        words = Words(files.tokenizer.read_text(encoding="utf-8"), str(files.tokenizer))
        predictor = RasPredictor(model.to(device), words, "ras", "training", device, say)
        run_captions(predictor, stage, head, read_captions(files.captions, files.masks), files.images, out, say)
    else:
        if files.start is None or files.groups is None:
            raise UsageError(f"--stage {name} needs --start and --groups; the stage before leaves ras.safetensors")
        opened = open_model(str(files.start), device=str(device), say=say)
        if not isinstance(opened, RasPredictor):
            raise UsageError(f"--start {files.start}: is no RAS")
        predictor = opened
        run_groups(predictor, stage, files.groups, files.images, out, say)
    predictor.model.load_state_dict(
        averaged(predictor.model, out / "state.pt"), strict=False
    )  # frozen ones are not in it
    return export(predictor, out / "ras.safetensors")


def export(predictor: RasPredictor, path: Path) -> Path:
    """Write everything, encoders and tokenizer too, so that the file stands alone."""
    metadata = {
        "seg.system": "ras",
        "seg.config": json.dumps(predictor.model.config.to_json(), sort_keys=True),
        "seg.accepts": "reference,text",
        "seg.keys": "seg",
    }
    save(path, {**predictor.model.state_dict(), TENSOR: predictor.words.to_tensor()}, metadata)
    return path


def _kind_and_file(text: str) -> tuple[str, list[Path]]:
    kind, equals, name = text.partition("=")
    if not equals or kind not in ("clip", "convnext", "siglip", "dinov2"):
        raise UsageError(f"--encoder {text}: type clip=, convnext=, siglip= or dinov2= and the file")
    return kind, [Path(name)]

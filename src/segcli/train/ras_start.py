"""A RAS to begin training from: LLaVA-1.5 and the frozen encoders from their published files, the rest at random."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from segcli.core.errors import CheckpointError
from segcli.models.layers.loading import KeyTable, load_strict
from segcli.models.ras.config import RasConfig
from segcli.models.ras.keys import ENCODER_TABLES, llava
from segcli.models.ras.model import Ras
from segcli.models.ras.predictor import empty
from segcli.registry.tensors import TensorFiles

LM_HEAD = "lm_head.weight"


class Part(Mapping[str, Tensor]):
    """The tensors of some files that a key table sends below `prefix`, under the names that they have there."""

    def __init__(self, files: TensorFiles, table: KeyTable, prefix: str) -> None:
        self._files = files
        places = ((key, table(key)) for key in files)
        self._keys = {p.removeprefix(prefix): key for key, p in places if p is not None and p.startswith(prefix)}

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header."""
        return self._files.shape(self._keys[key])

    def __getitem__(self, key: str) -> Tensor:
        return self._files[self._keys[key]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def assemble(
    config: RasConfig,
    language: Sequence[Path],
    encoders: Mapping[str, Sequence[Path]],
    dtype: torch.dtype | None = None,
) -> tuple[Ras, Tensor]:
    """The model and LLaVA's output head [vocabulary, hidden], which only stage 1 needs.

    language: safetensors of llava-hf's LLaVA-1.5. encoders: files by kind; CLIP's may be left out, LLaVA has it.
    Mask projector and classifier are random; the new tokens are the mean of the embedding table.
    Raises CheckpointError for files that lack something.
    """
    model = empty(config)
    with TensorFiles(language, "cpu", dtype) as files:
        load_strict(model.language_model, Part(files, llava, "language_model."), name="LLaVA")
        if model.image_projector is not None:
            load_strict(model.image_projector, Part(files, llava, "image_projector."), name="LLaVA")
        heads = [key for key in files if key.endswith(LM_HEAD)]
        if len(heads) != 1:
            raise CheckpointError(f"LLaVA: its files hold {len(heads)} tensors called {LM_HEAD}, one is needed")
        head = files[heads[0]].clone()
        for number, sizes in enumerate(config.encoders):
            target = model.encoders[number].get_submodule("model")
            if sizes.kind in encoders:
                with TensorFiles(encoders[sizes.kind], "cpu", dtype) as own:
                    load_strict(target, _named(own, ENCODER_TABLES[sizes.kind]), name=sizes.kind)
            elif sizes.kind == "clip":
                load_strict(target, Part(files, llava, "encoders.0.model."), name="LLaVA's CLIP")
            else:
                raise CheckpointError(f"{sizes.kind}: no file of this encoder; give --encoder {sizes.kind}=FILE")
    _new_parts(model)
    return model, head


def _named(files: TensorFiles, table: KeyTable) -> Part:
    return Part(files, table, "")


def _new_parts(model: Ras) -> None:
    """Random projector and classifier, and new tokens in the middle of the known ones."""
    table = next(model.language_model.parameters())
    for part in (model.mask_projector, model.classifier, model.pointer):
        if part is None:
            continue
        part.to_empty(device="cpu")
        for layer in part.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        part.to(table.dtype)
    middle = model.language_model.get_submodule("embed_tokens").get_parameter("weight").float().mean(0).to(table.dtype)
    for name in ("mask_pool_pre", "mask_ref_pre", "stop"):
        if getattr(model, name) is not None:
            setattr(model, name, nn.Parameter(middle.clone()))

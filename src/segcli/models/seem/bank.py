"""Class banks: names in all templates, encoded once and kept on disk under a hash of everything that they depend on."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from segcli.models.seem.text import LanguageEncoder

_DROPPED = ("-other", "-merged", "-stuff")


def spoken_name(name: str) -> str:
    """A class name as it is put into a template: COCO's suffixes "-other", "-merged" and "-stuff" left out."""
    for suffix in _DROPPED:
        name = name.replace(suffix, "")
    return name


def in_templates(names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Every name in every template (each with one `{}`), names first."""
    return [[template.format(spoken_name(name)) for template in templates] for name in names]


def class_bank(encoder: LanguageEncoder, ids: Tensor, revision: str, cache: Path | None) -> Tensor:
    """Class bank [K, C] of ids [K, templates, T], read from `cache` if this encoder has already made it.

    revision: content hash of the encoder's weights. cache: a directory, made when needed; None keeps nothing.
    A file that can't be read (cut off, of another version) is made anew; a directory that can't be written to raises
    OSError.
    """
    if cache is None:
        return encoder.bank(ids)
    path = cache / f"{_fingerprint(ids, revision, encoder.logit_scale.dtype)}.safetensors"
    kept = _read(path)
    if kept is not None and kept.shape[0] == ids.shape[0]:
        return kept.to(ids.device)
    bank = encoder.bank(ids)
    _write(path, bank)
    return bank


def _fingerprint(ids: Tensor, revision: str, dtype: torch.dtype) -> str:
    digest = hashlib.sha256(f"seem-bank 1 {revision} {dtype} {tuple(ids.shape)} ".encode())
    digest.update(ids.cpu().long().numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path).get("bank")
    except (OSError, SafetensorError):
        return None


def _write(path: Path, bank: Tensor) -> None:
    """Write under a temporary name and rename, so that no reader ever sees half a file."""
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".bank-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(save({"bank": bank.detach().cpu().contiguous()}))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

"""Tensors out of a pickle without running anything that it says.

Only torch's restricted reader is used (`weights_only=True`): tensors, containers, numbers and words; any other name in
the pickle ends the reading before it is called.
"""

from __future__ import annotations

import argparse
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segcli.core.errors import CheckpointError

_INSIDE = ("model", "state_dict", "module", "model_state_dict")
"""Where training scripts keep the weights beside optimisers and options, in the order of trial."""


def read_pickle(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a .pt, .pth or .bin file by key, and the names of what stood beside them and is left out.

    Tensors of the newer (zip) kind are maps of the file. Raises CheckpointError.
    """
    try:
        mapped = zipfile.is_zipfile(path)
        # Training options are often kept as a Namespace: a plain table, which can run nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters ends in an error
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error
    except MemoryError:
        raise
    except Exception as error:  # a broken pickle can fail anywhere in the reader, with any type
        raise CheckpointError(f"{path}: {_why(error)}; get it again from its publisher") from error
    return _state(path, loaded)


def _state(path: Path, loaded: Any) -> tuple[dict[str, Tensor], list[str]]:
    beside: list[str] = []
    if isinstance(loaded, Mapping) and not _all_tensors(loaded):
        for key in _INSIDE:
            if isinstance(loaded.get(key), Mapping):
                beside = [str(other) for other in loaded if other != key]
                loaded = loaded[key]
                break
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{path}: holds no table of tensors; give a file that does")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {str(key)[:80]!r} in it is not a tensor; give a file of weights only")
    return dict(loaded), beside


def _all_tensors(table: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, Tensor) for value in table.values())


def _why(error: Exception) -> str:
    words = " ".join(str(error).split())
    if "Unsupported global" in words or "weights_only" in words.lower() or "WeightsUnpickler" in words:
        return "its pickle wants to run code or is broken, and was not read"
    return f"not a checkpoint that torch can read ({type(error).__name__})"

"""Pickles of plain data (lists, dicts, numbers, text), read without ever running what they name."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from segcli.core.errors import StorageError
from segcli.datasets.files import require_file

LARGEST = 256 * 2**20


class _Plain(pickle.Unpickler):
    """Builds built-in values only; whatever else a pickle asks for is refused before anything is imported."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}, and code is never taken from a data file")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it refers to objects outside of the file")


def read_plain_pickle(path: Path) -> Any:
    """The content of a pickle of built-in values; text of Python 2 is read as latin-1.

    Raises StorageError for a missing, too large or broken file, and for one that needs anything but plain data.
    """
    require_file(path, "a pickle of plain lists and dicts is expected there")
    size = path.stat().st_size
    if size > LARGEST:
        raise StorageError(f"{path}: {size >> 20} MB; no list of this kind is larger than {LARGEST >> 20} MB")
    try:
        return _Plain(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise StorageError(f"{path}: refused: {error}") from None
    except (EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, MemoryError, OverflowError) as error:
        raise StorageError(f"{path}: not a readable pickle ({type(error).__name__}: {error})") from None
    except (ImportError, RecursionError) as error:
        raise StorageError(f"{path}: refused ({type(error).__name__})") from None

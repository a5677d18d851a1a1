"""`npz`: numpy arrays a photo: bit-packed masks, ids, scores, labels.

z = np.load("a.npz")
masks = np.unpackbits(z["masks"], axis=2, count=z["size"][1]).view(bool)  # [N, H, W]
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from segcli.core.errors import ItemError
from segcli.core.rle import Rle, decode_tight, encode
from segcli.io.formats.base import PerPhoto
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.images import pixel_limit, read_bytes

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every member of a ZIP file, so that the same masks are the same bytes."""


def member(name: str, *, stored: bool = False) -> zipfile.ZipInfo:
    """A ZIP member without a date of its own."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


class Npz(PerPhoto):
    """Exact and small, for Python."""

    name = "npz"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One file; N = 0 when there is no target. Masks pass one at a time."""
        prediction = answered.prediction
        height, width = prediction.size
        labels = np.array([name or "" for name in prediction.names], dtype=np.str_)
        sure = [np.nan if score is None else score for score in prediction.label_scores]
        others: dict[str, NDArray[Any]] = {
            "size": np.array(prediction.size, dtype=np.int64),
            "ids": np.array(prediction.ids, dtype=np.int64),
            "scores": np.array(prediction.scores, dtype=np.float64),
            "labels": labels if len(labels) else np.empty(0, dtype="<U1"),
            "labelled": np.array([name is not None for name in prediction.names], dtype=np.bool_),
            "label_scores": np.array(sure, dtype=np.float64),
        }
        file = BytesIO()
        with zipfile.ZipFile(file, "w", compresslevel=1) as archive:
            info = member("masks.npy")
            info._compresslevel = 1  # type: ignore[attr-defined]  # a ZipInfo has no public name for it before 3.13
            info.file_size = len(prediction) * height * ((width + 7) // 8) + 1024  # decides about ZIP64 beforehand
            with archive.open(info, "w") as out:
                shape = (len(prediction), height, (width + 7) // 8)
                npy.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
                for index in range(len(prediction)):
                    out.write(_packed(prediction.masks[index]).tobytes())
            for name, array in others.items():
                with archive.open(member(f"{name}.npy"), "w") as out:
                    npy.write_array(out, array, allow_pickle=False)
        return [Rendered(file.getvalue(), ".npz", self.name)]

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """The masks, one at a time."""
        relative = PurePosixPath(path.stem)
        try:
            with zipfile.ZipFile(BytesIO(read_bytes(path, str(path)))) as archive:
                height, width = (int(v) for v in _array(archive, "size"))
                if min(height, width) < 1 or height * width > pixel_limit():
                    raise ValueError(f"masks of {width} x {height} pixels")
                ids, scores = _array(archive, "ids"), _array(archive, "scores")
                labels, labelled = _array(archive, "labels"), _array(archive, "labelled")
                with archive.open("masks.npy") as file:
                    if npy.read_magic(file) != (1, 0):
                        raise ValueError("masks.npy is not of version 1.0")
                    shape, fortran, dtype = npy.read_array_header_1_0(file)
                    if fortran or dtype != np.uint8 or shape != (len(ids), height, (width + 7) // 8):
                        raise ValueError("masks.npy is not uint8 [N, H, W / 8]")
                    for n in range(len(ids)):
                        packed = np.frombuffer(file.read(shape[1] * shape[2]), dtype=np.uint8).reshape(shape[1:])
                        mask = np.unpackbits(packed, axis=1, count=width)
                        label = str(labels[n]) if labelled[n] else None
                        yield Annotation(relative, (height, width), encode(mask), int(ids[n]), label, float(scores[n]))
                if not len(ids):
                    yield Annotation(relative, (height, width), None)
        except (
            KeyError,
            ValueError,
            TypeError,
            IndexError,
            OSError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise ItemError(f"{path}: not an NPZ file of seg: {' '.join(str(error).split())}") from None
        except (NotImplementedError, RuntimeError) as error:
            raise ItemError(f"{path}: a ZIP file that can't be read: {error}") from None


def _packed(rle: Rle) -> NDArray[np.uint8]:
    """uint8 [H, ceil(W / 8)]: the mask, eight pixels of a row a byte."""
    packed = np.zeros((rle.size[0], (rle.size[1] + 7) // 8), dtype=np.uint8)
    x, y, mask = decode_tight(rle)
    part = np.packbits(np.pad(mask, ((0, 0), (x % 8, 0))), axis=1)
    packed[y : y + part.shape[0], x // 8 : x // 8 + part.shape[1]] = part
    return packed


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array


FORMAT = Npz()

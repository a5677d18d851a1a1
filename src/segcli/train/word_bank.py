"""Encoded looks on disk: what the word head reads, in half precision, with the codes of every look.

One file a kind of map, so that a batch reads only its own rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.errors import StorageError, UsageError
from segcli.io import atomic
from segcli.models.seem.nano import SeemNano
from segcli.train.word_views import Look, WordPhoto, looks

_BATCH = 8


@dataclass(frozen=True)
class BankConfig:
    """Which looks: `wholes` a photo, `zooms` at each of at most `most` objects, of `side` pixels (a multiple of 32)."""

    wholes: int = 2
    zooms: int = 1
    most: int = 6
    side: int = 320


@dataclass(frozen=True)
class WordBatch:
    """B looks. res4, res5, features: the maps of `WordHead.forward`; codes uint8 [B, S/4, S/4] as in `Look`;
    region [B, S/4, S/4] in 0..1 and its word [B] (-1: no region); open bool [B, V + 1] as in `WordPhoto`."""

    res4: Tensor
    res5: Tensor
    features: Tensor
    codes: Tensor
    region: Tensor
    word: Tensor
    open: Tensor


class Bank:
    """Rows of encoded looks in a folder. Raises FileNotFoundError for a folder without them."""

    def __init__(self, folder: Path) -> None:
        self.maps = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("res4", "res5", "feat")}
        with np.load(folder / "rest.npz") as rest:
            self.codes, self.regions = rest["codes"], rest["regs"]
            self.words, self.photo, self.opens = rest["words"], rest["src"], rest["opens"]

    def __len__(self) -> int:
        return len(self.words)

    def batch(self, rows: Sequence[int]) -> WordBatch:
        """The looks of these rows."""
        index = np.asarray(rows)
        res4, res5, features = (torch.from_numpy(self.maps[k][index]).float() for k in ("res4", "res5", "feat"))
        regions = np.unpackbits(self.regions[index], axis=-1)
        return WordBatch(
            res4,
            res5,
            features,
            torch.from_numpy(self.codes[index]),
            torch.from_numpy(regions).float(),
            torch.from_numpy(self.words[index].astype(np.int64)),
            torch.from_numpy(self.opens[self.photo[index]]),
        )


def write(
    photos: Sequence[WordPhoto], model: SeemNano, config: BankConfig, folder: Path, seed: int, words: int
) -> Bank:
    """Encode looks at photos into `folder` and open them. `words` is the size of the vocabulary.

    Raises UsageError when there is nothing to look at, StorageError when there is no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = looks(photos, config.wholes, config.zooms, config.most, config.side, seed)
    count = sum(config.wholes + config.zooms * min(config.most, len(p.words)) for p in photos)  # at most
    files: dict[str, NDArray[np.float16]] = {}
    codes: list[NDArray[np.uint8]] = []
    regions: list[NDArray[np.uint8]] = []
    named: list[int] = []
    photo: list[int] = []
    waiting: list[Look] = []

    def flush() -> None:
        pixels = torch.from_numpy(np.stack([look.pixels for look in waiting])).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):  # half precision is all that is kept
            maps = model.encode_shared(pixels)
            features = F.avg_pool2d(model.pixel_decoder(model.encode_backbone(pixels))[0], 2)
        for name, rows in (("res4", maps["res4"]), ("res5", maps["res5"]), ("feat", features)):
            if name not in files:
                shape = (count, *rows.shape[1:])
                files[name] = _reserved(folder / f"{name}.npy", shape)
            files[name][len(named) : len(named) + len(waiting)] = rows.float().cpu().numpy()
        for look in waiting:
            codes.append(look.codes)
            regions.append(np.packbits(look.region, axis=-1))
            named.append(look.word)
            photo.append(look.photo)
        waiting.clear()

    model.eval()
    device = next(model.parameters()).device
    for look in found:
        waiting.append(look)
        if len(waiting) == _BATCH:
            flush()
    if waiting:
        flush()
    if not named:
        raise UsageError("[bank]: no look at any photo; say wholes = 1 or more, or zooms and photos with named objects")
    nothing = np.zeros(words + 1, np.bool_)
    for file in files.values():
        file.flush()  # type: ignore[attr-defined]  # a memmap
    rest = BytesIO()
    np.savez_compressed(
        rest,
        codes=np.stack(codes),
        regs=np.stack(regions),
        words=np.array(named, np.int16),
        src=np.array(photo, np.int32),
        opens=np.stack([nothing if p.open is None else p.open for p in photos]),
    )
    atomic.write(folder / "rest.npz", rest.getvalue())  # the last file, whole or not there: a bank that has it is whole
    return Bank(folder)


def _reserved(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """A mapped .npy file that has its room on the disk: writing to a map without room kills the process.

    Raises StorageError when there is no room.
    """
    mapped: NDArray[np.float16] = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = path.stat().st_size
        path.unlink()
        raise StorageError(
            f"{path}: can't be written: {atomic.describe(error)} (it takes {size / 2**20:.0f} MiB); make room, or give "
            "another --bank"
        ) from None
    return mapped

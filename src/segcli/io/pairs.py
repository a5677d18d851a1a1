"""Examples on disk: a photo and a mask of it, as pairs that are typed, that lie in a folder, or that a list names.

What a mask file means:

- an indexed PNG's indices are ids; 255, the usual mark for "ignored", is background beside others;
- a grey file of which at least half of what is marked is white, or which has slopes only, is one target with id 1, soft
  edges cut at the middle; other grey values are ids, as indices are;
- in a file of several colours each one that covers at least 1 % of what is marked is a target, ids by rising red, green
  and blue; other pixels belong to the nearest of these colours or to the black background.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, UsageError
from segcli.core.example import Example
from segcli.core.prediction import Prediction
from segcli.io import stream
from segcli.io.formats.palette import paint_ids
from segcli.io.images import SUFFIXES, read_bytes, read_image, read_samples, read_size
from segcli.io.inputs import STDIN, natural_key

_SUBSTANTIAL = 0.01
_MOST_IDS = 255
_WHITE = 0xFFFFFF

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """A photo and the file of its mask, or the masks themselves (`answer`, from a stream of answers).

    values: of the file's stored values, those that are meant, together as one target; empty for all.
    """

    photo: Path
    mask: Path | None = None
    values: tuple[int, ...] = ()
    answer: Prediction | None = None

    @property
    def name(self) -> str:
        """What messages call it, as it is typed."""
        return str(self.photo) if self.mask is None else f"{self.photo}:{self.mask}"


@dataclass(frozen=True, eq=False)
class Marked:
    """What one pair marks: ids [H, W], or colours as 0xRRGGBB [H, W] where the file has several."""

    codes: Codes
    colored: bool = False


class Examples:
    """Pairs that were all looked at once: every mask fits its photo and marks something. Photos are read when asked.

    digest: of everything that answers depend on. labels: id -> the word that a stream gave it, or its colour.
    """

    def __init__(self, pairs: Sequence[Pair], *, one_target: bool = False) -> None:
        """Look at the pairs; `one_target` takes all that is marked as id 1.

        Raises UsageError that names the pair: unreadable, a mask of another size, an all-black mask, ids in one mask
        and colours in another, or too many of either.
        """
        self.pairs, self._one_target = tuple(pairs), one_target
        whole = hashlib.sha256(b"one" if one_target else b"ids")
        ids: set[int] = set()
        colors: set[int] = set()
        plain: Pair | None = None  # the first one with ids other than a single white target
        self.labels: dict[int, str] = {}
        for pair in self.pairs:
            marked = _marked(pair)
            (colors if marked.colored else ids).update(found := _values(marked))
            if not marked.colored and found != {1}:
                plain = plain or pair
            whole.update(_digest(pair))
            if pair.answer is not None and not one_target:
                named = zip(pair.answer.ids, pair.answer.labels, strict=True)
                self.labels |= {number: label for number, label in named if label is not None}
        self._ids: dict[int, int] | None = None  # colour -> id
        if colors and not one_target:
            if plain is not None:
                raise UsageError(f"{plain.name}: its mask holds ids, other examples colours; give masks of one sort")
            colors |= {_WHITE} if ids else set()
            self._ids = {color: number for number, color in enumerate(sorted(colors), 1)}
            self.labels = {number: f"#{color:06x}" for color, number in self._ids.items()} if len(colors) > 1 else {}
        if (count := max(len(ids), len(colors))) > _MOST_IDS and not one_target:
            raise UsageError(f"{self.pairs[0].name}: {count} targets are marked; {_MOST_IDS} are the most")
        self.digest = whole.hexdigest()

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Example:
        """One example. Raises UsageError when its files can't be read any more."""
        pair = self.pairs[index]
        marked = _marked(pair)
        codes = marked.codes
        if self._one_target:
            codes = (codes > 0).astype(np.int64)
        elif self._ids is not None:
            table = self._ids if marked.colored else {1: self._ids[_WHITE]}
            known = np.array(sorted(table))
            numbers = np.array([0, *(table[code] for code in known.tolist())])
            codes = numbers[np.where(codes > 0, np.searchsorted(known, codes) + 1, 0)]
        try:
            photo = read_image(pair.photo, str(pair.photo))
        except ItemError as error:
            raise UsageError(f"{pair.name}: {error}") from None
        return Example(photo, codes.astype(np.uint16))


def split_pair(text: str) -> list[Pair]:
    """IMAGE:MASK, or a directory of pairs. Raises UsageError."""
    if Path(text).is_dir():
        return pairs_in(Path(text))
    cuts = [n for n, sign in enumerate(text) if sign == ":"]
    for cut in cuts:
        photo, mask = Path(text[:cut]), Path(text[cut + 1 :])
        if photo.is_file() and mask.is_file():
            return [Pair(photo, mask)]
    if not cuts:
        raise UsageError(f"--example {text}: is neither IMAGE:MASK nor a directory of pairs")
    missing = next((part for part in text.rsplit(":", 1) if not Path(part).is_file()), text)
    raise UsageError(f"--example {text}: no such file: {missing}; type --example photo.jpg:mask.png")


def pairs_in(directory: Path) -> list[Pair]:
    """The pairs of a directory by stem, in natural order; at least one.

    Either `images/` and `masks/` in it, or side by side NAME.jpg with NAME.png, or NAME.* with NAME_mask.*. Raises
    UsageError for no pair, and for a photo without a mask.
    """
    images, masks = directory / "images", directory / "masks"
    if images.is_dir() and masks.is_dir():
        by_stem = {path.stem: path for path in _pictures(masks)}
        photos = _pictures(images)
    else:
        here = _pictures(directory)
        beside = {path.stem.removesuffix("_mask"): path for path in here if path.stem.endswith("_mask")}
        names = [path.stem for path in here]
        twice = {path.stem: path for path in here if path.suffix.lower() == ".png" and names.count(path.stem) == 2}
        by_stem = beside or twice
        photos = [path for path in here if path not in set(by_stem.values())]
    if not photos:
        raise UsageError(f"{directory}: no pairs of photo and mask in it; give images/ and masks/, or a.jpg and a.png")
    for photo in photos:
        if photo.stem not in by_stem:
            raise UsageError(f"{photo}: no mask of the same name beside it; add one, or take the photo away")
    return [Pair(photo, by_stem[photo.stem]) for photo in photos]


def pairs_listed(source: str) -> list[Pair]:
    """The pairs of a list of JSON lines, "-" being stdin: {"image", "mask"} or answers of seg (seg-stream(5)).

    `"id": [3, 7]` takes only these values of the mask, as one target. Names are relative to the list's folder, or to
    where seg runs. Raises UsageError that names the list and the line.
    """
    try:
        data = sys.stdin.buffer.read() if source == STDIN else read_bytes(Path(source), source)
    except ItemError as error:
        raise UsageError(f"--examples {error}") from None
    pairs = []
    for number, text in enumerate(data.splitlines(), 1):
        if text.strip():
            where = f"{source}:{number}"
            try:
                pairs.append(_listed(text, where, Path(source).parent))
            except ItemError as error:
                raise UsageError(str(error)) from None
    if not pairs:
        raise UsageError(f'--examples {source}: is empty; a line is for example {{"image": "a.jpg", "mask": "a.png"}}')
    return pairs


def _listed(text: bytes, where: str, folder: Path) -> Pair:
    line = stream.loads(text, where)
    if line.get("seg") == stream.SCHEMA:
        answer = stream.parse(text, where)
        if answer.prediction is None:
            raise ItemError(f"{where}: {answer.error}")
        return Pair(_found(answer.image, folder), answer=answer.prediction)
    image, mask, values = line.get("image"), line.get("mask"), line.get("id", [])
    values = [values] if isinstance(values, int) else values
    if not isinstance(image, str) or not isinstance(mask, str):
        raise ItemError(f'{where}: a line is for example {{"image": "a.jpg", "mask": "a.png"}}')
    if not isinstance(values, list) or not all(isinstance(value, int) and value > 0 for value in values):
        raise ItemError(f'{where}: "id" is a positive number of the mask, or a list of such')
    return Pair(_found(image, folder), _found(mask, folder), tuple(values))


def _found(name: str, folder: Path) -> Path:
    return folder / name if (folder / name).exists() else Path(name)


def _pictures(directory: Path) -> list[Path]:
    try:
        found = [path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    except OSError as error:
        raise UsageError(f"{directory}: can't be read: {(error.strerror or str(error)).lower()}") from None
    return sorted(found, key=lambda path: natural_key(path.name))


def _digest(pair: Pair) -> bytes:
    whole = hashlib.sha256(read_bytes(pair.photo, str(pair.photo)))
    whole.update(repr(pair.values).encode())
    if pair.mask is not None:
        whole.update(read_bytes(pair.mask, str(pair.mask)))
    if pair.answer is not None:
        whole.update(json.dumps([rle.coco() for rle in pair.answer.masks]).encode())
        whole.update(repr((pair.answer.ids, pair.answer.labels)).encode())
    return whole.digest()


def _marked(pair: Pair) -> Marked:
    """Read what a pair marks. Raises UsageError that names the pair."""
    try:
        size = read_size(pair.photo, str(pair.photo))
        marked = _read(pair)
    except ItemError as error:
        raise UsageError(f"{pair.name}: {error}") from None
    if marked.codes.shape != size:
        height, width = marked.codes.shape
        raise UsageError(
            f"{pair.name}: its mask is {width}x{height}, the photo {size[1]}x{size[0]}; give a mask of the photo's size"
        )
    if not marked.codes.any():
        raise UsageError(f"{pair.name}: its mask is all black; mark what is meant, or leave the pair out")
    return marked


def _read(pair: Pair) -> Marked:
    if pair.answer is not None:
        return Marked(paint_ids(pair.answer, np.uint32).astype(np.int64))
    assert pair.mask is not None
    samples, indexed = read_samples(pair.mask, str(pair.mask))
    if samples.ndim == 3 and samples.shape[2] in (2, 4) and samples[..., -1].min() < 128:
        return Marked((samples[..., -1] >= 128).astype(np.int64))
    if samples.ndim == 3:
        colors = samples[..., :3] if samples.shape[2] > 2 else samples[..., :1]
        if (colors == colors[..., :1]).all():
            samples = colors[..., 0]
        elif pair.values:
            raise ItemError(f"{pair.mask}: holds colours, not ids: give an indexed or grey PNG")
        else:
            return _colored(colors)
    if pair.values:
        return Marked(np.isin(samples, pair.values).astype(np.int64))
    return Marked(_ids(samples) if indexed else _grey(samples))


def _ids(samples: NDArray[Any]) -> Codes:
    """Indices as ids; 255 is ignored beside others, and the object where it stands alone."""
    codes = samples.astype(np.int64)
    ignored = codes == 255
    if set(np.unique(codes).tolist()) <= {0, 255}:
        return np.asarray(ignored, np.int64)
    codes[ignored] = 0
    return codes


def _grey(samples: NDArray[Any]) -> Codes:
    """Grey values: white on black with soft edges, or ids."""
    white = (1 << (samples.dtype.itemsize * 8)) - 1
    values, counts = np.unique(samples[samples > 0], return_counts=True)
    shares = counts / max(1, counts.sum())
    if shares[values >= 0.98 * white].sum() >= 0.5 or not (shares >= _SUBSTANTIAL).any():
        inside = samples > white // 2
        return (inside if inside.any() else samples > 0).astype(np.int64)
    return _ids(samples)


def _colored(colors: NDArray[Any]) -> Marked:
    """Pixels [H, W, 3] by the nearest of the colours that cover enough, or black: 0xRRGGBB."""
    codes: Codes = colors.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    values, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    marked = counts[values > 0].sum()
    kept = values[(values > 0) & (counts >= _SUBSTANTIAL * marked)]
    if not len(kept):
        raise ItemError("its mask has no colour that covers 1 % of what is marked; is it a photo?")
    palette = np.array([0, *kept])
    best = np.empty(len(values), np.int64)
    for start in range(0, len(values), 4096):  # a photo by mistake has a million colours
        part = values[start : start + 4096]
        away = np.abs(_channels(part)[:, None] - _channels(palette)[None]).sum(-1)
        best[start : start + 4096] = palette[away.argmin(1)]
    return Marked(best[inverse.reshape(codes.shape)], colored=True)


def _channels(codes: Codes) -> Codes:
    return np.asarray(np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1))


def _values(marked: Marked) -> set[int]:
    return set(np.unique(marked.codes).tolist()) - {0}

"""Prompts of one video, checked before its first frame is followed: which frame says what, which objects there are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from segcli.core.errors import UsageError
from segcli.io.inputs import natural_key
from segcli.io.video.frames import Source
from segcli.io.video.idmasks import GivenMasks, read_given
from segcli.io.video.pictures import PictureFolder
from segcli.pipeline.plan import fingerprint
from segcli.pipeline.track.plan import Following, Said, VideoItem


@dataclass(frozen=True)
class Script:
    """What happens at which frame.

    said:    by frame number; mask files of a folder are among them.
    appears: object -> the frame of its first mask.
    digest:  hash of all of it, contents of mask files included.
    """

    said: Mapping[int, Said]
    appears: Mapping[int, int]
    digest: str

    @property
    def objects(self) -> tuple[int, ...]:
        """All objects that will ever be, in order."""
        return tuple(sorted(self.appears))

    @property
    def backward(self) -> dict[int, Said]:
        """The first mask of every object and nothing else: what is said when the video is gone through backwards."""
        firsts: dict[int, Said] = {}
        for frame in set(self.appears.values()):
            said = self.said[frame]
            mine = {number for number, first in self.appears.items() if first == frame}
            asks = {number: ask for number, ask in said.asks.items() if number in mine}
            firsts[frame] = Said(asks, said.masks)
        return firsts


def read_script(
    item: VideoItem, source: Source, size: tuple[int, int], following: Following, notice: Callable[[str], None]
) -> Script:
    """Understand the prompts of a video. Every mask file is read, so that a wrong one is refused before any work.

    Soft edges in masks are told to `notice`. Raises UsageError: a mask of another size, that can't be read, that
    marks nothing or fits no frame; nothing to follow; prompts outside of the frames that are asked for.
    """
    said = dict(item.prompts.said)
    if item.prompts.folder is not None:
        for frame, file in _folder(item.prompts.folder, source, following).items():
            said[frame] = replace(said.get(frame, Said()), masks=file)
    last = max(said, default=following.start)
    count = source.count() if last > following.start else None
    if count is not None and last >= count:
        raise UsageError(f"{item.name}: a prompt is for frame {last}, the video has frames 0 to {count - 1}")
    appears: dict[int, int] = {}
    contents: dict[int, str] = {}
    for frame in sorted(said):
        _check_range(item.name, frame, following)
        numbers = set(said[frame].asks)
        path = said[frame].masks
        if path is not None:
            given = read_given(path, size, f"{item.name}: frame {frame}")
            _tell_edges(path, given, notice)
            numbers |= set(given.masks)
            contents[frame] = hashlib.sha256(path.read_bytes()).hexdigest()
        for number in said[frame].drops:
            if number not in appears:
                raise UsageError(f"--drop {number}@{frame}: object {number} is not there yet; it has no mask before")
        for number in sorted(numbers):
            appears.setdefault(number, frame)
    if not appears:
        raise UsageError(
            f"{item.name}: nothing to follow; give --first MASK, --at x,y, --box x0,y0,x1,y1, --refer WORDS or "
            "--masks DIR"
        )
    digest = fingerprint(
        said={frame: [repr(sorted(s.asks.items())), sorted(s.drops), contents.get(frame)] for frame, s in said.items()}
    )
    return Script(said, appears, digest)


def _check_range(name: str, frame: int, following: Following) -> None:
    if frame < following.start or (following.stop is not None and frame >= following.stop):
        end = "" if following.stop is None else f" and before {following.stop}"
        raise UsageError(
            f"{name}: a prompt is for frame {frame}, frames from {following.start} on{end} are asked for; "
            "change --from or --until, or the prompt's frame"
        )


def _folder(folder: Path, source: Source, following: Following) -> dict[int, Path]:
    """The masks of a folder by frame number; those outside of the frames asked for are left out."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() == ".png" and path.name[0] != "."]
    except OSError as error:
        raise UsageError(f"--masks {folder}: can't be read: {(error.strerror or str(error)).lower()}") from None
    if not paths:
        raise UsageError(f"--masks {folder}: no PNG in it; masks are called as the frames are, 00000.png")
    names = None
    if isinstance(source, PictureFolder):
        names = {path.stem: index for index, path in enumerate(source.files)}
    found: dict[int, Path] = {}
    for path in sorted(paths, key=lambda path: natural_key(path.name)):
        if names is not None and path.stem in names:
            frame = names[path.stem]
        elif names is None and path.stem.isascii() and path.stem.isdigit():
            frame = int(path.stem)
        else:
            like = next(iter(names)) if names else "00012"
            raise UsageError(
                f"--masks {path}: there is no frame of that name; call masks as the frames are: {like}.png"
            )
        if frame >= following.start and (following.stop is None or frame < following.stop):
            found[frame] = path
    return found


def _tell_edges(path: Path, given: GivenMasks, notice: Callable[[str], None]) -> None:
    if given.edges:
        few = ", ".join(map(str, given.edges[:8])) + (" …" if len(given.edges) > 8 else "")
        notice(
            f"{path}: ids {few} lie only along borders: taken for soft edges, not for objects "
            f"(objects: {', '.join(map(str, given.masks))})"
        )

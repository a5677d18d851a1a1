"""Which layout a folder has, by the names that lie in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segcli.bench.vos import RULES
from segcli.core.errors import UsageError
from segcli.datasets import semantic, video
from segcli.datasets.video import Video

# The first layout whose names all exist.
_PHOTOS = {
    "grabcut": ("data_GT", "boundary_GT"),
    "davis345": ("img", "gt"),
    "sbd": ("img", "inst"),
    "pascal": ("JPEGImages", "SegmentationObject"),
}
_VIDEOS = {"davis2017": ("ImageSets/2017",), "davis2016": ("ImageSets/480p",)}
_RULES = {"davis2017": "davis", "davis2016": "davis", "youtube-vos": "youtube-vos"}


def photo_layout(root: Path, layout: str) -> str:
    """`layout`, or for "auto" the one whose folders are there; plain folders otherwise."""
    if layout != "auto":
        return layout
    return "coco-interactive" if any(root.glob("coco_interactive_*_psalm.json")) else _found(root, _PHOTOS)


def open_videos(
    root: Path, layout: str, split: str | None, rule: str | None, results: Path | None
) -> tuple[list[Video], str, str, str]:
    """Videos with their results, and the layout, split and rule that were meant. Raises UsageError."""
    if layout == "auto":
        layout = _found(root, _VIDEOS)
        if layout == "folder":
            folder = root / (split or "valid")
            if (folder / "meta.json").is_file():
                layout = "youtube-vos"
            elif (folder / "Annotations").is_dir():
                layout = "mose"
    if layout not in video.LAYOUTS:
        raise UsageError(f"--layout {layout}: there are {', '.join(video.LAYOUTS)}")
    rule = rule or _RULES.get(layout, "vos-benchmark")
    if rule not in RULES:
        raise UsageError(f"--rule {rule}: there are {', '.join(RULES)}")
    if layout in ("davis2017", "davis2016"):
        split = split or "val"
        year = int(layout.removeprefix("davis"))
        found = video.davis_sequences(
            root, split, year=year, unsupervised=rule == "davis-unsupervised", results=results
        )
    elif layout == "youtube-vos":
        split = split or "valid"
        found = video.youtube_sequences(root, split, results=results)
    elif layout == "mose":
        split = split or "valid"
        found = video.mose_sequences(root, split, results=results)
    else:
        split = ""
        found = video.folder_sequences(root, results=results)
    return found, layout, split, rule


def seen_categories(root: Path) -> tuple[str, ...]:
    """Categories of YouTube-VOS's training set, where `train/meta.json` lies beside; none otherwise."""
    if not (root / "train" / "meta.json").is_file():
        return ()
    return video.youtube_categories(root / "train" / "meta.json")


def class_of(layout: str, stored: int) -> int:
    """The class from 0 that a stored value of the layout's class maps means."""
    return stored - semantic.first_value(layout)


def _found(root: Path, table: Mapping[str, tuple[str, ...]]) -> str:
    for layout, names in table.items():
        if all((root / name).exists() for name in names):
            return layout
    return "folder"

"""From what the user named to a source of frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from segcli.io.video.files import VideoFile
from segcli.io.video.frames import Source
from segcli.io.video.pictures import AnimatedWebP, PictureFolder


def open_source(path: Path, name: str, rate: Fraction | None = None, *, gaps: bool = False) -> Source:
    """The frames of a file or a directory; nothing is decoded yet.

    rate: pictures a second of a directory, 25 where it is None. gaps: see `PictureFolder`.
    """
    if path.is_dir():
        return PictureFolder(path, name, rate or Fraction(25), gaps=gaps)
    if path.suffix.lower() == ".webp":
        return AnimatedWebP(path, name)
    return VideoFile(path, name)

"""A folder as people have them: good photos with odd names and modes among files that can't be read."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from .support import Ran, Seg, make_photo, read_mask

GOOD = ("two  spaces.jpg", "new\nline.png", "été naïve.webp", "-dash.png", "{braces}.png", "a" * 200 + ".png")
ODD = ("one_bit", "palette", "grey_alpha", "sixteen_bit", "cmyk", "one_pixel", "sideways")
BAD = ("truncated.jpg", "zero.jpg", "text.png", "header.png", "bomb.png", "dangling.jpg", "closed.jpg")


def fill(folder: Path) -> None:
    for name in GOOD:
        make_photo(folder / name)
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 255, (40, 60, 3), np.uint8)
    photo = PIL.Image.fromarray(colours)
    photo.convert("1").save(folder / "one_bit.png")
    photo.quantize(16).save(folder / "palette.png")
    photo.convert("LA").save(folder / "grey_alpha.png")
    PIL.Image.fromarray(colours[..., 0].astype(np.uint16) * 257).save(folder / "sixteen_bit.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.crop((0, 0, 1, 1)).save(folder / "one_pixel.bmp")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "sideways.jpg", exif=exif)

    buffer = io.BytesIO()
    photo.save(buffer, "JPEG")
    (folder / "truncated.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (folder / "zero.jpg").touch()
    (folder / "text.png").write_text("this is no photo\n")
    (folder / "header.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 40)
    (folder / "bomb.png").write_bytes(png_of(60_000, 60_000))
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    os.mkfifo(folder / "pipe.jpg")  # reading it would never end
    make_photo(folder / "closed.png").rename(folder / "closed.jpg")
    (folder / "closed.jpg").chmod(0)
    (folder / "notes.txt").write_text("not meant as a photo")


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is that large, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, site: Path) -> tuple[Ran, Path]:
    cwd = tmp_path_factory.mktemp("bad")
    (cwd / "in").mkdir()
    fill(cwd / "in")
    return Seg(cwd, site)("point", "in", "--at", "50%,50%", "--json"), cwd


def bad_here() -> set[str]:
    """Files that can't be read; an administrator may read closed ones."""
    return set(BAD) - ({"closed.jpg"} if os.geteuid() == 0 else set())


def test_bad_files_among_good_ones_are_exit_3(ran: tuple[Ran, Path]):
    summary = ran[0].lines[-1]["summary"]
    assert (ran[0].code, summary["exit_code"]) == (3, 3)
    assert summary["failed"] == len(bad_here())
    assert summary["done"] == len(GOOD) + len(ODD) + len(BAD) - len(bad_here())


def test_every_bad_file_has_one_line_for_people_and_one_for_programs(ran: tuple[Ran, Path]):
    failed = {Path(line["image"]).name: line for line in ran[0].lines if "error" in line}
    assert set(failed) == bad_here()
    said = [line for line in ran[0].stderr.splitlines() if line.startswith("seg point: in/")]
    assert len(said) == len(failed)
    for name, line in failed.items():
        assert sum(f"in/{name}: " in text for text in said) == 1
        assert line["code"] == 3
        assert line["error"].startswith(f"in/{name}: ")
    assert "Traceback" not in ran[0].stderr


def test_every_good_photo_has_its_mask_whatever_its_name_and_mode(ran: tuple[Ran, Path]):
    out = ran[1] / "seg-out"
    sizes = {path.stem: read_mask(path).shape for path in out.glob("*.png")}
    assert {Path(name).stem for name in GOOD} | set(ODD) <= set(sizes)
    assert sizes["sideways"] == (60, 40)
    assert sizes["one_pixel"] == (1, 1)
    assert sizes["palette"] == (40, 60)
    assert not [path for path in out.iterdir() if path.stem in ("notes", "pipe")]


def test_nothing_is_left_but_masks_and_the_journal(ran: tuple[Ran, Path]):
    left = {path.name for path in (ran[1] / "seg-out").iterdir() if path.suffix != ".png"}
    assert left <= {".seg-journal.jsonl", ".seg-lock"}

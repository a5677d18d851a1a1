"""Packs: photos and masks in one file, read back as the folders that they were made of."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from safetensors.numpy import load_file, save_file

from segcli.core.errors import StorageError, UsageError
from segcli.train.pack import Pack
from segcli.train.packing import pack
from segcli.train.photos import load_photos

LARGE = 10**9


def source(folder: Path, suffix: str = "jpg", count: int = 3, listed: bool = True, size: tuple[int, int] = (60, 90)):
    """Smooth photos with two objects and an ignored corner; the last one shows nothing."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = []
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = Pillow.fromarray(rng.integers(0, 255, (3, 4, 3), dtype=np.uint8))
        coarse.resize((size[1], size[0])).save(folder / "images" / f"{number}.{suffix}", quality=97)
        labels = np.zeros(size, np.uint8)
        labels[10:40, 20 + number : 60], labels[45:55], labels[:3, :3] = 1, 2, 255
        if number == count - 1:
            labels[:] = 0
        Pillow.fromarray(labels).save(folder / "masks" / f"{number}.png")
        objects = [{"id": 1, "class": "cat", "thing": True}, {"id": 2, "class": "sea", "thing": False}]
        terms = {"origin": f"somewhere/{number}", "licence": "CC BY 2.0", "url": "http://example.org/é"}
        rows.append({"image": f"images/{number}.{suffix}", "mask": f"masks/{number}.png", "objects": objects} | terms)
    if listed:
        (folder / "objects.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def same(one, other, pixels: float = 0.0) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.labels, b.labels)
        assert (a.weights, a.donors, a.names) == (b.weights, b.donors, b.names)
        assert np.abs(a.pixels.astype(int) - b.pixels).mean() <= pixels


@pytest.mark.parametrize("listed", [True, False])
def test_a_pack_of_small_jpegs_is_read_as_the_folder_is_to_the_last_pixel(tmp_path: Path, listed: bool) -> None:
    data = source(tmp_path / "data", listed=listed)
    packed = pack([data], tmp_path / "a.pack", 90, LARGE)
    assert (packed.photos, packed.left_out, packed.quality) == (2, 1, None)
    same(load_photos([data]), load_photos([packed.path]))
    assert len(load_photos([data, packed.path])) == 4


def test_photos_that_are_made_smaller_keep_their_masks_exactly_and_their_pixels_nearly(tmp_path: Path) -> None:
    data = source(tmp_path / "data", "png")
    packed = pack([data], tmp_path / "a.pack", 48, LARGE)
    same(load_photos([data], max_side=48), load_photos([packed.path]), pixels=3.0)
    assert load_photos([packed.path])[0].pixels.shape == (32, 48, 3)


def test_a_pack_can_be_read_smaller_than_it_is(tmp_path: Path) -> None:
    data = source(tmp_path / "data")
    packed = pack([data], tmp_path / "a.pack", 90, LARGE)
    same(load_photos([data], max_side=30), load_photos([packed.path], max_side=30))


def test_quality_falls_until_the_photos_fit(tmp_path: Path) -> None:
    data = source(tmp_path / "data", count=12, size=(240, 360))
    whole = pack([data], tmp_path / "a.pack", 360, LARGE)
    told: list[str] = []
    less = pack([data], tmp_path / "b.pack", 360, whole.bytes * 2 // 3, told.append)
    assert less.bytes <= whole.bytes * 2 // 3
    assert less.path.stat().st_size == less.bytes
    assert less.quality is not None
    assert told[0] == "photos as they are: more than the limit"
    same(load_photos([data]), load_photos([less.path]), pixels=4.0)


def test_what_does_not_fit_says_what_would_and_leaves_what_was_there(tmp_path: Path) -> None:
    data = source(tmp_path / "data")
    (tmp_path / "a.pack").write_text("older")
    with pytest.raises(UsageError, match=r"3 photos at 90 px take 1 MiB at quality 50.*type --limit 1MiB"):
        pack([data], tmp_path / "a.pack", 90, 5000)
    assert (tmp_path / "a.pack").read_text() == "older"
    assert pack([data], tmp_path / "a.pack", 90, 2**20).photos == 2


def test_the_same_photos_give_the_same_bytes(tmp_path: Path) -> None:
    data = source(tmp_path / "data", "png")
    one, two = (pack([data], tmp_path / name, 60, LARGE).path.read_bytes() for name in ("a.pack", "b.pack"))
    assert one == two


def test_licence_origin_classes_and_what_is_labelled_stay_with_a_photo(tmp_path: Path) -> None:
    packed = Pack(pack([source(tmp_path / "data")], tmp_path / "a.pack", 90, LARGE).path)
    assert [(p.name, p.source, p.origin) for p in packed] == [
        ("0", "data", "somewhere/0"),
        ("1", "data", "somewhere/1"),
    ]
    assert {(p.licence, p.url) for p in packed} == {("CC BY 2.0", "http://example.org/é")}
    assert [o.name for o in packed.photos[0].objects or ()] == ["cat", "sea"]


def test_photos_without_any_target_are_no_pack(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none of 1 photos shows an object"):
        pack([source(tmp_path / "data", count=1)], tmp_path / "a.pack", 90, LARGE)


def broken(path: Path, way: str) -> None:
    data = path.read_bytes()
    if way == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif way == "flipped":
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])
    elif way == "jpeg":
        path.write_bytes(b"\xff\xd8\xff" + data)
    elif way == "weights":
        save_file(load_file(path), path)
    elif way == "empty":
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("cut", "not a sound pack"),
        ("flipped", "bytes changed since it was written"),
        ("jpeg", "not a sound pack"),
        ("weights", "is not a pack of photos"),
        ("empty", "cut short"),
    ],
)
def test_a_broken_pack_is_named_in_one_line(tmp_path: Path, way: str, words: str) -> None:
    path = pack([source(tmp_path / "data")], tmp_path / "a.pack", 90, LARGE).path
    broken(path, way)
    with pytest.raises(StorageError, match=words) as caught:
        load_photos([path])
    assert str(path) in str(caught.value)
    assert "seg train pack" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_photo_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    data = source(tmp_path / "data")
    photo = data / "images" / "0.jpg"
    kept = Pack(pack([data], tmp_path / "a.pack", 90, LARGE).path).photos[0]
    from dataclasses import replace

    with pytest.raises(StorageError, match="data/0 can't be decoded"):
        replace(kept, photo=photo.read_bytes()[:100]).pixels()
    grey = io.BytesIO()
    Pillow.new("L", (5, 5)).save(grey, "JPEG")
    with pytest.raises(StorageError, match=r"is \(5, 5\), listed as \(60, 90\)"):
        replace(kept, photo=grey.getvalue()).pixels()
    with pytest.raises(StorageError, match="data/0 has a broken mask"):
        replace(kept, label=kept.label[:-3]).ids()


def seg(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "segcli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_the_command_packs_and_says_how_large_it_is(tmp_path: Path) -> None:
    out = tmp_path / "photos.pack"
    done = seg("train", "pack", "--data", source(tmp_path / "data"), "--out", out, "--limit", "0.5MiB")
    assert (done.returncode, done.stdout.strip()) == (0, str(out)), done.stderr
    assert "1 photos left out" in done.stderr
    assert "2 photos at 384 px, as they were: 0.0 MiB of 0.5" in done.stderr


@pytest.mark.parametrize(("size", "words"), [("many", "is no size"), ("0MiB", "is no size"), ("3XB", "is no size")])
def test_a_limit_that_is_no_size_is_refused(tmp_path: Path, size: str, words: str) -> None:
    from segcli.cli.train_pack import pack as command

    with pytest.raises(UsageError, match=words):
        command([str(tmp_path)], str(tmp_path / "a.pack"), limit=size)


@pytest.mark.parametrize(
    ("size", "count"), [("40MiB", 40 * 2**20), ("1.5 MB", 1_500_000), ("7", 7), ("2G", 2 * 10**9), ("1KiB", 1024)]
)
def test_sizes_are_read_with_their_units(size: str, count: int) -> None:
    from segcli.cli.train_pack import _bytes

    assert _bytes(size) == count

"""`seg masks` as typed: formats into each other, and what is lost said."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from segcli.cli.app import main
from segcli.core.ask import Ask
from segcli.core.prediction import Prediction
from segcli.core.rle import encode, iou
from segcli.io import stream
from segcli.io.maskfiles import photo_sizes, read

SIZE = (24, 30)


@pytest.fixture
def seg(capfdbinary, monkeypatch):
    def typed(*arguments, stdin: bytes = b""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        try:
            main(["masks", *map(str, arguments)])
        except SystemExit as error:
            code = int(error.code or 0)
        out = capfdbinary.readouterr()
        return code, out.out.decode(), out.err.decode()

    return typed


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(SIZE)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def line(name: str, prediction: Prediction) -> bytes:
    return stream.dumps(stream.record(name, Ask(), prediction, "m"))


@pytest.fixture
def two(tmp_path) -> Path:
    """Two photos' masks as JSON lines: a cat and a dog, and nothing."""
    prediction = Prediction(
        SIZE, (encode(disc(7, 7, 5)), encode(disc(20, 14, 7))), (0.9, 0.25), ("cat", "dog"), ids=(3, 8)
    )
    path = tmp_path / "m.jsonl"
    path.write_bytes(line("trip/a.jpg", prediction) + line("b.jpg", Prediction(SIZE)))
    return path


def test_every_format_that_holds_masks_can_be_read_back(two, seg, tmp_path):
    photos = tmp_path / "photos" / "trip"
    photos.mkdir(parents=True)
    for path in (photos / "a.jpg", photos.parent / "b.jpg"):
        Pillow.new("RGB", SIZE[::-1]).save(path)
    for kind in ("palette", "coco", "panoptic", "jsonl", "labelme", "yolo", "svg", "npz"):
        out = tmp_path / kind
        code, _, err = seg("convert", two, "-f", kind, "-o", out)
        assert code == 0, err
        found = list(read([str(out)], kind, size_of=photo_sizes(photos.parent)))
        assert [m.key for m in found] == ["trip/a", "b"] or [m.key for m in found] == ["b", "trip/a"]
        (shown,) = [m.prediction for m in found if m.key == "trip/a"]
        best = iou(shown.masks, [encode(disc(7, 7, 5)), encode(disc(20, 14, 7))]).max(axis=0)
        assert (best > 0.85).all(), kind


def test_what_a_format_cannot_hold_is_said(two, seg, tmp_path):
    _, _, err = seg("convert", two, "-f", "palette", "-o", tmp_path / "p")
    assert "palette can't hold labels and scores: lost" in err
    assert "2 masks of 2 photos, 2 files written" in err
    _, _, err = seg("convert", two, "-f", "coco,palette", "-o", tmp_path / "q")
    assert "lost" not in err


def test_numbered_files_are_masks_of_one_photo(two, seg, tmp_path):
    assert seg("convert", two, "-f", "mask", "-o", tmp_path / "m")[0] == 0
    found = {m.key: m.prediction for m in read([str(tmp_path / "m")], numbered=True)}
    assert [rle.area for rle in found["trip/a"].masks] == [encode(disc(7, 7, 5)).area, encode(disc(20, 14, 7)).area]
    assert len(found["b"]) == 0
    assert len(list(read([str(tmp_path / "m")]))) == 3


def test_numbered_files_are_compared_as_the_masks_of_one_photo(two, seg, tmp_path):
    seg("convert", two, "-f", "mask", "-o", tmp_path / "m")
    code, out, err = seg("iou", two, tmp_path / "m", "--numbered")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "1.0000  mean of 2 pairs in 2 photos"


def test_panoptic_pictures_are_not_taken_for_masks(two, seg, tmp_path):
    seg("convert", two, "-f", "panoptic,palette", "-o", tmp_path / "p")
    code, _, err = seg("convert", tmp_path / "p" / "panoptic", "-o", tmp_path / "q")
    assert code == 2
    assert "panoptic.json says; give that file instead" in err
    assert seg("convert", tmp_path / "p" / "panoptic.json", "-o", tmp_path / "q")[0] in (0, 3)


def test_masks_beside_panoptic_pictures_are_read(two, seg, tmp_path):
    seg("convert", two, "-f", "panoptic,mask", "-o", tmp_path / "p")
    code, _, err = seg("convert", tmp_path / "p" / "mask", "--numbered", "-f", "palette", "-o", tmp_path / "q")
    assert code == 0, err


def test_lines_of_one_photo_in_a_stream_are_one_photo(seg, tmp_path):
    corner, middle = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    corner[:2, :2], middle[3:5, 3:6] = True, True
    lines = [line("a.jpg", Prediction((6, 8), (encode(mask),))) for mask in (corner, middle)]
    lines.append(line("b.jpg", Prediction((6, 8), (encode(corner),))))
    code, _, err = seg("convert", "-", "-f", "palette", "-o", tmp_path / "p", stdin=b"".join(lines))
    assert (code, "3 masks of 2 photos" in err) == (0, True), err
    ids = np.asarray(Pillow.open(tmp_path / "p" / "a.png"))
    assert [(ids == number).sum() for number in (1, 2)] == [4, 6]
    _, out, _ = seg("stats", "-", "--each", stdin=b"".join(lines))
    assert "3 masks of 2 photos" in out


def test_a_stream_comes_in_and_goes_out(two, seg):
    code, out, err = seg("filter", "-", "--label", "dog", "-f", "jsonl", "-o", "-", stdin=two.read_bytes())
    assert code == 0, err
    lines = [stream.parse(text) for text in out.splitlines()]
    assert [(one.image, one.prediction.labels) for one in lines] == [("trip/a.jpg", ("dog",)), ("b.jpg", ())]


def test_typing_it_again_changes_nothing_and_other_content_is_refused(two, seg, tmp_path):
    out = tmp_path / "o"
    assert seg("convert", two, "-f", "coco", "-o", out)[0] == 0
    before = (out / "instances.json").read_bytes()
    assert seg("convert", two, "-f", "coco", "-o", out)[0] == 0
    code, _, err = seg("filter", two, "--label", "cat", "-f", "coco", "-o", out)
    assert code == 3
    assert "--force replaces it" in err
    assert (out / "instances.json").read_bytes() == before
    assert seg("filter", two, "--label", "cat", "-f", "coco", "-o", out, "--force")[0] == 0
    assert (out / "instances.json").read_bytes() != before


def test_two_annotators_are_merged_by_label(two, seg, tmp_path):
    other = tmp_path / "other.jsonl"
    moved = Prediction(SIZE, (encode(disc(9, 7, 5)),), (0.5,), ("cat",))
    other.write_bytes(line("trip/a.png", moved))
    code, out, err = seg("merge", two, other, "--how", "intersection", "--by", "label", "-o", "-")
    assert code == 0, err
    (first, second) = (stream.parse(text).prediction for text in out.splitlines())
    assert first.labels == ("cat",)
    assert np.array_equal(first.dense(0), disc(7, 7, 5) & disc(9, 7, 5))
    assert len(second) == 0


def test_sources_are_compared_photo_by_photo(two, seg, tmp_path):
    same = seg("iou", two, two)
    assert same[0] == 0
    assert same[1].splitlines()[-1] == "1.0000  mean of 2 pairs in 2 photos"
    seg("filter", two, "--label", "cat", "-f", "coco", "-o", tmp_path / "c")
    code, out, err = seg("iou", two, tmp_path / "c", "--by", "label", "--json")
    assert code == 0, err
    assert [json.loads(text)["iou"] for text in out.splitlines()] == [0.5, 1.0, 0.5]


def test_a_photo_that_one_source_lacks_is_said_and_counts_as_nothing(two, seg, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(line("c.jpg", Prediction(SIZE)))
    code, out, err = seg("iou", two, other)
    assert code == 0
    assert "trip/a: is only in the first source" in err
    assert out.splitlines()[-1] == "0.0000  mean of 2 pairs in 3 photos"


def test_statistics_as_a_table_for_spreadsheets_and_for_scripts(two, seg):
    code, out, _ = seg("stats", two, "--csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(r["image"], r["id"], r["label"], r["area"]) for r in rows] == [
        ("trip/a.jpg", "3", "cat", str(disc(7, 7, 5).sum())),
        ("trip/a.jpg", "8", "dog", str(disc(20, 14, 7).sum())),
    ]
    summary = json.loads(seg("stats", two, "--json")[1])
    assert summary["photos"] == 2
    assert summary["labels"]["dog"]["masks"] == 1
    assert summary["coverage"] == pytest.approx((disc(7, 7, 5) | disc(20, 14, 7)).mean() / 2, abs=1e-5)
    assert "2 masks of 2 photos (1 without)" in seg("stats", two)[1]


def test_the_median_of_two_areas_lies_between_them(two, seg, tmp_path):
    merged = tmp_path / "cats.jsonl"
    merged.write_bytes(two.read_bytes().replace(b'"dog"', b'"cat"'))
    cats = json.loads(seg("stats", merged, "--json")[1])["labels"]["cat"]
    assert cats["median"] == round((disc(7, 7, 5).sum() + disc(20, 14, 7).sum()) / 2)


def test_one_mask_of_one_photo_is_said_in_the_singular(two, seg, tmp_path):
    err = seg("filter", two, "--label", "cat", "-f", "coco", "-o", tmp_path / "out")[2]
    assert "1 mask of 2 photos, 1 file written" in err


def test_an_overlay_needs_the_photos_and_shows_them(two, seg, tmp_path):
    code, _, err = seg("overlay", two)
    assert (code, "--images DIR" in err) == (2, True)
    photos = tmp_path / "photos"
    (photos / "trip").mkdir(parents=True)
    Pillow.new("RGB", SIZE[::-1], (90, 90, 90)).save(photos / "trip" / "a.jpg")
    code, _, err = seg("overlay", two, "--images", photos, "-o", tmp_path / "shown")
    assert code == 3
    assert f"b.jpg: overlay needs the photo; it is not in {photos}" in err
    assert len(list((tmp_path / "shown").rglob("a.*"))) == 1


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        (["convert"], 2, "no masks; give files"),
        (["convert", "absent.json"], 4, "absent.json: no such file or folder"),
        (["convert", "x.bin"], 2, "say it with --from"),
        (["convert", "m.jsonl", "-f", "psd"], 2, "-f psd: unknown format"),
        (["convert", "m.jsonl", "-f", "palette", "-o", "-"], 2, "-o - takes a format of one file"),
        (["convert", "-", "-f", "yolo"], 2, "name them with --classes"),
        (["filter", "m.jsonl", "--min-area", "big"], 2, "--min-area big: is no area"),
        (["filter", "m.jsonl", "--within", "1,2,3"], 2, "--within 1,2,3: is no box"),
        (["clean", "m.jsonl"], 2, "nothing to clean"),
        (["merge", "m.jsonl", "--how", "difference"], 2, "two sources or more"),
        (["iou", "-", "-"], 2, "only one of them can come from stdin"),
        (["stats", "m.jsonl", "--csv", "--json"], 2, "give one"),
        (["stats", "broken.json"], 3, "broken.json: not JSON"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(seg, two, tmp_path, monkeypatch, typed, code, words):
    monkeypatch.chdir(tmp_path)
    Path("x.bin").write_bytes(b"x")
    Path("broken.json").write_text("{")
    got, out, err = seg(*typed)
    assert (got, out) == (code, "")
    (said,) = err.splitlines()
    assert words in said


def test_ids_that_a_palette_cannot_hold_are_numbered_anew_and_that_is_said(tmp_path, seg):
    """Annotations of COCO files are numbered through all photos."""
    prediction = Prediction(SIZE, (encode(disc(7, 7, 5)), encode(disc(20, 14, 7))), ids=(300, 70000))
    (tmp_path / "m.jsonl").write_bytes(line("a.jpg", prediction))
    code, _, err = seg("convert", tmp_path / "m.jsonl", "-f", "palette", "-o", tmp_path / "out")
    assert (code, "can't hold ids" in err) == (0, True), err
    with Pillow.open(tmp_path / "out" / "a.png") as file:
        assert set(np.unique(np.asarray(file))) == {0, 1, 2}

"""What every format promises, whatever it holds."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import PurePosixPath
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.io.formats.answers import SIZE, answered, blobs, iou, mask_sets, read, soft_of, write
from tests.io.pictures import pixels

from segcli.core import rle
from segcli.core.errors import ItemError, UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.io.formats import FORMATS, NAMES, get_format, get_reader
from segcli.io.formats.contract import Options, Readable

READABLE = [name for name in NAMES if isinstance(FORMATS[name], Readable)]
EXACT = ["mask", "palette", "coco", "panoptic", "semantic", "jsonl", "npz"]
OUTLINES = ["labelme", "yolo", "svg"]


def test_the_formats_are_those_of_the_manual():
    assert set(NAMES) == {
        *("mask", "palette", "cutout", "overlay", "coco", "panoptic", "semantic"),
        *("jsonl", "labelme", "yolo", "svg", "npz", "ora"),
    }
    assert {name: FORMATS[name].name for name in FORMATS} == {name: name for name in NAMES}
    assert set(READABLE) == set(EXACT) | set(OUTLINES)


def test_an_unknown_format_is_refused_with_the_names():
    with pytest.raises(UsageError, match=r"-f psd is no format: choose from mask, palette"):
        get_format("psd")
    with pytest.raises(UsageError, match=r"cutout files hold no masks .* choose from mask, palette"):
        get_reader("cutout")
    assert "psd" not in FORMATS
    with pytest.raises(KeyError):
        FORMATS["psd"]


def test_naming_the_formats_imports_none_of_them():
    code = (
        "import sys, segcli.io.formats as f; f.NAMES; print([m for m in sys.modules if m.startswith(f.__name__ + '.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['segcli.io.formats.contract']"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_prediction_is_the_same_bytes(name):
    def bytes_of(form):
        options = Options(categories=("cat", "dög", "object"), soft=True)
        one = answered(labels=("cat", None, "dög"), soft=soft_of(blobs()))
        files = [(file.data, file.extension, file.n, file.label) for file in form.render(one, options)]
        run = list(form.assemble([form.fragment(one, options)], options)) if form.run_file else []
        return files, run

    first = bytes_of(get_format(name))
    assert first[0] or first[1]
    assert first == bytes_of(get_format(name))


@pytest.mark.parametrize("name", NAMES)
def test_no_target_is_a_legal_answer(name, tmp_path):
    paths = write(name, [answered([])], tmp_path)
    assert paths
    if name in READABLE:
        (only,) = read(
            name, paths[-1] if FORMATS[name].run_file and name not in ("yolo", "semantic") else paths[0], size=SIZE
        )
        assert only.rle is None
        assert only.size == SIZE


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_mask_among_others_does_no_harm(name, tmp_path):
    masks = [blobs()[0], np.zeros(SIZE, dtype=bool)]
    assert write(name, [answered(masks)], tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_of_one_pixel_is_a_photo(name, tmp_path):
    for masks in ([], [np.ones((1, 1), dtype=bool)]):
        assert write(name, [answered(masks, size=(1, 1))], tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_only_formats_that_need_the_photo_touch_its_pixels(name, tmp_path):
    form = get_format(name)
    if form.needs_photo:
        return
    image = SimpleNamespace(name="a.jpg", size=SIZE)  # no pixels at all
    assert write(name, [answered(image=image)], tmp_path)


@pytest.mark.parametrize("name", [name for name in NAMES if FORMATS[name].needs_photo])
def test_a_photo_without_its_full_size_is_a_bug_and_not_a_blurred_file(name):
    small = Image(pixels((45, 60)), SIZE, "a.jpg")
    with pytest.raises(ValueError, match="full size"):
        get_format(name).render(answered(image=small), Options())


@pytest.mark.parametrize("name", ["coco", "jsonl", "npz"])
@given(one=mask_sets())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_exact_formats_lose_nothing(name, one, tmp_path):
    path = write(name, [one], tmp_path)[-1]
    back = read(name, path)
    prediction = one.prediction
    if not len(prediction):
        assert [a.rle for a in back] == [None]
        return
    assert tuple(a.rle for a in back) == prediction.masks
    assert tuple(a.score for a in back) == prediction.scores
    assert tuple(a.label for a in back) == prediction.labels
    assert all(a.exact and a.size == prediction.size for a in back)
    if name != "coco":  # there an id counts annotations of the whole file
        assert tuple(a.id for a in back) == prediction.ids


@pytest.mark.parametrize("name", ["palette", "panoptic"])
@given(one=mask_sets())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_formats_of_one_id_a_pixel_keep_the_mask_named_first_on_top(name, one, tmp_path):
    path = write(name, [one], tmp_path)[-1]
    expected, taken = {}, np.zeros(one.prediction.size, dtype=bool)
    for number, n in zip(one.prediction.ids, range(len(one.prediction)), strict=True):
        mine = one.prediction.dense(n) & ~taken
        taken |= mine
        if mine.any():
            expected[number] = (mine, one.prediction.labels[n], one.prediction.scores[n])
    back = [a for a in read(name, path) if a.rle is not None]
    assert {a.id for a in back} == set(expected)
    for a in back:
        mine, label, score = expected[a.id]
        assert (rle.decode(a.rle) == mine).all()
        if name == "panoptic":
            assert (a.label, a.score) == (label, score)


@pytest.mark.parametrize("name", OUTLINES)
@given(one=mask_sets(blank=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_outline_formats_keep_every_mask_within_the_bound(name, one, tmp_path):
    classes = tuple(dict.fromkeys("object" if label is None else label for label in one.prediction.labels))
    path = write(name, [one], tmp_path, Options(categories=classes))[0]
    back = [a for a in read(name, path, size=one.prediction.size, categories=classes) if a.rle is not None]
    assert len(back) == len(one.prediction)
    for n, a in enumerate(back):
        assert iou(a.rle, one.prediction.masks[n]) >= 0.99
        assert a.label == one.prediction.labels[n]
        if name != "yolo":
            assert (a.id, a.score) == (one.prediction.ids[n], one.prediction.scores[n])


@pytest.mark.parametrize("name", OUTLINES)
@pytest.mark.parametrize("seed", range(5))
def test_outlines_of_larger_masks_keep_their_holes_and_parts(name, seed, tmp_path):
    from scipy import ndimage

    size = (400, 600)
    masks = [np.kron(mask, np.ones((5, 5), dtype=bool))[: size[0], : size[1]] for mask in blobs(seed, 3)]
    masks[0][200:230, 300:330] ^= True
    path = write(name, [answered(masks, "a.jpg")], tmp_path)[0]
    for mask, a in zip(masks, read(name, path, size=size), strict=True):
        back = rle.decode(a.rle)
        assert iou(back, mask) >= 0.99
        for side, other in ((mask, back), (~mask, ~back)):
            large = [n for n in range(1, ndimage.label(side)[1] + 1) if (ndimage.label(side)[0] == n).sum() > 100]
            for n in large:
                part = ndimage.label(side)[0] == n
                assert (other & part).sum() > 0.9 * part.sum()


RUBBISH = [b"{}", b"[]", b"nonsense", b"\x00\xff" * 50, b'{"seg":1}', b"[" * 5000, b"<a/>", b"PK\x03\x04rubbish"]


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("data", RUBBISH)
def test_a_file_that_is_something_else_is_refused_with_one_line(name, data, tmp_path):
    path = tmp_path / "file.x"
    path.write_bytes(data)
    with pytest.raises(ItemError) as caught:
        read(name, path, size=(4, 4))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in READABLE if name != "yolo"])
def test_an_empty_file_is_refused(name, tmp_path):
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with pytest.raises(ItemError, match="the file is empty"):
        read(name, path)


@pytest.mark.parametrize("name", READABLE)
def test_a_missing_file_is_refused(name, tmp_path):
    with pytest.raises(ItemError, match="no such file"):
        read(name, tmp_path / "absent", size=(4, 4))


@pytest.mark.parametrize("name", READABLE)
@given(seed=st.integers(0, 10**6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_a_damaged_file_is_read_or_refused(name, seed, tmp_path):
    import random

    from tests.io.test_fuzz import mutate

    path = write(name, [answered(blobs(1, size=(30, 40)), "a.jpg")], tmp_path)[
        -1 if name in ("coco", "panoptic") else 0
    ]
    path.write_bytes(mutate(path.read_bytes(), random.Random(seed)))
    try:
        for a in get_reader(name).read(path, size=(30, 40)):
            assert a.rle is None or a.rle.size == a.size
    except ItemError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize("name", ["coco", "panoptic", "jsonl"])
def test_a_run_file_lists_all_photos_in_the_order_given(name, tmp_path):
    answers = [answered(blobs(n), f"d/{n}.jpg") for n in (3, 1, 2)]
    back = read(name, write(name, answers, tmp_path)[-1])
    assert list(dict.fromkeys(a.relative for a in back)) == [PurePosixPath(f"d/{n}.jpg") for n in (3, 1, 2)]


@pytest.mark.parametrize("name", ["coco", "panoptic", "jsonl", "yolo"])
def test_a_run_file_is_streamed_and_not_collected(name):
    form, options = get_format(name), Options()
    drawn = []

    def fragments():
        for n in range(50):
            drawn.append(n)
            yield form.fragment(answered(blobs(1, 1, (20, 20)), f"{n}.jpg"), options)

    chunks = form.assemble(fragments(), options)
    next(chunks)
    if name != "yolo":  # whose run file needs no photo
        assert len(drawn) <= 2
    assert sum(1 for _ in chunks) < 250


@pytest.mark.parametrize("name", ["palette", "panoptic", "npz", "coco", "jsonl", "svg", "overlay"])
def test_many_masks_are_never_dense_together(name):
    import tracemalloc

    size = (500, 700)
    mask = np.zeros(size, dtype=bool)
    mask[100:300, 200:400] = True
    same = rle.encode(mask)
    peaks = []
    for count in (2, 60):
        one = answered([], "a.jpg", size=size)
        one = replace(one, prediction=Prediction(size, (same,) * count))
        tracemalloc.start()
        get_format(name).render(one, Options())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 5 * size[0] * size[1]  # of the 58 that one-byte masks would need

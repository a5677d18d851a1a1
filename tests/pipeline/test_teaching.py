"""Training folders from photos that nobody has masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.test_everything import Flat, photo

from segcli.core.ask import Ask
from segcli.core.errors import StorageError, UsageError
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.datasets import folders
from segcli.io.inputs import expand
from segcli.models.api import Encoded
from segcli.pipeline.everything import Proposal, Search, Window, proposals
from segcli.pipeline.teaching import IGNORED, Taught, Trust, labels, teach
from segcli.train.photos import load_photos

SIZE = (40, 60)
WHOLE = Window(0, 0, *SIZE)
TRUST = Trust(search=Search(grid=12, found=0, area=0.002))


def proposal(
    sure: tuple[int, int, int, int], maybe: tuple[int, int, int, int] | None = None, score: float = 0.9
) -> Proposal:
    """Boxes x0, y0, x1, y1."""
    planes = []
    for x0, y0, x1, y1 in (sure, maybe or sure):
        plane = np.zeros(SIZE, np.bool_)
        plane[y0:y1, x0:x1] = True
        planes.append(plane)
    return Proposal(encode(planes[0]), score, WHOLE, *map(encode, planes))


def test_what_may_be_an_objects_is_ignored_and_what_surely_is_not_is_none() -> None:
    ids, scores = labels([proposal((10, 10, 20, 20), (8, 8, 22, 22), 0.95)], SIZE, Trust())
    assert scores == {1: 0.95}
    assert (ids == 1).sum() == 100
    assert (ids == IGNORED).sum() == 14 * 14 - 100
    assert ids[0, 0] == 0


def test_where_objects_overlap_the_better_one_has_the_pixels() -> None:
    found = [proposal((0, 0, 20, 20)), proposal((18, 0, 38, 20))]
    ids, scores = labels(found, SIZE, Trust())
    assert len(scores) == 2
    assert (ids[:20, 18:20] == 1).all()
    assert (ids[:20, 20:38] == 2).all()


def test_an_object_that_a_better_one_contradicts_is_ignored_around_it() -> None:
    ids, scores = labels([proposal((0, 0, 20, 20)), proposal((0, 0, 30, 30))], SIZE, Trust())
    assert len(scores) == 1
    assert (ids == 1).sum() == 400
    assert (ids == IGNORED).sum() == 900 - 400


def test_a_mask_of_nearly_the_whole_photo_says_nothing() -> None:
    ids, scores = labels([proposal((0, 0, 60, 38), score=0.99), proposal((5, 5, 20, 20))], SIZE, Trust())
    assert len(scores) == 1
    assert set(np.unique(ids)) == {0, 1}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(2, 20), st.integers(0, 4)), max_size=8))
def test_every_pixel_of_an_id_is_surely_its_own_and_no_better_objects(boxes: list[tuple[int, int, int, int]]) -> None:
    found = [
        proposal((x, y, x + w, y + w), (max(0, x - b), max(0, y - b), x + w + b, y + w + b)) for x, y, w, b in boxes
    ]
    ids, scores = labels(found, SIZE, Trust())
    assert set(np.unique(ids)) - {0, IGNORED} == set(scores)
    claimed = np.zeros(SIZE, np.bool_)
    number = 0
    for one in found:
        sure, maybe = one.bounds(SIZE)
        mine = ids == number + 1
        if mine.any() and not (mine & ~sure).any() and not (mine & claimed).any():
            number += 1
        claimed |= maybe
    assert number == len(scores)
    assert not (ids[~claimed] != 0).any()
    assert not (ids[claimed] == 0).any()


def test_bounds_of_a_coarse_grid_are_spread_over_the_window_of_the_photo() -> None:
    part = encode(np.array([[True, False], [False, False]]))
    one = Proposal(encode(np.ones(SIZE, np.bool_)), 0.9, Window(10, 20, 30, 60), part, part)
    sure, _ = one.bounds(SIZE)
    assert sure[10:20, 20:40].all()
    assert sure.sum() == 10 * 20


def test_proposals_know_what_the_model_is_sure_of() -> None:
    model = Flat(doubts=frozenset({100}))
    (encoded,) = model.encode([photo()])
    found = proposals(model, encoded, photo(), Search(stability=0, found=0), bounds=(0.2, 0.8))
    sure = {
        int(photo().pixels[..., 0][one.bounds((60, 80))[1]].max()): int(one.bounds((60, 80))[0].sum()) for one in found
    }
    assert sure[50] == 400
    assert sure[100] == 0  # everywhere 0.6


# A folder from photos.


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Blocks of even colours, as the model of the tests masks them; one photo lies in a folder below."""
    root = tmp_path / "photos"
    (root / "below").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "below/a.png")):
        pixels = photo().pixels.copy()
        pixels[:4, :4] = 7 * number
        PIL.Image.fromarray(pixels).save(root / name)
    return root


def run(
    photos: Path, out: Path, model: Flat | None = None, trust: Trust = TRUST, said: list[str] | None = None
) -> Taught:
    found = expand([str(photos)], recursive=True).inputs
    lines = [] if said is None else said
    return teach(lambda: model or Flat(), {"model": "flat"}, found, out, trust, lines.append)


def test_a_folder_is_one_that_training_reads(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "taught"
    assert run(photos, out) == Taught(3, 0, 0)
    read = list(folders.photos(out))
    assert [one.image.relative_to(out).as_posix() for one in read] == [
        "images/a.png", "images/b.png", "images/below/a.png",
    ]  # fmt: skip
    for one in read:
        ids = one.ids()
        truth = photo().pixels[..., 0]
        assert one.pixels().shape[:2] == ids.shape
        assert not one.complete
        for colour in (50, 100, 150):
            (number,) = np.unique(ids[truth == colour])
            assert number in {o.id for o in one.objects or ()}
    assert read[0].image.read_bytes() == (photos / "a.png").read_bytes()
    assert len(load_photos([out])) == 3


def test_a_run_that_was_killed_goes_on_and_leaves_the_same_files(photos: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(photos, whole)
    run(photos, cut)
    lines = (cut / "objects.jsonl").read_bytes()
    (cut / "objects.jsonl").write_bytes(lines[: lines.index(b"\n") + 9])
    (cut / "masks" / "b.png").unlink()
    model = Flat()
    assert run(photos, cut, model) == Taught(2, 1, 0)
    assert len(model.encoded) == 2
    files = [sorted(p.relative_to(at) for p in at.rglob("*") if p.is_file()) for at in (whole, cut)]
    assert files[0] == files[1]
    assert all((whole / f).read_bytes() == (cut / f).read_bytes() for f in files[0])
    untouched = Flat()
    assert run(photos, cut, untouched) == Taught(0, 3, 0)
    assert not untouched.encoded


def test_a_folder_of_another_run_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "taught"
    run(photos, out)
    with pytest.raises(UsageError, match="another model or options; take it away, or change --out"):
        run(photos, out, trust=replace(TRUST, high=0.7))
    (out / "teach.json").unlink()
    with pytest.raises(UsageError, match="another model or options"):
        run(photos, out)
    (out / "objects.jsonl").unlink()
    run(photos, out)
    (out / "objects.jsonl").write_text("[]\n")
    with pytest.raises(StorageError, match="is broken"):
        run(photos, out)


def test_a_photo_that_can_not_be_read_is_said_and_the_others_are_masked(photos: Path, tmp_path: Path) -> None:
    (photos / "b.png").write_bytes(b"no photo")
    said: list[str] = []
    assert run(photos, tmp_path / "taught", said=said) == Taught(2, 0, 1)
    assert any("b.png" in line for line in said)


def test_a_turned_photo_is_kept_upright_beside_its_mask(photos: Path, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    with PIL.Image.open(photos / "b.png") as picture:
        picture.save(photos / "b.png", exif=exif)
    run(photos, tmp_path / "taught")
    turned = next(one for one in folders.photos(tmp_path / "taught") if one.name == "b")
    assert turned.pixels().shape[:2] == turned.ids().shape == (80, 60)
    assert np.array_equal(turned.pixels(), np.rot90(folders.read_rgb(photos / "b.png"), -1))


def test_photos_that_would_share_their_files_keep_their_suffixes(photos: Path, tmp_path: Path) -> None:
    with PIL.Image.open(photos / "b.png") as picture:
        picture.save(photos / "b.bmp")
    run(photos, tmp_path / "taught")
    masks = sorted(p.name for p in (tmp_path / "taught" / "masks").glob("*.png"))
    assert masks == ["a.png", "b.bmp.png", "b.png.png"]


def test_a_model_without_probabilities_is_refused(photos: Path, tmp_path: Path) -> None:
    class Hard(Flat):
        def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
            return [replace(answer, soft=None) for answer in super().decode(encoded, asks)]  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="-m flat: gives no probabilities"):
        run(photos, tmp_path / "taught", Hard())

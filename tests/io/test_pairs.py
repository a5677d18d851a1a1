"""Examples on disk: what a mask file means, and which photo belongs to which mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segcli.core.errors import UsageError
from segcli.io.pairs import Examples, Pair, pairs_in, pairs_listed, split_pair

SIZE = (24, 30)


def photo(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size[::-1], (90, 30, 200)).save(path)
    return path


def mask(path: Path, values: np.ndarray, *, indexed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PIL.Image.fromarray(values)
    if indexed:
        picture.putpalette([n for n in range(256) for _ in range(3)])
    picture.save(path)
    return path


def ids_of(folder: Path, values: np.ndarray, **how: bool) -> np.ndarray:
    pair = Pair(photo(folder / "p.png", values.shape[:2]), mask(folder / "m.png", values, **how))
    return Examples([pair]).load(0).ids


def square(value: int | tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    values = np.zeros((*SIZE, 3) if isinstance(value, tuple) else SIZE, dtype)
    values[4:14, 5:20] = value
    return values


def test_white_on_black_is_one_target_whatever_its_edges(tmp_path: Path):
    soft = square(255)
    soft[4, 5:20], soft[13, 5:20] = 200, 60
    found = ids_of(tmp_path, soft)
    expected = square(1)
    expected[13, 5:20] = 0
    np.testing.assert_array_equal(found, expected)


def test_grey_values_and_indices_are_ids_and_255_beside_them_is_nothing(tmp_path: Path):
    values = square(3)
    values[18:22, 2:9], values[0:2] = 7, 255
    expected = square(3)
    expected[18:22, 2:9] = 7
    np.testing.assert_array_equal(ids_of(tmp_path, values), expected)
    np.testing.assert_array_equal(ids_of(tmp_path, values, indexed=True), expected)
    np.testing.assert_array_equal(ids_of(tmp_path, square(255), indexed=True), square(1))


def test_a_transparent_mask_is_read_by_its_alpha(tmp_path: Path):
    values = np.full((*SIZE, 4), 255, np.uint8)
    values[..., 3] = square(255)
    np.testing.assert_array_equal(ids_of(tmp_path, values), square(1))


def test_pixels_between_two_colours_go_to_the_nearer_one(tmp_path: Path):
    values = square((200, 0, 0))
    values[4:14, 12:20] = (0, 0, 200)
    values[4, 5] = (150, 0, 40)  # an edge of the drawing program, one pixel
    values[13, 19] = (0, 0, 60)  # nearer to black
    examples = Examples([Pair(photo(tmp_path / "p.png"), mask(tmp_path / "m.png", values))])
    found = examples.load(0).ids
    assert examples.labels == {1: "#0000c8", 2: "#c80000"}
    assert (found[4, 5], found[6, 8], found[6, 15], found[13, 19], found[0, 0]) == (2, 2, 1, 0, 0)


def test_a_colour_has_one_id_in_all_examples_of_a_run(tmp_path: Path):
    pairs = [
        Pair(photo(tmp_path / f"{n}.png"), mask(tmp_path / f"{n}m.png", square(colour)))
        for n, colour in enumerate([(0, 200, 0), (200, 0, 0), (255, 255, 255)])
    ]
    examples = Examples(pairs)
    assert [examples.load(n).ids.max() for n in range(3)] == [1, 2, 3]
    alone = Examples(pairs[1:2])
    assert (alone.load(0).ids.max(), alone.labels) == (1, {})


def test_ids_in_one_mask_and_colours_in_another_are_refused(tmp_path: Path):
    pairs = [
        Pair(photo(tmp_path / "a.png"), mask(tmp_path / "am.png", square((200, 0, 0)))),
        Pair(photo(tmp_path / "b.png"), mask(tmp_path / "bm.png", square(3))),
    ]
    with pytest.raises(UsageError, match=r"b\.png:.*bm\.png: its mask holds ids, other examples colours"):
        Examples(pairs)
    assert Examples(pairs, one_target=True).load(1).ids.max() == 1


@given(arrays.arrays(np.uint8, SIZE, elements=st.integers(0, 254)))
def test_any_indexed_mask_comes_back_as_it_is(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray):
    if not values.any():
        values[0, 0] = 1
    np.testing.assert_array_equal(ids_of(tmp_path_factory.mktemp("pair"), values, indexed=True), values)


def test_pairs_are_found_in_two_folders_or_side_by_side(tmp_path: Path):
    for name in ("a10", "a9"):
        photo(tmp_path / "two" / "images" / f"{name}.png")
        mask(tmp_path / "two" / "masks" / f"{name}.png", square(255))
        photo(tmp_path / "stem" / f"{name}.jpg")
        mask(tmp_path / "stem" / f"{name}.png", square(255))
        photo(tmp_path / "beside" / f"{name}.png")
        mask(tmp_path / "beside" / f"{name}_mask.png", square(255))
    for folder in ("two", "stem", "beside"):
        pairs = pairs_in(tmp_path / folder)
        assert [pair.photo.stem for pair in pairs] == ["a9", "a10"]
        assert all(pair.mask is not None and pair.photo != pair.mask for pair in pairs)
        assert len(Examples(pairs)) == 2


def test_a_colon_in_a_name_is_no_separator(tmp_path: Path):
    image, drawn = photo(tmp_path / "a:b.png"), mask(tmp_path / "m:1.png", square(255))
    (pair,) = split_pair(f"{image}:{drawn}")
    assert (pair.photo, pair.mask) == (image, drawn)
    with pytest.raises(UsageError, match="is neither IMAGE:MASK nor a directory"):
        split_pair("nothing")


def test_a_list_names_pairs_and_the_values_that_are_meant(tmp_path: Path):
    photo(tmp_path / "p.png")
    values = square(3)
    values[18:22, 2:9], values[20:22, 20:25] = 7, 9
    mask(tmp_path / "m.png", values, indexed=True)
    listed = tmp_path / "pairs.jsonl"
    listed.write_text(json.dumps({"image": "p.png", "mask": "m.png", "id": [3, 9]}) + "\n\n")
    (pair,) = pairs_listed(str(listed))
    np.testing.assert_array_equal(Examples([pair]).load(0).ids, np.isin(values, (3, 9)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ('{"image": "p.png"}', "a line is for example"),
        ('{"image": "p.png", "mask": "m.png", "id": "x"}', '"id" is a positive number'),
        ("", "is empty"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: str, said: str):
    (tmp_path / "l.jsonl").write_text(line)
    with pytest.raises(UsageError, match=said) as refused:
        pairs_listed(str(tmp_path / "l.jsonl"))
    assert "l.jsonl" in str(refused.value)


def test_the_digest_knows_every_byte_and_value(tmp_path: Path):
    pair = Pair(photo(tmp_path / "p.png"), mask(tmp_path / "m.png", square(3), indexed=True))
    before = Examples([pair]).digest
    assert Examples([pair]).digest == before
    assert Examples([Pair(pair.photo, pair.mask, (3,))]).digest != before
    mask(tmp_path / "m.png", square(4), indexed=True)
    assert Examples([pair]).digest != before

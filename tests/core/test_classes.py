"""Class lists: those that come with seg, those of files, those typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.classes import KNOWN, ClassList, known, of_words, parse, read
from segcli.core.errors import UsageError

names = st.lists(st.text(st.characters(categories=["L"]), min_size=1, max_size=9), min_size=1, max_size=9, unique=True)


@pytest.mark.parametrize(
    ("name", "things", "stuff", "first", "last", "ids"),
    [
        ("coco", 80, 53, "person", "rug-merged", (1, 200)),
        ("ade20k", 100, 50, "wall", "flag", (1, 150)),
        ("voc", 20, 0, "aeroplane", "tvmonitor", (1, 20)),
    ],
)
def test_the_lists_of_data_sets_have_their_classes_things_and_ids(name, things, stuff, first, last, ids):
    listed = known(name)
    assert (sum(t is True for t in listed.things), len(listed.stuff)) == (things, stuff)
    assert (listed.names[0], listed.names[-1]) == (first, last)
    assert (min(listed.ids), max(listed.ids)) == ids
    assert list(listed.ids) == sorted(listed.ids)
    assert parse(name) is listed


def test_cocos_ids_are_those_of_its_files():
    ids = known("coco").id_of
    assert [ids[name] for name in ("stop sign", "dining table", "toothbrush", "banner", "sky-other-merged")] == [
        *(13, 67, 90, 92, 187)
    ]


@given(names)
def test_words_between_commas_are_classes_in_their_order(words):
    listed = parse(" , ".join([*words, words[0]]))
    if words[0] not in KNOWN or len(words) > 1:
        assert (listed.names, listed.ids, listed.said) == (tuple(words), tuple(range(1, len(words) + 1)), ())


@given(names, st.data())
def test_a_file_comes_back_as_it_was_written(tmp_path_factory, words, data):
    things = data.draw(st.lists(st.none() | st.booleans(), min_size=len(words), max_size=len(words)))
    ids = data.draw(st.none() | st.lists(st.integers(1, 10**9), min_size=len(words), max_size=len(words), unique=True))
    tab = data.draw(st.sampled_from(["\t", ",", " \t ", ", "]))
    kinds = {None: [], True: ["thing"], False: ["stuff"]}
    rows = [
        [w, *kinds[t], *([] if ids is None else [str(ids[n])])]
        for n, (w, t) in enumerate(zip(words, things, strict=True))
    ]
    path = tmp_path_factory.mktemp("list") / "mine.txt"
    path.write_text("# mine\n\n" + "\n".join(map(tab.join, rows)) + "\n", encoding="utf-8")
    listed = parse(str(path))
    assert listed == ClassList(tuple(words), tuple(things), () if ids is None else tuple(ids))


def test_names_with_spaces_commas_and_digits_stay_whole(tmp_path: Path):
    (tmp_path / "a.txt").write_text("traffic light\nroad, route\tstuff\narea 51\tthing\n", encoding="utf-8-sig")
    assert read(tmp_path / "a.txt") == ClassList(("traffic light", "road, route", "area 51"), (None, False, True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no classes"),
        ("# only this\n", "holds no classes"),
        ("cat\ndog\ncat\n", "a.txt:3: 'cat' stands above already"),
        ("cat\tthing\t1\ndog\tthing\n", "some classes have no id, others do"),
        ("cat\ndog\t\t7\n", "some classes have no id, others do"),
        ("cat\t3\ndog\t3\n", "a.txt:2: the id 3 is taken"),
        ("cat\t0\n", "the id 0 is not between 1 and"),
        ("\tthing\n", "a.txt:1: has no name"),
    ],
)
def test_a_file_that_is_no_list_is_refused_with_its_line(tmp_path: Path, text: str, said: str):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UsageError, match=r"--classes .*a\.txt") as caught:
        parse(str(tmp_path / "a.txt"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_list_is_refused(tmp_path: Path):
    for typed, said in ((" , ", "no words"), ("none.txt", "no such file"), ("no/such", "no such file")):
        with pytest.raises(UsageError, match=said):
            parse(typed)
    (tmp_path / "picture.txt").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UsageError, match="is no text"):
        parse(str(tmp_path / "picture.txt"))
    with pytest.raises(KeyError):
        known("lvis")
    with pytest.raises(ValueError, match="differ"):
        ClassList(("cat", "cat"))
    assert of_words(["a  b", "", "a b"]).names == ("a b",)


@given(st.text(max_size=40))
def test_whatever_is_typed_is_a_list_or_refused_in_one_line(text):
    try:
        assert len(parse(text))
    except UsageError as error:
        assert str(error).startswith("--classes")  # noqa: PT017 - both outcomes are right

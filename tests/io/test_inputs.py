from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.errors import ItemError, StorageError, UsageError
from segcli.io.images import read_bytes
from segcli.io.inputs import expand, natural_key, read_names, refuse_collisions


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A directory with photos, other files, hidden files and directories below it; the current directory is above."""
    for name in (
        "photos/img10.jpg",
        "photos/img2.JPG",
        "photos/notes.txt",
        "photos/.hidden.jpg",
        "photos/b/img1.png",
        "photos/a/deep/img1.webp",
        "photos/a/img3.png",
        "photos/.cache/img9.png",
        "other/img2.JPG",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def relative(found):
    return [str(one.relative) for one in found.inputs]


def test_a_directory_gives_its_own_photos_in_natural_order(tree):
    found = expand(["photos"])
    assert relative(found) == ["img2.JPG", "img10.jpg"]
    assert [one.name for one in found.inputs] == ["photos/img2.JPG", "photos/img10.jpg"]
    assert found.skipped == 1


def test_r_goes_below_and_mirrors_the_tree(tree):
    found = expand(["photos"], recursive=True)
    assert relative(found) == ["a/deep/img1.webp", "a/img3.png", "b/img1.png", "img2.JPG", "img10.jpg"]


def test_hidden_files_and_directories_are_left_out(tree):
    assert not [name for name in relative(expand(["photos"], recursive=True)) if "hidden" in name or "img9" in name]


def test_a_hidden_file_that_is_named_is_taken(tree):
    assert relative(expand(["photos/.hidden.jpg"])) == [".hidden.jpg"]


def test_files_keep_the_order_typed_and_their_plain_names(tree):
    assert relative(expand(["photos/img10.jpg", "photos/a/img3.png"])) == ["img10.jpg", "img3.png"]


def test_a_named_file_is_taken_whatever_its_suffix(tree):
    assert relative(expand(["photos/notes.txt"])) == ["notes.txt"]


def test_a_glob_that_the_shell_left_alone_is_expanded_below_its_fixed_part(tree):
    assert relative(expand(["photos/*.[jJ]*"])) == ["img2.JPG", "img10.jpg"]
    assert relative(expand(["photos/**/img1.*"])) == ["a/deep/img1.webp", "b/img1.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tree):
    Path("photos/a[1].jpg").write_bytes(b"x")
    assert relative(expand(["photos/a[1].jpg"])) == ["a[1].jpg"]


def test_the_output_directory_is_not_read_as_input(tree):
    out = tree / "photos" / "out"
    (out / "below").mkdir(parents=True)
    (out / "mask.png").write_bytes(b"x")
    (out / "below" / "mask.png").write_bytes(b"x")
    link = tree / "elsewhere"
    link.symlink_to(out)
    for name in (out, link):
        found = expand(["photos", "photos/**/mask*"], recursive=True, exclude=name)
        assert not [one for one in found.inputs if one.source and one.source.exists() and "mask" in one.name]


def test_links_in_a_circle_end(tree):
    (tree / "photos" / "a" / "loop").symlink_to(tree / "photos")
    (tree / "photos" / "b" / "self").symlink_to(tree / "photos" / "b")
    assert len(expand(["photos"], recursive=True).inputs) == 5


def test_a_linked_directory_is_followed(tree):
    (tree / "photos" / "linked").symlink_to(tree / "other")
    assert "linked/img2.JPG" in relative(expand(["photos"], recursive=True))


def test_a_dangling_link_in_a_directory_becomes_an_item_that_fails(tree):
    (tree / "photos" / "gone.jpg").symlink_to(tree / "nowhere")
    gone = next(one for one in expand(["photos"]).inputs if one.name.endswith("gone.jpg"))
    with pytest.raises(ItemError, match="a link to a file that does not exist"):
        read_bytes(gone.source, gone.name)


def test_a_link_to_itself_becomes_an_item_that_fails_and_costs_no_other_photo(tree):
    before = len(expand(["photos"], recursive=True).inputs)
    for folder in (tree / "photos", tree / "photos" / "a"):
        (folder / "self.jpg").symlink_to("self.jpg")
    found = expand(["photos"], recursive=True).inputs
    assert len(found) == before + 2
    itself = next(one for one in found if one.name.endswith("self.jpg"))
    with pytest.raises(ItemError, match=r"self\.jpg: can't be read: too many levels of symbolic links"):
        read_bytes(itself.source, itself.name)


def test_a_missing_file_beside_good_ones_becomes_an_item_that_fails(tree):
    found = expand(["photos/img10.jpg", "absent.jpg", "none/*.png"])
    assert relative(found) == ["img10.jpg", "absent.jpg", "*.png"]


def test_nothing_but_missing_files_ends_the_run(tree):
    with pytest.raises(StorageError, match=r"^absent\.jpg: no such file or directory \(and 1 more\)$"):
        expand(["absent.jpg", "nor/this.png"])


def test_a_directory_without_photos_says_what_to_type(tree):
    (tree / "photos" / "only").mkdir()
    (tree / "photos" / "only" / "x.txt").write_bytes(b"")
    with pytest.raises(StorageError, match=r"no photos in it \(1 other files\)$"):
        expand(["photos/only"])
    (tree / "top").mkdir()
    (tree / "photos").rename(tree / "top" / "photos")
    with pytest.raises(StorageError, match="type -r"):
        expand(["top"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root enters every directory")
def test_a_closed_directory_below_is_an_item_that_fails(tree):
    closed = tree / "photos" / "closed"
    closed.mkdir(mode=0)
    try:
        one = next(i for i in expand(["photos"], recursive=True).inputs if i.name.endswith("closed"))
        with pytest.raises(ItemError, match="can't be looked into"):
            read_bytes(one.source, one.name)
    finally:
        closed.chmod(0o755)


def test_a_closed_directory_below_is_not_passed_over_in_silence(tree, monkeypatch):
    real = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "b" in relative(expand(["photos"], recursive=True))
    with pytest.raises(StorageError, match=r"^photos/b: can't be read: permission denied$"):
        expand(["photos/b"])


def test_nothing_typed_says_what_can_be():
    with pytest.raises(UsageError, match="--files-from"):
        expand([])
    with pytest.raises(UsageError, match="empty name"):
        expand([""])


def test_a_dash_is_the_bytes_on_stdin():
    (one,) = expand(["-"], stdin=BytesIO(b"photo")).inputs
    assert (one.name, one.relative, one.source, one.data) == ("-", PurePosixPath("stdin"), None, b"photo")


def test_stdin_is_read_once_only():
    with pytest.raises(UsageError, match="twice"):
        expand(["-", "-"], stdin=BytesIO())
    with pytest.raises(UsageError, match="twice"):
        expand(["-"], files_from="-", stdin=BytesIO())


@pytest.mark.parametrize(("null", "data"), [(False, b"b/2.jpg\r\na.jpg\n\n"), (True, b"b/2.jpg\0a.jpg\0")])
def test_names_come_from_a_list_and_keep_their_paths(tree, null, data):
    Path("a.jpg").write_bytes(b"x")
    found = expand([], files_from="-", null=null, stdin=BytesIO(data))
    assert relative(found) == ["b/2.jpg", "a.jpg"]


def test_a_listed_name_never_leaves_the_output_directory(tree):
    names = f"{tree}/photos/img10.jpg\n../{tree.name}/photos/img2.JPG\n".encode()
    assert relative(expand([], files_from="-", stdin=BytesIO(names))) == ["img10.jpg", "img2.JPG"]


def test_a_list_that_can_not_be_read_or_is_empty_ends_the_run(tree):
    with pytest.raises(StorageError, match=r"^nolist: the list of files can't be read: no such file"):
        expand([], files_from="nolist")
    with pytest.raises(StorageError, match="names no files"):
        expand([], files_from="-", stdin=BytesIO(b"\n"))


def test_the_same_file_twice_is_one_photo(tree):
    assert relative(expand(["photos/img10.jpg", "./photos/img10.jpg", "photos"])) == ["img10.jpg", "img2.JPG"]


def test_two_photos_with_one_output_name_are_refused_by_name(tree):
    with pytest.raises(UsageError, match=r"photos/img2\.JPG and other/img2\.JPG would both be written as img2\.JPG"):
        expand(["photos/img2.JPG", "other/img2.JPG"])


def test_collisions_of_any_output_names_are_found():
    refuse_collisions([("a.jpg", "x/a.png"), ("b.jpg", "x/b.png"), ("a.jpg", "x/a.png")])
    with pytest.raises(UsageError, match=r"a\.jpg and a\.webp would both be written as a\.png"):
        refuse_collisions([("a.jpg", "a.png"), ("a.webp", "a.png")])


ODD = [
    "with space.jpg",
    "new\nline.jpg",
    "ümläut 漢字.jpg",
    os.fsdecode(b"bad-\xff-utf8.jpg"),
    "-dash.jpg",
    "a" * 246 + ".jpg",
]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_survive_every_way_in(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    listed = os.fsencode(tmp_path / name) + b"\0"
    for found in (
        expand([str(tmp_path)]),
        expand([str(tmp_path / name)]),
        expand([str(tmp_path / "*.jpg")]),
        expand([], files_from="-", null=True, stdin=BytesIO(listed)),
    ):
        (one,) = found.inputs
        assert one.relative == PurePosixPath(name)
        assert one.source.read_bytes() == b"x"


@given(st.lists(st.text(st.sampled_from("ab12.é10"), min_size=1), max_size=6), st.randoms())
def test_natural_order_is_one_order_whatever_the_names(names, rng):
    shuffled = rng.sample(names, len(names))
    assert sorted(names, key=natural_key) == sorted(shuffled, key=natural_key)


def test_natural_order_counts_numbers():
    assert sorted(["img10", "img2", "Img1", "img02"], key=natural_key) == ["Img1", "img02", "img2", "img10"]


@given(st.lists(st.text(st.characters(blacklist_characters="\0\n\r", blacklist_categories=["Cs"]), min_size=1)))
def test_lists_of_names_are_read_back_as_they_were_written(names):
    lines, nulls = ("".join(name + end for name in names).encode() for end in ("\n", "\0"))
    assert read_names("-", stdin=BytesIO(lines)) == names
    assert read_names("-", null=True, stdin=BytesIO(nulls)) == names

"""What output files are called."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from segcli.core.ask import Ask
from segcli.core.errors import ItemError, UsageError
from segcli.io.formats.contract import Rendered
from segcli.pipeline.names import Names
from segcli.pipeline.plan import Item, Output


def item(relative: str) -> Item:
    return Item(PurePosixPath(relative), Path("/in") / relative, (Ask(),))


def file(n: int | None = None, kind: str = "mask", extension: str = ".png", label: str | None = None) -> Rendered:
    return Rendered(b"", extension, kind, n, label)


def named(relative, asks, rendered, *, template=None, formats=("mask",), beside=()) -> list[list[str]]:
    items = [item(relative), *map(item, beside)]
    return Names(items, Output(Path("out"), template, formats)).of(items[0], asks, rendered)


def test_the_tree_and_the_photos_own_name_are_kept():
    assert named("trip/a.jpg", [Ask()], [[file(1)]]) == [["trip/a.png"]]
    assert named("a.tar.jpg", [Ask()], [[file(1)]]) == [["a.tar.png"]]
    assert named(".hidden", [Ask()], [[file(1)]]) == [[".hidden.png"]]


def test_ask_and_number_appear_where_there_are_several():
    assert named("a.jpg", [Ask(), Ask(id="cat/1")], [[file(1)], [file(1), file(2)]]) == [
        ["a-1.png"],
        ["a-cat_1-1.png", "a-cat_1-2.png"],
    ]


def test_a_file_about_all_asks_together_has_the_photos_own_name():
    files = [[file(1)], [file(1)], [file(None, "palette")]]
    asks = [Ask(), Ask(id="cat"), None]
    assert named("a.jpg", asks, files, formats=("mask", "palette")) == [
        *(["mask/a-1.png"], ["mask/a-cat.png"], ["palette/a.png"])
    ]


def test_photos_that_differ_by_their_suffix_keep_it():
    assert named("a.jpg", [Ask()], [[file(1)]], beside=["a.webp", "b.jpg"]) == [["a.jpg.png"]]


def test_several_formats_have_directories_of_their_own():
    files = [file(1), file(None, "svg", ".svg")]
    assert named("trip/a.jpg", [Ask()], [files], formats=("mask", "svg")) == [["mask/trip/a.png", "svg/trip/a.svg"]]


def test_a_template_says_all_of_it_and_its_suffix_gives_way():
    template = "x/{parent}/{stem}-{name}-{label}-{n}-{ask}-{format}.png"
    files = [file(3, label="red mug")]
    assert named("p/a.jpg", [Ask(id="7")], [files], template=template) == [["x/p/a-a.jpg-red mug-3-7-mask.png"]]
    assert named("a.jpg", [Ask()], [[file(None, "svg", ".svg")]], template="{stem}.png") == [["a.svg"]]
    assert named("a.v2024.jpg", [Ask()], [[file()]], template="{stem}") == [["a.v2024.png"]]


@pytest.mark.parametrize("template", ["{nope}", "{", "{0}", "../{stem}", "/tmp/{stem}", "{stem.__class__}"])
def test_a_template_that_can_not_be_used_is_refused_by_name(template):
    with pytest.raises(UsageError, match="-o"):
        named("a.jpg", [Ask()], [[file()]], template=template)


def test_a_template_that_gives_two_photos_one_name_is_refused_before_anything_is_done():
    with pytest.raises(UsageError, match=r"x/a\.jpg and .*y/a\.jpg"):
        named("x/a.jpg", [Ask()], [[file()]], template="{stem}.png", beside=["y/a.jpg"])


def test_files_of_one_photo_with_one_name_are_refused():
    with pytest.raises(ItemError, match=r"\{n\}"):
        named("a.jpg", [Ask()], [[file(1), file(2)]], template="{stem}")


def test_a_path_that_leaves_the_directory_is_refused():
    with pytest.raises(ItemError, match="leave the output directory"):
        named("../a.jpg", [Ask()], [[file(1)]])


@pytest.mark.parametrize("name", [".", "..", "../..", "/etc"])
def test_no_name_of_an_ask_or_a_class_leads_out_of_the_directory(name):
    (paths,) = named("a.jpg", [Ask(id=name)], [[file(1, label=name)]], template="{ask}/{label}/{stem}.png")
    assert ".." not in PurePosixPath(paths[0]).parts
    assert paths[0].endswith("/a.png")
    assert len(PurePosixPath(paths[0]).parts) == 3

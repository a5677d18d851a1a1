"""Photos by URL, in fsspec's file system in memory and in the local one."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import PIL.Image
import pytest

from segcli.core.errors import ItemError, StorageError, UsageError
from segcli.io.images import read_bytes, read_image
from segcli.io.inputs import expand
from segcli.io.remote import Remote
from segcli.pipeline import identity

fsspec = pytest.importorskip("fsspec")


def picture(colour: str = "red") -> bytes:
    out = BytesIO()
    PIL.Image.new("RGB", (8, 6), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def store():
    """A store with a bucket of three photos, one of them in a directory, and a text."""
    system = fsspec.filesystem("memory")
    for name in ("shop/img10.png", "shop/img2.png", "shop/below/a.png"):
        system.pipe_file(f"/{name}", picture())
    system.pipe_file("/shop/notes.txt", b"hello")
    yield system
    system.rm("/", recursive=True)


def test_what_lies_below_a_url_is_found_in_natural_order_and_keeps_its_path(store):
    found = expand(["memory://shop"])
    assert [(str(i.relative), i.name) for i in found.inputs] == [
        ("img2.png", "memory://shop/img2.png"),
        ("img10.png", "memory://shop/img10.png"),
    ]
    assert found.skipped == 1
    assert [str(i.relative) for i in expand(["memory://shop"], recursive=True).inputs] == [
        *("below/a.png", "img2.png", "img10.png")
    ]


def test_an_object_is_read_like_a_file(store):
    (one,) = expand(["memory://shop/img2.png"]).inputs
    assert str(one.relative) == "img2.png"
    assert read_image(read_bytes(one.source, one.name), one.name).size == (6, 8)


def test_an_object_that_was_not_touched_is_the_same_one_and_another_content_is_not(store):
    source = Remote("memory://shop/img2.png")
    _, known = identity.read(source, "a")
    assert known.is_of(source)
    store.pipe_file("/shop/img2.png", picture())
    assert known.is_of(source)
    store.pipe_file("/shop/img2.png", picture("blue"))
    assert not known.is_of(source)


def test_a_missing_bucket_is_one_line(store):
    with pytest.raises(StorageError, match="memory://gone: no such object, directory or bucket"):
        expand(["memory://gone"])


def test_a_vanished_object_is_one_line_of_that_item(store):
    first, second = expand(["memory://shop"]).inputs
    store.rm("/shop/img2.png")
    with pytest.raises(ItemError, match=r"memory://shop/img2\.png: no such file"):
        read_bytes(first.source, first.name)
    assert read_bytes(second.source, second.name)


def test_a_store_that_refuses_is_one_line(store, monkeypatch):
    def refuse(*_args, **_more):
        raise RuntimeError("AccessDenied\nwhen calling")

    monkeypatch.setattr(type(store), "cat_file", refuse)
    with pytest.raises(ItemError, match=r"memory://shop/img2.png: can't be read: runtimeerror: accessdenied when"):
        read_bytes(Remote("memory://shop/img2.png"), "memory://shop/img2.png")
    monkeypatch.setattr(type(store), "isfile", refuse)
    with pytest.raises(StorageError, match="memory://shop: can't be looked at: RuntimeError"):
        expand(["memory://shop"])


def test_a_url_that_nothing_reads_is_said(store, monkeypatch):
    with pytest.raises(UsageError, match="nowhere"):
        expand(["nowhere://shop/a.png"])
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match=r"pip install 'segcli\[remote\]'"):
        expand(["memory://shop"])


def test_a_file_url_is_a_path_of_this_machine_and_needs_no_fsspec(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    (tmp_path / "a b.png").write_bytes(picture())
    (one,) = expand([f"file://{tmp_path}/a%20b.png"]).inputs
    assert one.source == tmp_path / "a b.png"
    assert isinstance(one.source, Path)

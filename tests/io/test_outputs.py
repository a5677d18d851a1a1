"""Typed URLs as places for results, and what lies there."""

from __future__ import annotations

import pytest

pytest.importorskip("fsspec")

from hypothesis import given
from hypothesis import strategies as st
from tests import stores
from tests.stores import hooked, refusing

from segcli.core.errors import StorageError, UsageError
from segcli.io import outputs
from segcli.io.remote import Remote


@pytest.mark.parametrize(
    ("typed", "place", "template"),
    [
        ("s3://b", "s3://b", None),
        ("s3://b/masks", "s3://b/masks", None),
        ("s3://b/masks/", "s3://b/masks", None),
        ("s3://b/v1.png/", "s3://b/v1.png", None),
        ("s3://b/all.jsonl", "s3://b", "all.jsonl"),
        ("s3://b/deep/all.JSON", "s3://b/deep", "all.JSON"),
        ("s3://b/{parent}/{stem}-{n}.png", "s3://b", "{parent}/{stem}-{n}.png"),
        ("s3://b/masks/{stem}.png", "s3://b/masks", "{stem}.png"),
        ("s3://photos.png", "s3://photos.png", None),
        ("memory://", "memory://", None),
        ("memory:///a/b.png", "memory:///a", "b.png"),
    ],
)
def test_a_typed_url_is_a_place_and_a_template(typed, place, template):
    assert outputs.split(typed, (".png", ".json", ".jsonl")) == (Remote(place), template)


def test_a_bucket_has_a_name_of_its_own():
    with pytest.raises(UsageError, match=r"^-o s3://\{stem\}/a\.png: name the bucket before the first braces$"):
        outputs.split("s3://{stem}/a.png", (".png",))


@given(st.lists(st.from_regex(r"[a-z{}.]{1,6}", fullmatch=True), min_size=1, max_size=4))
def test_place_and_template_together_are_what_was_typed(parts):
    typed = "s3://bucket/" + "/".join(parts)
    place, template = outputs.split(typed, (".png",))
    assert str(place if template is None else place / template) == typed
    assert "{" not in str(place)


@pytest.fixture
def root(tmp_path, monkeypatch):
    stores.install(tmp_path, monkeypatch)
    (tmp_path / "b/deep").mkdir(parents=True)
    for name in ("a", "deep/b", "deep/c"):
        (tmp_path / "b" / name).write_bytes(b"four")
    return tmp_path


@pytest.mark.parametrize("store", ["disk", "bucket"])
def test_a_directory_is_listed_once_however_many_of_its_files_are_asked_about(root, store):
    listed = []
    sizes = outputs.Sizes(Remote(f"{store}://b"))
    with hooked(lambda request, path: listed.append((request, path))):
        found = {path: sizes.of(path) for path in ("a", "deep/b", "deep/c", "deep/gone", "gone/a", "gone/b", "deep")}
    assert found == {"a": 4, "deep/b": 4, "deep/c": 4, "deep/gone": None, "gone/a": None, "gone/b": None, "deep": None}
    assert listed == [("ls", "b"), ("ls", "b/deep"), ("ls", "b/gone")]


def test_a_store_that_does_not_say_what_is_there_stops_the_run(root):
    with hooked(refusing(PermissionError("Forbidden"), "info", "ls")):
        for ask in (outputs.is_there, outputs.size):
            with pytest.raises(StorageError, match=r"^bucket://b/a: can't be looked at: no permission to look there$"):
                ask(Remote("bucket://b/a"))
        with pytest.raises(StorageError, match="bucket://b: can't be looked at"):
            outputs.Sizes(Remote("bucket://b")).of("a")


def test_paths_of_this_machine_are_asked_about_in_the_same_way(root):
    assert outputs.size(root / "b/a") == outputs.Sizes(root / "b").of("a") == 4
    assert outputs.size(root / "b/gone") is None
    assert (outputs.is_there(root / "b/a"), outputs.is_there(root / "gone")) == (True, False)

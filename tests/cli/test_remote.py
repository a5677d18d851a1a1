"""Photos by URL as typed: exit codes and lines."""

from __future__ import annotations

from io import BytesIO

import PIL.Image
import pytest

from .support import Here, read_mask

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store():
    system = fsspec.filesystem("memory")
    out = BytesIO()
    PIL.Image.new("RGB", (60, 50), "green").save(out, "PNG")
    for name in ("a", "b"):
        system.pipe_file(f"/bucket/{name}.png", out.getvalue())
    yield system
    system.rm("/", recursive=True)


def test_a_bucket_is_masked_like_a_directory_and_done_photos_are_skipped(here: Here, store):
    typed = ("point", "memory://bucket", "--at", "30,25", "-o", "out")
    assert here(*typed, model="discs").code == 0
    assert sorted(path.name for path in (here.cwd / "out").glob("*.png")) == ["a.png", "b.png"]
    assert read_mask(here.cwd / "out" / "a.png")[25, 30]
    assert "2 done before" in here(*typed, model="discs").stderr


def test_what_is_missing_has_its_exit_code(here: Here, store, monkeypatch: pytest.MonkeyPatch):
    gone = here("point", "memory://gone", "--at", "30,25", model="discs")
    assert (gone.code, gone.stderr) == (4, "seg point: memory://gone: no such object, directory or bucket\n")
    read = type(store).cat_file

    def vanished(self, path, *args, **more):
        if path.endswith("a.png"):
            raise FileNotFoundError(path)
        return read(self, path, *args, **more)

    monkeypatch.setattr(type(store), "cat_file", vanished)
    ran = here("point", "memory://bucket", "--at", "30,25", "-o", "out", model="discs")
    assert ran.code == 3
    assert "memory://bucket/a.png: no such file" in ran.stderr
    assert (here.cwd / "out" / "b.png").is_file()


def test_results_by_file_url_go_to_this_machine(here: Here, photo):
    assert here("point", photo, "--at", "30,25", "-o", f"file://{here.cwd}/out", model="discs").code == 0
    assert (here.cwd / "out" / "photo.png").is_file()

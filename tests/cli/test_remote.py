"""Photos by URL as typed: exit codes and lines."""

from __future__ import annotations

import sys
from io import BytesIO

import PIL.Image
import pytest

from .support import Here, make_photo, read_mask

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


def held(store) -> dict[str, bytes]:
    """What is in the bucket `done`, without the journal."""
    return {path: store.cat_file(path) for path in store.find("/done") if ".seg-journal" not in path}


def test_results_in_a_store_are_those_of_this_machine_and_are_skipped_when_they_are_there(here: Here, store):
    formats = "mask,palette,cutout,overlay,coco,panoptic,semantic,jsonl,labelme,yolo,svg,npz,ora"
    typed = ("point", "memory://bucket", "--at", "30,25", "-f", formats)
    assert here(*typed, "-o", "out", model="discs").code == 0
    assert here(*typed, "-o", "memory://done/deep", model="discs").code == 0
    local = {
        str(path.relative_to(here.cwd / "out")): path.read_bytes()
        for path in (here.cwd / "out").rglob("*")
        if path.is_file() and not path.name.startswith(".seg")
    }
    assert {path.removeprefix("/done/deep/"): data for path, data in held(store).items()} == local
    assert len(local) > 20
    again = here(*typed, "-o", "memory://done/deep", model="discs")
    assert (again.code, "2 done before" in again.stderr) == (0, True)


def test_existing_objects_are_refused_and_replaced_with_force(here: Here, store):
    typed = ("point", "memory://bucket", "-o", "memory://done")
    here(*typed, "--at", "30,25", model="discs")
    before = held(store)
    refused = here(*typed, "--at", "10,10", model="discs")
    assert (refused.code, held(store)) == (3, before)
    assert "memory://done/a.png exists, made with other options: --force replaces it" in refused.stderr
    assert here(*typed, "--at", "10,10", "--force", model="discs").code == 0
    assert held(store) != before


@pytest.mark.parametrize(("kind", "name"), [("jsonl", "all.jsonl"), ("coco", "labels.json")])
def test_one_file_for_all_photos_is_called_as_typed_here_and_in_a_store(here: Here, store, kind, name):
    typed = ("point", "memory://bucket", "--at", "30,25", "-f", kind)
    assert here(*typed, "-o", f"out/{name}", model="discs").code == 0
    assert here(*typed, "-o", f"memory://done/{name}", model="discs").code == 0
    assert held(store) == {f"/done/{name}": (here.cwd / "out" / name).read_bytes()}
    several = here("point", "memory://bucket", "--at", "30,25", "-o", "memory://done/one.png", model="discs")
    assert (several.code, "add {stem} to the template" in several.stderr) == (2, True)


def test_a_template_names_objects(here: Here, store):
    typed = ("point", "memory://bucket", "--at", "30,25", "-o", "memory://done/{stem}/mask-{n}.png")
    assert here(*typed, model="discs").code == 0
    assert sorted(held(store)) == ["/done/a/mask-1.png", "/done/b/mask-1.png"]


def test_results_below_the_photos_are_no_photos(here: Here, store):
    typed = ("point", "memory://bucket", "-r", "--at", "30,25", "-o", "memory://bucket/masks")
    assert here(*typed, model="discs").code == 0
    again = here(*typed, model="discs")
    assert (again.code, "2 done before of 2" in again.stderr) == (0, True)


def test_an_object_whose_name_leads_out_of_the_directory_is_refused(here: Here, store):
    store.store["/bucket/deep/../../evil.png"] = store.store["/bucket/a.png"]
    ran = here("point", "memory://bucket", "-r", "--at", "30,25", "-o", "memory://done/masks", model="discs")
    assert ran.code == 3
    assert "would leave the output directory" in ran.stderr
    assert sorted(held(store)) == ["/done/masks/a.png", "/done/masks/b.png"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError("Access Denied"), "no permission to write there"),
        (FileNotFoundError("NoSuchBucket"), "no such bucket or directory"),
        (TimeoutError(), "the store gives no answer"),
    ],
    ids=["denied", "missing", "silent"],
)
def test_an_output_that_takes_nothing_is_one_line_and_exit_code_4(here: Here, store, monkeypatch, error, line):
    from segcli.io import remote

    def refuse(self, path, value, **more):
        raise error

    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(type(store), "pipe_file", refuse)
    ran = here("point", "memory://bucket", "--at", "30,25", "-o", "memory://done", model="discs")
    assert (ran.code, ran.stderr) == (4, f"seg point: memory://done: can't be written: {line}\n")
    lines = tmp_lines(here)
    ran = here("masks", "convert", lines, "-f", "coco", "-o", "memory://done", model=None)
    assert (ran.code, ran.stderr) == (4, f"seg masks: memory://done/instances.json: can't be written: {line}\n")
    assert held(store) == {}


def test_an_upload_that_is_cut_in_the_middle_leaves_what_is_whole_and_the_next_run_goes_on(
    here: Here, store, monkeypatch
):
    pipe = type(store).pipe_file

    def cut(self, path, value, **more):
        if path.endswith("b.png"):
            raise OSError("the line was cut")
        pipe(self, path, value, **more)

    typed = ("point", "memory://bucket", "--at", "30,25", "-o", "memory://done")
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "pipe_file", cut)
        ran = here(*typed, model="discs")
    assert ran.code == 4
    assert "seg point: memory://done/b.png: can't be written: the line was cut\n" in ran.stderr
    assert set(held(store)) <= {"/done/a.png"}
    assert here(*typed, model="discs").code == 0
    assert sorted(held(store)) == ["/done/a.png", "/done/b.png"]


def test_an_input_that_may_not_be_read_is_one_line_and_exit_code_4(here: Here, store, monkeypatch):
    def refuse(*_args, **_more):
        raise PermissionError("Forbidden")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "find", refuse)
        ran = here("point", "memory://bucket", "--at", "30,25", model="discs")
    assert (ran.code, ran.stderr) == (
        4,
        "seg point: memory://bucket: can't be looked at: no permission to look there\n",
    )


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("nowhere://bucket/masks", "Protocol not known: nowhere"),
        ("https://example.org/masks", "web servers take no files"),
        ("simplecache::memory://done", "give the URL of the store itself"),
        ("memory://{stem}/masks", "name the bucket before the first braces"),
    ],
)
def test_a_url_that_takes_no_results_is_refused(here: Here, photo, typed, line):
    ran = here("point", photo, "--at", "30,25", "-o", typed, model="discs")
    assert (ran.code, line in ran.stderr, ran.stderr.count("\n")) == (2, True, 1)
    assert list(here.cwd.iterdir()) == [photo]


def test_a_store_whose_package_is_missing_says_what_to_install(here: Here, photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    ran = here("point", photo, "--at", "30,25", "-o", "s3://bucket/masks", model="discs")
    assert (ran.code, ran.stderr) == (
        2,
        "seg point: s3://bucket/masks: s3fs is not installed; type pip install s3fs\n",
    )
    monkeypatch.setitem(sys.modules, "fsspec", None)
    ran = here("point", photo, "--at", "30,25", "-o", "s3://bucket/masks", model="discs")
    assert (ran.code, "type pip install 'segcli[remote]'" in ran.stderr) == (2, True)


def test_what_is_followed_in_videos_stays_on_this_machine(here: Here, photo):
    ran = here("vos", photo, "--first", photo, "-o", "s3://bucket/out", model=None)
    assert (ran.code, "is written to this machine" in ran.stderr) == (2, True)


def tmp_lines(here: Here):
    """A file of masks, made by a run of another directory."""
    ran = here("point", "memory://bucket", "--at", "30,25", "-f", "jsonl", "-o", "-", model="discs")
    path = here.cwd / "lines.jsonl"
    path.write_bytes(ran.stdout)
    return path


def test_masks_are_converted_into_a_store_and_what_is_there_is_not_replaced(here: Here, store):
    lines = tmp_lines(here)
    typed = ("masks", "convert", lines, "-f", "mask,coco", "-o", "memory://done")
    assert here(*typed, model=None).code == 0
    before = held(store)
    assert sorted(before) == ["/done/instances.json", "/done/mask/a.png", "/done/mask/b.png"]
    assert here(*typed, model=None).code == 0
    store.pipe_file("/done/mask/a.png", b"mine")
    refused = here(*typed, model=None)
    assert (refused.code, store.cat_file("/done/mask/a.png")) == (3, b"mine")
    assert "memory://done/mask/a.png: exists and holds something else" in refused.stderr
    assert here(*typed, "--force", model=None).code == 0
    assert held(store) == before
    assert here("masks", "convert", lines, "-o", "memory://done/all.jsonl", model=None).code == 0
    assert store.cat_file("/done/all.jsonl").count(b"\n") == 2


def test_file_urls_work_for_photos_and_results_in_a_process_of_its_own(seg, tmp_path):
    make_photo(tmp_path / "in put" / "a.png")
    typed = ("point", f"file://{tmp_path}/in%20put", "--at", "30,25", "-o")
    assert seg(*typed, f"file://{tmp_path}/o/{{stem}}-x.png").code == 0
    assert read_mask(tmp_path / "o" / "a-x.png")[25, 30]
    denied = seg(*typed, "file:///proc/none/out")
    assert (denied.code, denied.stderr.count("\n")) == (4, 1)


def test_a_file_url_of_nothing_is_one_line(here: Here):
    gone = here("point", f"file://{here.cwd}/gone.png", "--at", "30,25", model="discs")
    assert (gone.code, gone.stderr) == (4, f"seg point: {here.cwd}/gone.png: no such file or directory\n")


def test_masks_of_a_store_are_read_by_url(here: Here, store):
    lines = tmp_lines(here)
    for kind, below in (("coco", ""), ("mask", ""), ("jsonl", "/masks.jsonl"), ("palette", "/a.png"), ("svg", "/")):
        assert here("masks", "convert", lines, "-f", kind, "-o", f"memory://done/{kind}", model=None).code == 0
        read = here("masks", "stats", f"memory://done/{kind}{below}", "--json", "--each", model=None)
        assert (read.code, read.stderr) == (0, "")
        areas = [line["area"] for line in read.lines if "area" in line]
        assert areas[0] == max(areas) > 1000
    compared = here("masks", "iou", "memory://done/coco", lines, model=None)
    assert compared.stdout.decode().splitlines()[-1] == "1.0000  mean of 2 pairs in 2 photos"


def test_masks_that_can_t_be_had_from_a_store_are_one_line(here: Here, store, monkeypatch):
    gone = here("masks", "stats", "memory://gone/all.jsonl", model=None)
    assert (gone.code, gone.stderr) == (
        4,
        "seg masks: memory://gone/all.jsonl: no such object, directory or bucket\n",
    )
    store.pipe_file("/done/masks/a.svg", b"<nonsense")
    broken = here("masks", "stats", "memory://done/masks", model=None)
    assert (broken.code, broken.stderr.count("\n")) == (3, 1)
    assert broken.stderr.startswith("seg masks: memory://done/masks/a.svg: ")
    store.store["/done/out/../../evil.svg"] = store.store["/done/masks/a.svg"]
    out = here("masks", "stats", "memory://done/out", model=None)
    assert (out.code, "leads out of memory://done/out" in out.stderr) == (3, True)

    def vanished(self, path, *_args, **_more):
        raise FileNotFoundError(path)

    monkeypatch.setattr(type(store), "get_file", vanished, raising=False)
    lost = here("masks", "stats", "memory://done/masks", model=None)
    assert (lost.code, lost.stderr) == (3, "seg masks: memory://done/masks/a.svg: no such file\n")

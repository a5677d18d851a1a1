"""Pulling from a hub that cuts, lies, refuses and hangs: never a broken file that passes for a whole one."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from segcli.core.errors import CheckpointError, StorageError
from segcli.registry import hashes, notes, places
from segcli.registry import hub as hub_module
from segcli.registry.load import files_of
from segcli.registry.pull import make_ready
from segcli.registry.sizes import words
from segcli.registry.weights import File

from .conftest import HURRY, entry
from .hub_server import COMMIT, Hub

DATA = random.Random(5).randbytes(2_000_000)
NAME = "org/model/model.safetensors"
FILE = File("model.safetensors")


def pull(one: Any = None, file: File = FILE) -> tuple[Path, list[str]]:
    said: list[str] = []
    return make_ready(one or entry(file), file, say=said.append, patience=HURRY), said


def leftovers(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "hf").rglob("*") if p.is_file() and "blobs" in p.parts)


def test_a_pulled_file_is_where_the_hubs_own_library_finds_it(hub: Hub, home: Path) -> None:
    sha256 = hub.put(NAME, DATA)
    path, said = pull()
    assert path.read_bytes() == DATA
    code = (
        "from huggingface_hub import hf_hub_download, scan_cache_dir\n"
        "print(hf_hub_download('org/model', 'model.safetensors', local_files_only=True))\n"
        "print(scan_cache_dir().size_on_disk, len(scan_cache_dir().warnings))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert Path(found[0]) == path
    assert found[1:] == [str(len(DATA)), "0"]
    assert path.is_symlink()
    assert path.resolve().name == sha256
    assert said == ["seg: pulling test.one: model.safetensors, 2.00 MB, from org/model (mit)"]


def test_a_file_that_the_hubs_own_library_downloaded_is_found(hub: Hub) -> None:
    """Which shows too that our small hub speaks as the hub does."""
    hub.put(NAME, DATA)
    code = "from huggingface_hub import hf_hub_download\nprint(hf_hub_download('org/model', 'model.safetensors'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    asked = len(hub.log)
    path, said = pull()
    assert str(path) == done.stdout.strip()
    assert (len(hub.log), said) == (asked, [])


def test_a_file_that_is_here_is_not_asked_for_again(hub: Hub) -> None:
    hub.put(NAME, DATA)
    pull()
    asked = len(hub.log)
    _, said = pull()
    assert (len(hub.log), said) == (asked, [])


def test_a_pinned_commit_is_asked_for_and_found_again_without_refs(hub: Hub) -> None:
    hub.put(NAME, DATA)
    one = entry(FILE, revision=COMMIT)
    path, _ = pull(one)
    assert path.parent.name == COMMIT
    assert places.original(one, FILE) == path
    assert not (places.repository_folder(one) / "refs").exists()


def test_a_connection_cut_at_ten_places_still_gives_the_whole_file(hub: Hub) -> None:
    hub.put(NAME, DATA)
    rng = random.Random(10)
    hub.cuts = sorted(rng.sample(range(1, len(DATA)), 10))
    cuts = list(hub.cuts)
    path, _ = pull()
    assert path.read_bytes() == DATA
    ranges = [headers.get("range") for headers in hub.bodies if "range" in headers]
    assert sorted(set(ranges)) == sorted(f"bytes={cut}-" for cut in cuts)


@pytest.mark.parametrize("seed", range(10))
def test_another_process_goes_on_where_one_was_cut(hub: Hub, home: Path, seed: int) -> None:
    sha256 = hub.put(NAME, DATA)
    cut = random.Random(seed).randrange(1, len(DATA))
    blobs = places.repository_folder(entry(FILE)) / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{sha256}.incomplete").write_bytes(DATA[:cut])
    path, _ = pull()
    assert path.read_bytes() == DATA
    assert [headers["range"] for headers in hub.bodies if "range" in headers] == [f"bytes={cut}-"]
    assert leftovers(home) == [sha256]


def test_a_server_that_ignores_ranges_is_read_from_the_start(hub: Hub) -> None:
    hub.put(NAME, DATA)
    hub.cuts, hub.ignore_ranges = [1000, 1_250_000], True
    path, _ = pull()
    assert path.read_bytes() == DATA


def test_wrong_bytes_that_an_earlier_process_left_are_replaced(hub: Hub, home: Path) -> None:
    sha256 = hub.put(NAME, DATA)
    blobs = places.repository_folder(entry(FILE)) / "blobs"
    blobs.mkdir(parents=True)
    for left in (bytes(1000), bytes(len(DATA)), bytes(len(DATA) + 5)):
        (blobs / f"{sha256}.incomplete").write_bytes(left)
        path, _ = pull()
        assert path.read_bytes() == DATA
        path.unlink()
        path.parent.joinpath("../../blobs", sha256).unlink()


def test_wrong_bytes_are_refused_and_leave_nothing(hub: Hub, home: Path) -> None:
    hub.put(NAME, DATA)
    hub.garble = True
    with pytest.raises(CheckpointError, match=r"test\.one: model\.safetensors: wrong bytes came \(sha256"):
        pull()
    assert leftovers(home) == []
    assert places.original(entry(FILE), FILE) is None


def test_a_small_file_is_checked_with_gits_hash(hub: Hub, home: Path) -> None:
    hub.put(NAME, DATA, small=True)
    path, _ = pull()
    assert path.read_bytes() == DATA
    hub.put("org/model/other.safetensors", DATA + b"1", small=True)
    hub.garble = True
    with pytest.raises(CheckpointError, match="wrong bytes"):
        pull(file=File("other.safetensors"))


def test_another_hash_than_the_pinned_one_is_refused_before_any_byte(hub: Hub) -> None:
    hub.put(NAME, DATA)
    with pytest.raises(CheckpointError, match=r"another one than weights.toml pins"):
        pull(file=File("model.safetensors", sha256="a" * 64))
    assert hub.bodies == []


def test_an_unknown_hash_is_noted_at_the_first_pull_and_held_to(hub: Hub) -> None:
    sha256 = hub.put(NAME, DATA)
    path, _ = pull()
    assert notes.recall()["test.one/model.safetensors"] == {"sha256": sha256, "size": len(DATA), "commit": COMMIT}
    path.unlink()
    hub.put(NAME, DATA + b"changed")
    with pytest.raises(CheckpointError, match="another one"):
        pull()


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (404, {"X-Error-Code": "EntryNotFound"}, r"org/model has no file model.safetensors \(404\)"),
        (401, {"X-Error-Code": "GatedRepo"}, "org/model is gated; accept its licence .* set HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "org/model is gated"),
        (401, {"X-Error-Code": "RepoNotFound"}, r"private or does not exist \(401\); set HF_TOKEN"),
        (429, {"Retry-After": "900"}, r"asks to wait 900 s \(429\)"),
        (500, {}, r"the hub failed \(500\)"),
        (418, {}, r"refused model.safetensors \(418\)"),
    ],
)
def test_a_refusal_of_the_hub_is_one_clear_line(hub: Hub, status: int, headers: dict[str, str], words: str) -> None:
    hub.put(NAME, DATA)
    hub.head_statuses = [(status, headers)] * 9
    with pytest.raises(CheckpointError, match=words) as caught:
        pull()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5


def test_too_many_requests_wait_as_long_as_they_are_told(hub: Hub) -> None:
    hub.put(NAME, DATA)
    waits: list[float] = []
    hub.head_statuses = [(429, {"Retry-After": "3"})]
    hub.body_statuses = [(429, {"Retry-After": "2"}), (503, {})]
    patience = hub_module.Patience(tries=4, pause=0.5, timeout=1, sleep=waits.append)
    path = make_ready(entry(FILE), FILE, say=lambda line: None, patience=patience)
    assert path.read_bytes() == DATA
    assert 3 in waits
    assert 2 in waits


def test_a_body_that_is_refused_is_not_asked_for_again(hub: Hub) -> None:
    hub.put(NAME, DATA)
    hub.body_statuses = [(403, {})] * 5
    with pytest.raises(CheckpointError, match=r"refused it \(403\)"):
        pull()
    assert len(hub.body_statuses) == 4


@pytest.mark.parametrize("where", ["hang", "hang_head"])
def test_a_server_that_hangs_is_given_up(hub: Hub, home: Path, where: str) -> None:
    hub.put(NAME, DATA)
    setattr(hub, where, True)
    soon = dataclasses.replace(HURRY, tries=2, timeout=0.3)
    with pytest.raises(CheckpointError, match="no answer in time"):
        make_ready(entry(FILE), FILE, say=lambda line: None, patience=soon)
    assert places.original(entry(FILE), FILE) is None
    hub.hang = hub.hang_head = False
    path, _ = pull()
    assert path.read_bytes() == DATA


def test_a_server_that_is_no_hub_is_named(hub: Hub) -> None:
    hub.put(NAME, DATA)
    hub.head_statuses = [(200, {"ETag": '"../../escape"', "X-Repo-Commit": COMMIT})]
    with pytest.raises(CheckpointError, match="does not answer like a hub; check HF_ENDPOINT"):
        pull()
    hub.head_statuses = [(200, {"ETag": '"abc"', "X-Repo-Commit": "../../../../etc"})]
    with pytest.raises(CheckpointError, match="does not answer like a hub"):
        pull()


def test_another_commit_than_the_pinned_one_is_refused(hub: Hub) -> None:
    hub.put(NAME, DATA)
    with pytest.raises(CheckpointError, match="instead of the pinned one"):
        pull(entry(FILE, revision="f" * 40))


def test_the_token_is_shown_to_the_hub_and_not_to_the_store(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put(NAME, DATA)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull()
    shown = {path.startswith("/lfs/"): headers.get("authorization") for _, path, headers in hub.log}
    assert shown == {False: "Bearer hf_secret", True: None}


def test_proxies_of_the_environment_are_used(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", hub.endpoint)
    hub.head_statuses = [(404, {"X-Error-Code": "EntryNotFound"})]
    with pytest.raises(CheckpointError, match="404"):
        pull()
    assert [path for _, path, _ in hub.log] == ["http://hub.invalid/org/model/resolve/main/model.safetensors"]


def test_a_full_disk_is_a_storage_error_and_the_part_is_gone_on_from(hub: Hub, home: Path) -> None:
    """A limit on the size of files stands for the full disk: the write itself fails, as ENOSPC would."""
    hub.put(NAME, DATA)
    code = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "from segcli.registry.weights import Entry, File\n"
        "from segcli.registry.pull import make_ready\n"
        "from segcli.core.errors import SegError\n"
        "f = File('model.safetensors')\n"
        "e = Entry('test.one', 'seem', 'nano', 'seg', 'mit', frozenset(), hub='org/model', files=(f,))\n"
        "try: make_ready(e, f, say=print)\n"
        "except SegError as error: print(error); raise SystemExit(error.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "no space left in" in done.stdout
    assert "set HF_HOME to a larger disk" in done.stdout
    assert places.original(entry(FILE), FILE) is None
    path, _ = pull()
    assert path.read_bytes() == DATA
    assert any(headers.get("range") == "bytes=100000-" for headers in hub.bodies)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full_is_named_before_the_first_byte(hub: Hub, home: Path) -> None:
    disk = home / "hf"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("this machine does not let even root mount")
    try:
        hub.put(NAME, DATA)
        with pytest.raises(StorageError, match=r"no space left .* bytes are needed and"):
            pull()
        assert hub.bodies == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("step", ["fsync", "replace", "symlink_to"])
def test_a_disk_that_fails_at_any_step_leaves_nothing_that_passes_for_whole(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    hub.put(NAME, DATA)

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(os if step == "fsync" else Path, step, fail)
        if step == "symlink_to":
            broken.setattr(Path, "replace", fail)
        with pytest.raises(StorageError) as caught:
            pull()
        assert "\n" not in str(caught.value)
    assert places.original(entry(FILE), FILE) is None
    path, _ = pull()
    assert path.read_bytes() == DATA


def test_a_file_outside_of_the_hub_is_pulled_and_checked(hub: Hub, home: Path) -> None:
    sha256 = hub.put("a/b/x", DATA)
    one = entry(File(sha256, len(DATA), sha256), hub="", url=f"{hub.cdn}/lfs/")
    path, said = pull(one, one.files[0])
    assert path.read_bytes() == DATA
    assert path.is_relative_to(home / "seg-cache")
    assert said[0].startswith(f"seg: pulling test.one: {sha256}, 2.00 MB, from {hub.cdn}")


def test_offline_nothing_is_asked_and_the_line_says_what_to_type(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put(NAME, DATA)
    with pytest.raises(CheckpointError, match=r"seg is offline; type `seg models pull test.one`"):
        make_ready(entry(FILE), FILE, offline=True, say=lambda line: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="seg is offline"):
        pull()
    assert hub.log == []


def test_without_a_network_the_line_says_what_to_type(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"can't be reached: Connection refused; type `seg models pull test.one`"):
        pull()


def test_a_link_that_leads_out_of_the_cache_is_refused(hub: Hub, home: Path) -> None:
    hub.put(NAME, DATA)
    path, _ = pull()
    secret = home / "secret.safetensors"
    secret.write_bytes(DATA)
    path.unlink()
    path.symlink_to(secret)
    assert places.original(entry(FILE), FILE) is None
    with pytest.raises(CheckpointError, match="leads out of the hub's cache; remove it, then pull again"):
        pull()


def pickled(hub: Hub, tmp_path: Path) -> tuple[Any, File]:
    torch.save({"w": torch.ones(3)}, tmp_path / "w.pt")
    data = (tmp_path / "w.pt").read_bytes()
    file = File("w.pt", len(data), hub.put("org/model/w.pt", data))
    return entry(file), file


def test_the_first_use_of_a_model_says_its_size_pulls_and_converts(hub: Hub, tmp_path: Path) -> None:
    one, file = pickled(hub, tmp_path)
    said: list[str] = []
    (path,) = files_of(one, say=said.append, quiet=True)
    assert safetensors.torch.load_file(path)["w"].tolist() == [1, 1, 1]
    assert said == [
        f"seg: pulling test.one: w.pt, {words(file.size)}, from org/model (mit)",
        "seg: converting test.one: w.pt to safetensors, once",
    ]
    assert files_of(one, offline=True, say=said.append) == [path]
    assert len(said) == 2


def test_a_pickle_that_another_tool_left_in_the_cache_is_held_to_its_pin(hub: Hub, tmp_path: Path) -> None:
    one, file = pickled(hub, tmp_path)
    (converted,) = files_of(one, say=lambda line: None, quiet=True)
    converted.unlink()
    blob = places.original(one, file)
    assert blob is not None
    blob.resolve().write_bytes(b"x" * file.size)
    with pytest.raises(CheckpointError, match=r"is not the pinned file .* type `seg models rm test.one`"):
        files_of(one, say=lambda line: None, quiet=True)
    assert not converted.exists()
    blob.resolve().write_bytes(b"x")
    with pytest.raises(CheckpointError, match=f"has 1 bytes and should have {file.size}"):
        files_of(one, say=lambda line: None, quiet=True)


def test_a_cached_file_that_changed_is_refused_when_it_is_opened(hub: Hub) -> None:
    """Also without a pin: the hash noted at the first pull holds."""
    hub.put(NAME, DATA)
    path, _ = pull()
    assert files_of(entry(FILE)) == [path]
    path.resolve().write_bytes(DATA[:-1] + b"x")
    with pytest.raises(CheckpointError, match="is not the pinned file"):
        files_of(entry(FILE))


def test_a_large_file_is_hashed_again_only_when_it_changed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "WORTH_NOTING", 10)
    read: list[Path] = []
    monkeypatch.setattr(hashes, "sha256_of", lambda path: read.append(path) or "0" * 64)
    path = tmp_path / "x.bin"
    for data, times in ((b"a" * 20, 1), (b"a" * 20, 1), (b"b" * 21, 2)):
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
        hashes._hash.cache_clear()  # another process
        hashes.sha256(path)
        assert len(read) == times

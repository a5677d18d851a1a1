"""weights.toml: every entry sound, every fault named, names found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segcli.core.ask import PromptKind
from segcli.core.errors import CheckpointError, UsageError
from segcli.registry import weights, writer
from segcli.registry.weights import ACCEPTS, File, catalogue, find, match, parse

GOOD = """
[my.model]
system = "seem"
config = "nano"
folder = "/somewhere"
files = [{ name = "a.safetensors", size = 3 }]
licence = "mit"
accepts = ["point"]
"""


def test_the_words_of_accepts_are_those_of_core() -> None:
    assert set(ACCEPTS) == {kind.value for kind in PromptKind}


@pytest.mark.usefixtures("home")
def test_every_shipped_entry_says_where_it_comes_from() -> None:
    entries = catalogue()
    assert len(entries) >= 30
    for entry in entries.values():
        assert entry.licence or entry.notes, entry.name
        assert entry.accepts, entry.name
        assert entry.files or entry.bundled or entry.notes, entry.name
        for file in entry.files:
            assert not file.sha256 or len(file.sha256) == 64, entry.name
    hashes = [file.sha256 for entry in entries.values() for file in entry.files if file.sha256]
    assert len(hashes) == len(set(hashes))


@pytest.mark.usefixtures("home")
def test_the_six_released_files_of_seem_are_pinned() -> None:
    seem = [entry for entry in match("seem.*") if entry.hub == "xdecoder/SEEM"]
    assert len(seem) == 6
    assert all(file.sha256 and file.size for entry in seem for file in entry.files)


@pytest.mark.usefixtures("home")
def test_gated_repositories_are_marked() -> None:
    assert {entry.name for entry in catalogue().values() if entry.gated} == {
        "sam.sam3",
        "sam.sam3-original",
        "sam.sam3.1-original",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("system", "System"), "stands outside|is not a key|`system`"),
        (('"seem"', '"../seem"'), "`system` can't be '../seem'"),
        (('"seem"', "7"), "`system` must be one line of text"),
        (('"nano"', '"a\\nb"'), "`config` must be one line"),
        (('licence = "mit"', ""), "`licence` is missing"),
        (('["point"]', '["pointing"]'), "`accepts` can't hold 'pointing'; choose from point"),
        (('["point"]', '"point"'), "`accepts` must be a list"),
        (('["point"]', "[1]"), "`accepts` must be a list"),
        (("a.safetensors", "../a.safetensors"), "a file can't be called '../a.safetensors'"),
        (("a.safetensors", "/etc/passwd"), "a file can't be called '/etc/passwd'"),
        (("size = 3", "size = -3"), "`size` must be a number of bytes"),
        (("size = 3", "size = true"), "`size` must be a number of bytes"),
        (("size = 3", 'sha256 = "abc"'), "`sha256` can't be 'abc'"),
        (('"/somewhere"', '"/somewhere"\nhub = "a/b"'), "exactly one of `hub`"),
        (('folder = "/somewhere"', ""), "exactly one of `hub`"),
        (('folder = "/somewhere"', 'hub = "no-slash"'), "`hub` can't be 'no-slash'"),
        (('folder = "/somewhere"', 'url = "http://plain.example/x"'), "`url` can't be"),
        (('folder = "/somewhere"', 'hub = "a/b"\nrevision = "../x"'), "`revision` can't"),
        (('folder = "/somewhere"', 'bundled = ["x.safetensors"]'), "`bundled` is for files that come with seg"),
        (("[my.model]", "[my.model]\nexecute = 'rm'"), "`execute` is not a key that seg knows"),
        (("[my.model]", "[my.Model]"), "a name has small letters"),
        (("[my.model]", "x = 1\n[my.model]"), "'x' stands outside of a checkpoint's table"),
        (("[my.model]", "[my.model"), "not valid TOML"),
        (("[my.model]", "[empty]\n[my.model]"), r"\[empty\] is empty"),
    ],
)
def test_a_fault_is_one_line_with_file_entry_and_key(change: tuple[str, str], words: str) -> None:
    assert parse(GOOD, "mine.toml")["my.model"].files == (File("a.safetensors", 3),)
    text = GOOD.replace(*change)
    assert text != GOOD
    with pytest.raises(UsageError, match=words) as caught:
        parse(text, "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert "\n" not in str(caught.value)


def test_the_entry_in_the_documents_is_sound() -> None:
    text = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    assert list(parse(example, "docs")) == ["my.model"]


def test_the_users_own_entries_are_added(home: Path) -> None:
    own = home / "config" / "seg" / "weights.toml"
    own.write_text(GOOD)
    assert find("my.model").source == str(own)
    assert len(catalogue()) == len(weights.read(weights.shipped_file(), weights.BUILT_IN)) + 1


def test_the_users_own_file_can_not_replace_an_entry(home: Path) -> None:
    own = home / "config" / "seg" / "weights.toml"
    own.write_text(GOOD.replace("my.model", "seem.focal-t-v1"))
    with pytest.raises(UsageError, match=r"\[seem.focal-t-v1\] stands in seg's own weights.toml already"):
        catalogue()


@pytest.mark.usefixtures("home")
def test_names_globs_and_near_misses() -> None:
    assert find("seem.focal-t-v1").config
    assert [entry.name for entry in match("seem.focal-?-v1")] == ["seem.focal-t-v1", "seem.focal-l-v1"]
    with pytest.raises(UsageError, match=r"fits seem.focal-t-v1, seem.focal-l-v1; give one"):
        find("seem.focal-?-v1")
    with pytest.raises(UsageError, match=r"did you mean .*seem.focal-t-v1"):
        find("seem.focal-t-v9")
    with pytest.raises(UsageError, match="see `seg models list`"):
        find("zzzz")


def test_a_file_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    said = {
        "seg.system": "seem",
        "seg.config": '{"dim": 64}',
        "seg.accepts": "point,box",
        "seg.bundled": "lite0.safetensors",
    }
    writer.save(path, {"w": torch.ones(1)}, said)
    entry = find(str(path))
    assert (entry.name, entry.config, entry.accepts) == ("mine", {"dim": 64}, {"point", "box"})
    assert entry.bundled == ("lite0.safetensors",)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, r"does not say what it is .*`seg models convert .* --as NAME`"),
        ({"seg.system": "seem", "seg.config": "nano"}, "no seg.accepts"),
        ({"seg.system": "seem", "seg.config": "{", "seg.accepts": "point"}, "seg.config in its metadata is not JSON"),
        ({"seg.system": "seem", "seg.config": "nano", "seg.accepts": "magic"}, "can't be true"),
        ({"seg.system": "seem", "seg.config": "n", "seg.accepts": "box", "seg.bundled": "../x"}, "can't be true"),
    ],
)
def test_a_file_that_does_not_say_what_it_is_is_refused(tmp_path: Path, said: dict[str, str], words: str) -> None:
    path = tmp_path / "mine.safetensors"
    writer.save(path, {"w": torch.ones(1)}, said)
    with pytest.raises(CheckpointError, match=words):
        find(str(path))


def test_a_missing_file_and_a_pickle_say_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file; see `seg models list`"):
        find(str(tmp_path / "gone.safetensors"))
    with pytest.raises(UsageError, match="first type `seg models convert"):
        find(str(tmp_path / "x.pt"))


def test_a_weights_toml_starts_no_code(tmp_path: Path, home: Path) -> None:
    """A plug-in's entries are read while its package is not imported; a system that nobody installed can't be named."""
    package = tmp_path / "site" / "evil"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "weights.toml").write_text(GOOD.replace("my.model", "evil.one").replace("seem", "evil"))
    info = tmp_path / "site" / "evil-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[seg.models]\nevil = evil:build\nseem = evil:build\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "from segcli.registry.weights import find\nfrom segcli.registry import plugins\n"
        "print(find('evil.one').system, plugins.is_built('evil'), plugins.is_built('os'), end=' ')\n"
        "print('seem' in plugins.installed())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["evil", "True", "False", "False"], done.stderr

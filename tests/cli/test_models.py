"""`seg models`: what a person sees, from the first list to the last byte removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from segcli.cli.app import main
from segcli.registry import weights, writer
from tests.registry.conftest import home, hub  # noqa: F401
from tests.registry.hub_server import Hub

Run = Callable[..., tuple[int, str, str]]
WEIGHTS = {"w": torch.arange(6.0).reshape(2, 3)}


@pytest.fixture
def seg(capfd: pytest.CaptureFixture[str], home: Path) -> Run:  # noqa: F811
    """Runs `seg models …` in this process and gives exit code, stdout, stderr."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        code: int | str | None = 0
        try:
            main(["models", *map(str, words)])
        except SystemExit as end:
            code = end.code
        said = capfd.readouterr()
        return int(code or 0), said.out, said.err

    return run


@pytest.fixture
def pickle(tmp_path: Path, hub: Hub, home: Path) -> str:  # noqa: F811
    """The hub has a pickle that the user's own weights.toml names; returns the entry's name."""
    torch.save(WEIGHTS, tmp_path / "w.pt")
    data = (tmp_path / "w.pt").read_bytes()
    sha256 = hub.put("org/model/w.pt", data)
    (home / "config" / "seg" / "weights.toml").write_text(
        '[test.pickle]\nsystem = "seem"\nconfig = "nano"\nhub = "org/model"\n'
        f'files = [{{ name = "w.pt", size = {len(data)}, sha256 = "{sha256}" }}]\n'
        'keys = "original"\nlicence = "mit"\naccepts = ["point"]\n'
    )
    return "test.pickle"


def test_the_list_is_a_table_of_every_entry(seg: Run) -> None:
    code, out, err = seg("list")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["NAME", "STATE", "SIZE", "LICENCE"]
    assert [line.split()[0] for line in lines[1:]] == list(weights.catalogue())
    assert all(len(line) <= 100 for line in lines)


def test_the_list_as_json_is_one_line_an_entry(seg: Run) -> None:
    _, out, _ = seg("list", "--json", "seem.focal-t-*")
    facts = [json.loads(line) for line in out.splitlines()]
    assert [fact["name"] for fact in facts] == ["seem.focal-t-v1", "seem.focal-t-v0"]
    assert facts[0]["state"] == "available"
    assert facts[0]["size"] == 658792514
    assert facts[0]["licence"] == "afl-3.0"


def test_a_gated_and_an_unpublished_checkpoint_say_so(seg: Run) -> None:
    _, out, _ = seg("list", "sam.sam3", "ras.*")
    assert [line.split()[1] for line in out.splitlines()[1:]] == ["gated", "unpublished"]


def test_pull_path_verify_du_rm(seg: Run, pickle: str, hub: Hub, home: Path) -> None:  # noqa: F811
    """The life of a checkpoint on a machine; the pickle is converted once and both files can be checked and removed."""
    assert seg("path", pickle)[0] == 5
    code, out, err = seg("pull", pickle)
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        f"seg: pulling {pickle}: w.pt, {len(hub.files['org/model/w.pt']) / 1000:.2f} kB, from org/model (mit)",
        f"seg: converting {pickle}: w.pt to safetensors, once",
    ]
    assert seg("pull", pickle) == (0, "", "")
    path = Path(seg("path", pickle)[1].strip())
    assert torch.equal(safetensors.torch.load_file(path)["w"], WEIGHTS["w"])
    assert "cached" in seg("list", pickle)[1]
    code, out, _ = seg("verify", pickle)
    assert (code, [line.split()[2] for line in out.splitlines()]) == (0, ["sound", "sound"])
    held = json.loads(seg("du", "--json")[1])
    assert held["name"] == pickle
    assert held["bytes"] == path.stat().st_size + len(hub.files["org/model/w.pt"])
    code, _, err = seg("rm", pickle)
    assert code == 0
    assert err.endswith("freed\n")
    assert seg("du")[1].split() == ["0", "B", "in", "all"]
    assert [p for p in (home / "hf").rglob("*") if p.is_file() and p.suffix != ".lock" and "blobs" in p.parts] == []
    assert "available" in seg("list", pickle)[1]


def test_verify_finds_a_changed_byte(seg: Run, pickle: str) -> None:
    seg("pull", pickle)
    path = Path(seg("path", pickle)[1].strip())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    code, out, err = seg("verify", "--json", pickle)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 5
    assert [line["state"] for line in found] == ["sound", "broken"]
    assert found[0]["words"] == "the pinned sha256"
    assert "the seal does not fit" in err
    assert err.count("\n") == 1


def test_verify_reads_any_safetensors_file(seg: Run, tmp_path: Path) -> None:
    safetensors.torch.save_file(WEIGHTS, tmp_path / "a.safetensors")
    assert seg("verify", tmp_path / "a.safetensors")[0] == 0
    safetensors.torch.save_file({"w": torch.tensor(float("nan"))}, tmp_path / "b.safetensors")
    code, _, err = seg("verify", tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert code == 5
    assert "holds NaN" in err


def test_several_pulls_run_side_by_side_and_each_failure_is_told(seg: Run, hub: Hub, home: Path) -> None:  # noqa: F811
    text = ""
    for name in ("a", "b", "gone", "lost"):
        text += (
            f'[test.{name}]\nsystem = "seem"\nconfig = "nano"\nhub = "org/{name}"\n'
            'files = [{ name = "m.safetensors" }]\nlicence = "mit"\naccepts = ["point"]\n'
        )
    (home / "config" / "seg" / "weights.toml").write_text(text)
    for name in ("a", "b"):
        hub.put(f"org/{name}/m.safetensors", name.encode() * 100)
    code, _, err = seg("pull", "test.*")
    assert code == 5
    assert "org/gone has no file" in err
    assert "org/lost has no file" in err
    states = [json.loads(line)["state"] for line in seg("list", "--json", "test.*")[1].splitlines()]
    assert states == ["cached", "cached", "available", "available"]


def test_pull_of_what_is_not_published_says_why(seg: Run) -> None:
    code, _, err = seg("pull", "ras.13b-general")
    assert code == 5
    assert "has no files to pull; files and licence are not known" in err


def test_what_comes_with_seg_is_not_removed(seg: Run) -> None:
    bundled = next(entry.name for entry in weights.catalogue().values() if entry.bundled)
    code, _, err = seg("rm", bundled)
    assert code == 2
    assert "comes with seg and stays" in err


def test_convert_makes_a_file_that_can_be_opened_by_its_path(seg: Run, tmp_path: Path) -> None:
    torch.save({"module.w": WEIGHTS["w"]}, tmp_path / "w.pt")
    code, out, err = seg(
        "convert", tmp_path / "w.pt", "--as", "seem.focal-t-v1", "--dtype", "fp16", "--strip", "module."
    )
    assert (code, out, err) == (0, f"{tmp_path / 'w.safetensors'}\n", "")
    assert safetensors.torch.load_file(tmp_path / "w.safetensors")["w"].dtype == torch.float16
    entry = weights.find(str(tmp_path / "w.safetensors"))
    like = weights.find("seem.focal-t-v1")
    assert (entry.system, entry.config, entry.keys, entry.accepts) == (
        like.system,
        like.config,
        like.keys,
        like.accepts,
    )


def test_convert_can_give_the_keys_segs_own_names(seg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pt")
    assert seg("convert", tmp_path / "w.pt", "--as", "seem.focal-t-v1", "--own-names")[0] == 0
    assert weights.find(str(tmp_path / "w.safetensors")).keys == "seg"
    monkeypatch.setattr("segcli.registry.plugins.is_built", lambda system: False)  # as of a plug-in without a table
    code, _, err = seg(
        "convert", tmp_path / "w.pt", "-o", tmp_path / "v.safetensors", "--as", "sam.vit-b", "--own-names"
    )
    assert code == 5
    assert "leave --own-names away" in err


def test_convert_replaces_nothing_unasked(seg: Run, tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pt")
    assert seg("convert", tmp_path / "w.pt")[0] == 0
    code, _, err = seg("convert", tmp_path / "w.pt")
    assert code == 4
    assert "is there already; type --force" in err
    assert seg("convert", "--force", tmp_path / "w.pt")[0] == 0
    code, _, err = seg("convert", "--force", tmp_path / "w.safetensors")
    assert code == 4
    assert "give another name with -o" in err
    assert writer.check_seal(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["pull", "no-such"], 2, "no checkpoint has this name"),
        (["pull"], 2, "NAME"),
        (["path", "seem.focal-t-v1"], 5, "type `seg models pull seem.focal-t-v1`"),
        (["pull", "--offline", "seem.focal-t-v1"], 5, "seg is offline"),
        (["convert", "gone.pt"], 5, "gone.pt: no such file"),
        (["convert", "x.pt", "--dtype", "int8"], 2, "--dtype int8: unknown; type fp32, bf16 or fp16"),
        (["convert", "x.pt", "-o", "x.pth"], 2, "let its name end in .safetensors"),
        (["convert", "x.pt", "--own-names"], 2, "add --as NAME"),
        (["verify", "seem.focal-t-v1"], 5, "not here; type `seg models pull seem.focal-t-v1`"),
        (["verify", "/nowhere/x.safetensors"], 5, "/nowhere/x.safetensors: can't be read: No such file"),
    ],
)
def test_a_refusal_is_one_line_with_its_code(seg: Run, words: list[str], code: int, line: str) -> None:
    found, _, err = seg(*words)
    assert found == code, err
    assert line in err
    assert err.count("\n") == 1

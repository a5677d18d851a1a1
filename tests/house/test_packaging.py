"""What is in the repository, what is in the wheel, and that both find the same things."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout by its own build backend."""
    target = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


def test_weights_toml_is_found_from_a_wheel_and_from_the_checkout(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "from segcli.registry.weights import shipped_file; p = shipped_file(); print(p); print(p.is_file())"
    for place in (tmp_path, ROOT / "src"):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(place)!r}); {code}"],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        path, found = done.stdout.splitlines()
        assert found == "True"
        assert Path(path).is_relative_to(tmp_path if place == tmp_path else ROOT)


def test_the_wheel_holds_what_is_needed_to_run_and_to_read(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    data = next(name for name in names if ".data/" in name).partition("/")[0]
    assert {"segcli/weights.toml", "segcli/py.typed", "segcli/cli/app.py"} <= set(names)
    for page in (ROOT / "man").iterdir():
        assert f"{data}/data/share/man/man{page.suffix[1:]}/{page.name}" in names
    for bundled in (ROOT / "src" / "segcli" / "weights").iterdir():
        assert f"segcli/weights/{bundled.name}" in names


def test_no_file_is_too_large_and_the_bundled_checkpoints_stay_within_their_room():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    files = files or [path for path in (ROOT / "src").rglob("*") if path.is_file()]  # not a git checkout
    sizes = {path: path.stat().st_size for path in files}
    assert not [path for path, size in sizes.items() if size > 9_000_000]
    assert sum(size for path, size in sizes.items() if path.suffix == ".safetensors" and "weights" in path.parts) < 25e6
    data = [path for path in sizes if path.relative_to(ROOT).parts[0] == "tests" and path.suffix != ".py"]
    assert sum(sizes[path] for path in data) < 8e6


def test_constraints_pin_plain_versions_of_every_direct_dependency():
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    assert all(line.count("==") == 1 and not set("/@+;") & set(line) for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {w.partition(">=")[0].partition("[")[0].lower().replace("_", "-") for w in wanted}
    assert names <= pinned


def test_readme_and_ci_run_the_same_test_command():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    command = "pip install -U pip && pip install -c constraints.txt -e . --group dev && pytest -n 2"
    assert command in readme
    assert command.removeprefix("pip install -U pip && ") in ci

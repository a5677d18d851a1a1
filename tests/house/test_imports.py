"""Who may import whom, and what must not be imported at start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "segcli"

MAY = {
    "core": {"core"},
    "io": {"core", "io"},
    "metrics": {"core", "metrics"},
    "datasets": {"core", "datasets"},
    "models": {"core", "models"},
    "registry": {"core", "models", "registry"},
    "pipeline": {"core", "io", "models.api", "pipeline"},
    "bench": {"core", "io", "models.api", "datasets", "metrics", "pipeline", "bench"},
    "train": {"core", "io", "registry", "datasets", "models", "train"},
    "cli": {"core", "io", "registry", "train", "bench", "pipeline", "cli"},
}
HEAVY = {"torch", "transformers", "scipy", "cv2", "pycocotools", "imageio"}
NOT_AT_IMPORT = {
    "core": HEAVY,
    "io": HEAVY,
    "metrics": HEAVY,
    "datasets": HEAVY,
    "cli": HEAVY | {"numpy", "rich", "PIL", "huggingface_hub"},
}
NEVER = {"torchvision", "timm", "tqdm", "hydra", "omegaconf", "lightning"}

MODULES = sorted(path for path in SOURCE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(node: ast.AST) -> list[str]:
    """Dotted names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def for_types_only(tree: ast.AST) -> set[ast.AST]:
    """Statements below `if TYPE_CHECKING:`, which are never executed."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {below for block in blocks for statement in block.body for below in ast.walk(statement)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_only_what_its_place_allows(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    part = part_of(path)
    skipped = for_types_only(tree)
    names = [name for node in ast.walk(tree) for name in imported(node)]
    run = [name for node in ast.walk(tree) if node not in skipped for name in imported(node)]
    assert not [name for name in names if name.partition(".")[0] in NEVER]
    if part not in MAY:
        return
    own = [name.removeprefix("segcli.") for name in run if name.startswith("segcli.")]
    wrong = [
        name
        for name in own
        if not any(name == may or name.startswith(f"{may}.") for may in MAY[part] | {"__version__"})
    ]
    assert not wrong, f"{part} may import {sorted(MAY[part])}"


@pytest.mark.parametrize("path", [p for p in MODULES if "models" in p.parts], ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_system_never_imports_another_one(path: Path):
    systems = {"seem", "seggpt", "psalm", "ras", "sam"}
    own = set(path.relative_to(SOURCE).parts) & systems
    tree = ast.parse(path.read_text(encoding="utf-8"))
    others = [
        name
        for node in ast.walk(tree)
        for name in imported(node)
        if name.startswith("segcli.models.") and name.split(".")[2] in systems - own
    ]
    assert not others


def test_ray_is_imported_by_functions_of_one_module_only():
    found = set()
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(name.partition(".")[0] == "ray" for node in ast.walk(tree) for name in imported(node)):
            found.add(str(path.relative_to(SOURCE)))
        assert not [name for node in tree.body for name in imported(node) if name.partition(".")[0] == "ray"]
    assert found == {"pipeline/ray_connection.py"}


LIGHT = [p for p in MODULES if part_of(p) in NOT_AT_IMPORT]


def test_light_parts_import_nothing_heavy_when_they_are_imported():
    """Each module in a process of one part, looked at after its import: indirect imports count too."""
    for part, forbidden in NOT_AT_IMPORT.items():
        # verbs' helpers in cli that run after a verb has begun may use what verbs may
        names = [module_name(p) for p in LIGHT if part_of(p) == part and (part != "cli" or is_verb_or_start(p))]
        code = f"import sys\n{chr(10).join(f'import {n}' for n in names)}\nprint(*sorted(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        loaded = {name.partition(".")[0] for name in done.stdout.split()}
        assert not loaded & forbidden, f"{part} imports {sorted(loaded & forbidden)}"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_verb_or_start(path: Path) -> bool:
    """False for the modules of cli that a verb imports once it knows what to do."""
    return path.stem not in {"live", "promptfile", "report", "showing"}

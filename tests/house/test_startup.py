"""`seg --help` and every refusal are instant: nothing heavy is imported for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "numpy", "PIL", "rich", "scipy", "transformers", "huggingface_hub", "pydantic", "pycocotools", "ray"}
PHOTO = str(Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg")

COMMANDS = [
    ["--help"],
    ["--version"],
    [],
    ["poimt"],
    ["--nope"],
    ["point", "--help"],
    ["point", PHOTO],
    ["point", PHOTO, "--nope"],
    ["point", PHOTO, "--at", "3"],
    ["point", PHOTO, "--at", "3,4", "-f", "nope"],
    ["point", PHOTO, "--at", "3,4", "-m", "nope"],
    ["point", PHOTO, "--at", "3,4", "--classes", "cat", "-m", "sam.vit-b"],
    ["point", PHOTO, "--at", "3,4", "--device", "nope"],
    ["point", PHOTO, "--at", "3,4", "--shard", "3/2"],
    ["point", PHOTO, "--at", "3,4", "--on", "nope"],
    ["point", PHOTO, "--at", "3,4", "--on", "ray", "--actors", "0"],
    ["point", PHOTO, "--scribble", ""],
    ["point", "--prompts", "no-such-file.jsonl"],
    ["point", "no-such-photo.jpg", "--at", "3,4"],
    ["refer", "--help"],
    ["refer", PHOTO],
    ["refer", "cat", PHOTO, "--threshold", "2"],
    ["refer", "cat", PHOTO, "--like", "no-such.jpg@3,4"],
    ["refer", "cat", PHOTO, "-m", "seggpt.vit-l"],
    ["panoptic", PHOTO, "--kind", "nope"],
    ["panoptic", PHOTO, "--classes", "coco", "-m", "seggpt.vit-l"],
    ["models", "list"],
    ["models", "list", "--json"],
    ["models", "path", "nope"],
    ["train"],
    ["train", "seem"],
    ["bench", "--help"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_help_lists_and_refusals_import_nothing_heavy(arguments: list[str]):
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.__stderr__.write('\\nLOADED ' + ' '.join(sys.modules)))\n"
        "from segcli.cli.app import main\n"
        f"main({arguments!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said, _, loaded = done.stderr.partition("\nLOADED ")
    assert done.returncode in (0, 2, 4), said
    assert not HEAVY & {name.partition(".")[0] for name in loaded.split()}
    assert "Traceback" not in said
    if done.returncode == 2 and done.stdout == "":
        assert said.count("\n") <= 1 or "Usage:" in said


def test_the_table_of_verbs_says_what_their_own_help_says():
    from segcli.cli.app import command
    from segcli.cli.tree import VERBS

    root = command()
    ctx = root.make_context("seg", [], resilient_parsing=True)
    for name, line in VERBS.items():
        assert root.get_command(ctx, name).help.strip().splitlines()[0] == line


def test_the_formats_that_f_offers_are_those_there_are():
    from segcli.cli.options import FORMATS
    from segcli.io.formats import NAMES

    assert FORMATS == NAMES

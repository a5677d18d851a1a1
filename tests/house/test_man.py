"""The manual pages say what the command line does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from segcli.cli.app import command
from segcli.cli.man import pages
from segcli.cli.tree import VERBS
from segcli.io.stream import ASK_KEYS

MAN = Path(__file__).parents[2] / "man"


def test_man_holds_exactly_the_pages_that_the_options_give():
    """Mend it with `python -m segcli.cli.man man`."""
    generated = pages()
    assert {path.name for path in MAN.glob("*.1")} == set(generated)
    for name, page in generated.items():
        assert (MAN / name).read_text(encoding="utf-8") == page, f"python -m segcli.cli.man man   ({name})"


def commands() -> dict[str, object]:
    """Every command that can be typed, by its words."""
    root = command()
    ctx = root.make_context("seg", [], resilient_parsing=True)
    found = {}
    for name in VERBS:
        verb = root.get_command(ctx, name)
        below = getattr(verb, "commands", {})
        found.update({f"{name} {sub}": c for sub, c in below.items()} or {name: verb})
    return found


def test_every_command_and_every_option_has_words():
    for words, typed in commands().items():
        assert typed.help, words
        for param in typed.params:
            assert param.help, f"seg {words} {param.opts}"


def test_every_command_can_show_its_traceback():
    for words, typed in commands().items():
        assert any("--debug" in param.opts for param in typed.params), words


def test_the_stream_page_describes_every_key_of_a_prompt_line():
    page = (MAN / "seg-stream.5").read_text(encoding="utf-8")
    _, _, described = page.partition(".SH PROMPT LINES")
    terms = {word.strip() for line in described.splitlines() if line.startswith(".B ") for word in line[3:].split(",")}
    assert ASK_KEYS | {"image", "rounds", "refine"} == terms


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff checks the pages where it is installed")
@pytest.mark.parametrize("path", sorted(MAN.iterdir()), ids=lambda p: p.name)
def test_groff_has_nothing_to_complain_about(path: Path):
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-Kutf8", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

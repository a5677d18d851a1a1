"""What the documents tell people to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from segcli.cli.app import command
from segcli.cli.man import EXIT_STATUS
from segcli.core import errors

ROOT = Path(__file__).parents[2]


def lines_of(path: Path) -> list[str]:
    """Shell lines of a document, continued lines joined."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    if path.suffix == ".md":
        text = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))
    if path.suffix == ".1":
        text = "\n".join(re.findall(r"\.nf\n(.*?)\.fi", text, re.S)).replace("\\-", "-").replace("\\(dq", '"')
    return re.sub(r"\|\s*\n", "| ", text).splitlines()


def commands() -> list[tuple[str, tuple[str, ...]]]:
    """Every `seg …` in the documents, as (where, words)."""
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.sh")), *sorted((ROOT / "man").glob("*.1"))]:
        for line in lines_of(path):
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
            lexer.commenters, lexer.whitespace_split = "#", True
            try:
                words = list(lexer)
            except ValueError:
                continue  # a line of another program's text, in quotes over several lines
            for start in [n for n, word in enumerate(words) if word == "seg"]:
                end = next((n for n in range(start, len(words)) if set(words[n]) <= set("|&;<>")), len(words))
                found.append((path.name, tuple(words[start + 1 : end])))
    return found


@pytest.mark.parametrize(("where", "words"), commands(), ids=lambda v: v if isinstance(v, str) else " ".join(v)[:70])
def test_every_command_in_the_documents_is_understood(where: str, words: tuple[str, ...]):
    root = command()
    ctx = root.make_context("seg", list(words))
    verb = root.get_command(ctx, words[0])
    rest = list(words[1:])
    while getattr(verb, "commands", None):
        verb = verb.commands[rest.pop(0)]
    typed = tuple(word for word in rest if not word.startswith("man "))
    if "…" not in typed and "VERB" not in typed:
        verb.make_context(words[0], list(typed), parent=ctx)


def test_the_documents_hold_enough_commands_for_the_test_above_to_mean_something():
    assert len(commands()) > 20


def test_the_readme_has_every_exit_code_and_every_format():
    from segcli.cli.options import FORMATS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in readme for name in FORMATS)
    codes = {error.exit_code for error in vars(errors).values() if isinstance(error, type)}
    assert all(f"| {code} |" in readme for code in codes | {0})
    assert codes <= {int(code) for code, _ in EXIT_STATUS if code.isdigit()}

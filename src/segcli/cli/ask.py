"""`seg ask`: questions about a photo, answered in words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli.options import number
from segcli.core.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

DEFAULT_MODEL = "psalm.swin-b"

EXAMPLES = """\b
Examples:
  seg ask photo.jpg "How many cups are on the table?"
  seg ask photo.jpg "What is this?" "What colour is it?"   two questions, the photo is looked at once
  seg ask photo.jpg "What is this?" --json                 {"image": …, "question": …, "answer": …, "model": …}
  seg ask - "What is this?" -o answer.txt < photo.jpg"""


@app.command(epilog=EXAMPLES)
def ask(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A photo, or - for its bytes on stdin.")],
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION…", help="What to ask about it.")],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME|FILE", help="A checkpoint that answers in words.")
    ] = DEFAULT_MODEL,
    limit: Annotated[str, typer.Option("--limit", metavar="N", help="The longest answer, in tokens.")] = "256",
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE|-", help="Where answers go.")] = "-",
    json: Annotated[bool, typer.Option("--json", help="One JSON line an answer.")] = False,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cuda[:N]|mps|cpu", help="Where it runs; obeyed or refused.")
    ] = "auto",
    dtype: Annotated[str, typer.Option("--dtype", metavar="auto|fp32|bf16|fp16", help="In which precision.")] = "auto",
    threads: Annotated[
        str | None, typer.Option("--threads", metavar="N", help="CPU threads; the machine's cores if left out.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")] = False,
) -> None:
    """Answer questions about a photo in words.

    An answer is the model's likeliest word after word, the same each time. Each question stands on its own.
    """
    from segcli.registry.device import check_words

    check_words(device, dtype)
    longest = number("--limit", limit, low=1)
    processors = None if threads is None else number("--threads", threads, low=1)
    for question in questions:
        if not question.strip():
            raise UsageError('a question is empty; type one in quotes, as in seg ask photo.jpg "What is this?"')

    from segcli.registry.weights import find

    find(model)

    from segcli.cli.errors import warn
    from segcli.io.images import read_image
    from segcli.pipeline.questions import replies
    from segcli.registry.load import open_model

    name = "stdin" if image == "-" else image
    if "-" not in (image, output) and _same(Path(image), Path(output)):
        raise UsageError(f"-o {output}: is the photo; give another file for the answers")
    photo = read_image(_stdin() if image == "-" else Path(image), name)
    opened = open_model(
        model,
        device=device,
        dtype=dtype,
        threads=processors,
        offline=offline,
        say=(lambda line: None) if quiet else (lambda line: warn(line.removeprefix("seg: "))),
        quiet=quiet,
    )
    answers = zip(questions, replies(opened, photo, questions, longest), strict=True)
    _deliver([_json_line(name, q, a, opened.name) if json else a for q, a in answers], output)


def _json_line(image: str, question: str, answer: str, model: str) -> str:
    from json import dumps

    escaped = any("\ud800" <= letter <= "\udfff" for letter in image)  # a name that is no UTF-8
    line = {"image": image, "question": question, "answer": answer, "model": model}
    return dumps(line, ensure_ascii=escaped)


def _same(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)


def _deliver(lines: list[str], output: str) -> None:
    text = "\n".join(lines) + "\n"
    if output == "-":
        print(text, end="", flush=True)
        return
    from segcli.io.atomic import write

    write(Path(output), text.encode())


def _stdin() -> bytes:
    import sys

    return sys.stdin.buffer.read()

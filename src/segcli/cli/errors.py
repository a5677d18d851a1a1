"""From what went wrong to one line on stderr and an exit code.

0 done · 1 a bug of seg · 2 the command line or a prompt · 3 some items failed · 4 an input or output as a whole ·
5 a checkpoint · 6 device or memory · 7 a --require · 130 and 143 interrupted · 141 nobody reads stdout any more
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import typer

from segcli.cli.tree import VERBS
from segcli.core.errors import SegError

TyperUsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Typer's base of everything that is wrong with a command line; it has no public name in all versions."""


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Terminated(BaseException):
    """SIGTERM, raised where the main thread stands so that temporary files are removed on the way out."""


_command = "seg"
"""What messages begin with: the command as far as it was typed without options."""


@contextmanager
def exit_codes(arguments: Sequence[str]) -> Iterator[None]:
    """Turn whatever leaves the block into one line on stderr and the right exit code.

    `arguments` is the command line; with --debug in it the traceback is shown too.
    """
    global _command
    debug = "--debug" in arguments
    _command = f"seg {arguments[0]}" if arguments and arguments[0] in VERBS else "seg"
    previous = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
        sys.stdout.flush()
    except typer.Exit as error:
        raise SystemExit(error.exit_code) from None
    except TyperUsageError as error:
        _leave(_name(error), _typer_line(error), 2, debug)
    except SegError as error:
        _leave(_command, str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        _leave(_command, "interrupted; type the same command again to go on", 130, debug)
    except Terminated:
        _leave(_command, "terminated; type the same command again to go on", 143, debug)
    except BrokenPipeError:  # what the next program in the pipe has not read it does not want
        _forget_stdout()
        raise SystemExit(141) from None
    except MemoryError:
        _leave(_command, "out of memory; type --batch 1, or give smaller photos", 6, debug)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            _leave(_command, _bug(error, debug), 1, debug)
        _forget_stdout()
        _leave(_command, f"{error.filename or 'stdout'}: {str(error.strerror).lower()}; make room there", 4, debug)
    except Exception as error:
        _leave(_command, _bug(error, debug), 1, debug)
    finally:
        signal.signal(signal.SIGTERM, previous)


def warn(line: str) -> None:
    """One line for people, on stderr."""
    print(f"{_command}: {one_line(line)}", file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """The text without line breaks and control characters, as names of files may hold them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _leave(name: str, message: str, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    with suppress(OSError, ValueError):  # stderr is closed: the code still tells
        print(f"{name}: {one_line(message)}", file=sys.stderr, flush=True)
    raise SystemExit(code) from None


def _bug(error: Exception, debug: bool) -> str:
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    hint = "" if debug else "; run it again with --debug and send what it prints"
    return f"this is a bug of seg, please report it: {what}{hint}"


def _forget_stdout() -> None:
    """Send what stdout still holds nowhere; Python would try again at exit and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _typer_line(error: Exception) -> str:
    """Typer's message as a line of ours."""
    message = " ".join(error.format_message().split()) if hasattr(error, "format_message") else str(error)
    if message.startswith("Usage:"):  # a group without a command: Typer would print its whole help
        message = "missing command"
    return f"{message[:1].lower()}{message[1:].rstrip('.')}; see `{_name(error)} --help`"


def _name(error: Exception) -> str:
    """The command that refused, with its verb: "seg point"."""
    ctx = getattr(error, "ctx", None)
    return str(ctx.command_path) if ctx is not None else _command

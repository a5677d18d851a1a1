"""The bar: on a terminal's stderr only, and never in the way."""

from __future__ import annotations

import io
import os
import pty
import sys
from contextlib import suppress

from tests.pipeline.fake import Heard

from segcli.pipeline.events import Summary
from segcli.pipeline.progress import with_bar


def everything(descriptor: int) -> str:
    """What was written to a terminal so far."""
    os.set_blocking(descriptor, False)
    found = b""
    with suppress(BlockingIOError):
        while chunk := os.read(descriptor, 1 << 16):
            found += chunk
    return found.decode()


def test_without_a_terminal_there_is_no_bar_and_rich_is_not_imported(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    heard = Heard()
    assert with_bar(heard) is heard


def test_on_a_terminal_it_shows_counts_and_passes_everything_on(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        heard = Heard(records=True)
        events = with_bar(heard)
        assert events.wants_records
        summary = Summary(total=3)
        events.started(summary)
        for n in range(2):
            summary.done += 1
            events.done(f"{n}.png", [], [], [1])
            events.progress(summary)
        events.skipped("2.png", [], [], [1])
        events.failed({"image": "3.png"}, ValueError("x"))
        events.planned("4.png")
        events.notice("slow")
        events.finished(summary)
        terminal.flush()
        shown = everything(ours)
    os.close(ours)
    assert "2/3" in shown
    assert heard.order == [
        ("done", "0.png"),
        ("done", "1.png"),
        ("skipped", "2.png"),
        ("failed", "3.png"),
        ("planned", "4.png"),
    ]
    assert heard.notices == ["slow"]
    assert heard.summary is summary

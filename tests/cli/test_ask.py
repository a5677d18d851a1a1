"""`seg ask` from the outside, with a tiny PSALM of random weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.models.psalm.conftest import published, random_model, write_folder

from .support import Here


@pytest.fixture
def tiny(here: Here, monkeypatch: pytest.MonkeyPatch) -> Here:
    """`seg` with psalm.tiny among the user's own checkpoints."""
    entry = write_folder(here.cwd / "files", published(random_model()))
    monkeypatch.setattr("segcli.registry.weights.own_file", lambda: entry)
    monkeypatch.setenv("SEG_STATE", str(here.cwd / "state"))
    monkeypatch.setenv("HF_HOME", str(here.cwd / "hub"))
    return here


def test_each_question_has_a_line_and_the_same_answer_every_time(tiny: Here, photo: Path):
    typed = ("ask", photo, "What is it?", "Why?", "--limit", "4", "--json")
    first = tiny(*typed, model="psalm.tiny")
    assert first.code == 0
    assert [line["question"] for line in first.lines] == ["What is it?", "Why?"]
    assert {line["model"] for line in first.lines} == {"psalm.tiny"}
    assert tiny(*typed, model="psalm.tiny").stdout == first.stdout


def test_an_answer_goes_to_a_file_in_plain_words(tiny: Here, photo: Path):
    typed = ("ask", photo, "What is it?", "--limit", "4")
    shown = tiny(*typed, "-q", model="psalm.tiny")
    assert tiny(*typed, "-o", "answer.txt", model="psalm.tiny").stdout == b""
    assert (tiny.cwd / "answer.txt").read_bytes() == shown.stdout
    assert shown.stderr == ""


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        (["photo.png", " "], 2, "a question is empty"),
        (["photo.png", "x", "--limit", "0"], 2, "--limit 0"),
        (["photo.png", "x", "-m", "psalm.tyni"], 2, "psalm.tiny"),
        (["photo.png", "x", "-m", "seem-nano"], 2, "answers no questions"),
        (["missing.png", "x", "-m", "psalm.tiny"], 3, "missing.png: no such file"),
        (
            ["photo.png", "x", "-m", "psalm.tiny", "-o", "./photo.png"],
            2,
            "-o ./photo.png: is the photo; give another file",
        ),
        (["photo.png", "x", "--offline"], 5, "seg models pull psalm.swin-b"),
    ],
)
def test_what_it_cannot_do_is_one_line(tiny: Here, photo: Path, typed: list[str], code: int, words: str):
    before = photo.read_bytes()
    ran = tiny("ask", *typed, model=None)
    assert photo.read_bytes() == before
    assert ran.code == code
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_name_that_is_no_text_has_a_json_line_too(tiny: Here, photo: Path):
    name = os.fsdecode(b"lat\xe9.png")
    (tiny.cwd / name).write_bytes(photo.read_bytes())
    ran = tiny("ask", name, "x", "--limit", "1", "--json", model="psalm.tiny")
    assert (ran.code, json.loads(ran.stdout)["image"]) == (0, name), ran.stderr


def test_the_json_line_holds_what_was_asked(tiny: Here, photo: Path):
    ran = tiny("ask", "photo.png", "naïve?", "--limit", "1", "--json", model="psalm.tiny")
    assert json.loads(ran.stdout)["image"] == "photo.png"
    assert "naïve?".encode() in ran.stdout

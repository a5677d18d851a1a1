"""A session on a pipe: an answer a line, at once, in order, whatever comes in."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.pipeline import fake
from tests.pipeline.fake import Bright

from segcli.core.errors import UsageError
from segcli.io import stream
from segcli.pipeline.session import session

ROOT = Path(__file__).parents[2]


def ask(lines: list, model: Bright | None = None, **more) -> list[dict]:
    out = io.BytesIO()
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines]
    failed = session(texts, out, model or Bright(), **more)
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert failed == sum("error" in answer for answer in answers)
    return answers


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    return str(fake.photo(tmp_path / "a.png", 1)), str(fake.photo(tmp_path / "b.png", 2))


def test_a_further_click_on_the_same_photo_costs_no_encoding(pair):
    a, b = pair
    model = Bright()
    lines = [{"image": image, "id": str(n), "at": [n, n]} for n, image in enumerate([a, a, b, a, b])]
    answers = ask(lines, model)
    assert [(answer["image"], answer["ask"]["id"]) for answer in answers] == [(x["image"], x["id"]) for x in lines]
    assert model.batches == [1, 1]
    assert all(stream.parse(stream.dumps(answer)).prediction is not None for answer in answers)


def test_the_cache_is_bounded_by_bytes_and_forgets_the_oldest(tmp_path):
    images = [str(fake.photo(tmp_path / f"{n}.png", n, (256, 512))) for n in range(3)]  # 1 MB each when encoded
    model = Bright()
    ask([{"image": images[n], "at": [1, 1]} for n in (0, 1, 0, 2, 0, 1)], model, cache_mb=2)
    assert len(model.batches) == 4
    model = Bright()
    ask([{"image": images[n], "at": [1, 1]} for n in (0, 0, 1, 0)], model, cache_mb=0)
    assert len(model.batches) == 3


def test_a_photo_that_was_changed_is_read_again(tmp_path):
    path = fake.photo(tmp_path / "a.png", 1)
    line = json.dumps({"image": str(path), "at": [1, 1]}).encode()

    def lines():
        yield line
        fake.photo(path, 50, (48, 64))
        yield line

    out = io.BytesIO()
    session(lines(), out, Bright())
    sizes = [json.loads(answer)["size"] for answer in out.getvalue().splitlines()]
    assert sizes == [[24, 32], [48, 64]]


def test_refine_takes_the_latest_answer_to_the_same_object(pair):
    a, _ = pair
    answers = ask(
        [
            {"image": a, "id": 7, "at": [5, 5]},
            {"image": a, "id": 8, "at": [9, 9]},
            {"image": a, "id": 7, "at": [5, 5], "refine": True},
            {"image": a, "id": 9, "at": [5, 5], "refine": True},
        ]
    )
    assert answers[2]["ask"]["previous"] == answers[0]["masks"][0]["rle"]
    assert "nothing to refine" in answers[3]["error"]
    assert answers[3]["id"] == "9"


def test_rounds_are_one_answer_with_the_last_rounds_ask(pair):
    (answer,) = ask([{"image": pair[0], "id": "x", "rounds": [{"at": [5, 5]}, {"at": [5, 5], "not_at": [20, 20]}]}])
    assert answer["ask"]["id"] == "x"
    assert "previous" in answer["ask"]
    assert answer["ask"]["not_at"] == [[20, 20]]


def test_a_bad_line_is_answered_with_an_error_line_and_the_session_goes_on(pair, tmp_path):
    a, _ = pair
    (tmp_path / "bad.png").write_bytes(b"no photo")
    good = {"image": a, "at": [1, 1]}
    bad = [
        b"nonsense\n",
        b"\xff\xfe\n",
        b"[]\n",
        {"id": 5},
        {"image": a},
        {"image": a, "att": [1, 1]},
        {"image": a, "at": [500, 1], "id": "far"},
        {"image": str(tmp_path / "bad.png"), "at": [1, 1]},
        {"image": str(tmp_path / "none.png"), "at": [1, 1]},
        {"image": "a\0b", "at": [1, 1]},
        {"image": a, "rounds": []},
        {"image": a, "rounds": [{"at": [1, 1]}], "at": [1, 1]},
        {"image": a, "at": [1, 1], "refine": "yes"},
    ]
    answers = ask([line for one in bad for line in (one, good)])
    assert len(answers) == 2 * len(bad)
    for n, answer in enumerate(answers):
        assert ("error" in answer) == (n % 2 == 0), answer
    assert answers[0]["error"].startswith("line 1: not JSON")
    assert answers[6]["id"] == "5"
    assert answers[12]["id"] == "far"
    assert answers[12]["code"] == 2


def test_a_bug_at_one_line_does_not_end_the_session(pair):
    class Buggy(Bright):
        def decode(self, encoded, asks):
            if asks[0].id == "bug":
                raise ZeroDivisionError
            return super().decode(encoded, asks)

    a, _ = pair
    answers = ask([{"image": a, "id": "bug", "at": [1, 1]}, {"image": a, "at": [1, 1]}], Buggy())
    assert answers[0]["code"] == 1
    assert answers[0]["error"]
    assert "masks" in answers[1]


def test_when_memory_is_full_the_cache_makes_room(tmp_path):
    images = [str(fake.photo(tmp_path / f"{n}.png", n)) for n in range(3)]

    class Small(Bright):
        """Has room for two encodings that are still referred to."""

        def encode(self, given):
            import gc
            import weakref

            from segcli.core.errors import DeviceError

            gc.collect()
            alive = [ref for ref in getattr(self, "refs", []) if ref() is not None]
            if len(alive) >= 2:
                raise DeviceError("out of memory")
            encoded = super().encode(given)
            self.refs = [*alive, weakref.ref(encoded[0])]
            return encoded

    answers = ask([{"image": image, "at": [1, 1]} for image in images], Small())
    assert all("masks" in answer for answer in answers)


def test_a_line_may_be_refused_by_the_verb(pair):
    def check(line):
        raise UsageError(f"{line.image}: no")

    (answer,) = ask([{"image": pair[0], "id": 4, "at": [1, 1]}], check=check)
    assert (answer["code"], answer["id"]) == (2, "4")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"") + b"\n"), max_size=5))
def test_whatever_is_sent_each_line_that_is_not_empty_has_its_answer(pair, lines):
    assert len(ask(lines)) == sum(bool(line.strip()) for line in lines)


def test_answers_come_while_the_pipe_is_open(pair):
    """A coprocess that waits for each answer before it sends the next line must not wait for ever."""
    script = (
        "import sys; from segcli.pipeline.session import session; from tests.pipeline.fake import Bright;"
        "sys.exit(session(sys.stdin.buffer, sys.stdout.buffer, Bright()))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for n in range(3):
            process.stdin.write(json.dumps({"image": pair[0], "id": n, "at": [n, n]}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["ask"]["id"] == str(n)
        process.stdin.close()
        assert process.wait(timeout=30) == 0

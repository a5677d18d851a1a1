"""Every verb that writes the stream writes lines of its schema; the fixtures are those of the verbs' own tests."""

from __future__ import annotations

import json
from pathlib import Path

from tests.schema import check_line

from .support import Here, Ran
from .test_group import checkpoint, group, scene  # noqa: F401 - fixtures
from .test_incontext import both, incontext, query  # noqa: F401
from .test_refer import street  # noqa: F401
from .test_vos import followers, video, vos  # noqa: F401

STREAM = ("-f", "jsonl", "-o", "-")


def checked(ran: Ran, masks: int) -> list[dict]:
    """The lines of a run, whose answers have that many masks together; all are held against the schema."""
    lines = ran.lines
    for line in lines:
        check_line(line)
    assert sum(len(line["masks"]) for line in lines if "ask" in line) == masks, ran.stderr
    return lines


def test_lines_of_point(here: Here, photo: Path):
    clicks = ("--at", "20,20", "--at", "70,60", "--each")
    checked(here("point", photo, *clicks, *STREAM, model="discs"), 2)
    prompts = [
        {"image": "photo.png", "id": "a", "box": ["10%", 10, 60, "50%"], "not_at": [[100, 80]]},
        {"image": "photo.png", "id": "b", "polygon": [[5, 5], [50, 5], [50, 50]]},
        {"image": "gone.png", "id": "c", "at": [5, 5]},
    ]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in prompts)
    (here.cwd / "asks.jsonl").write_bytes(text)
    lines = checked(here("point", "--prompts", "asks.jsonl", *STREAM, model="discs"), 2)
    assert [line.get("code") for line in lines] == [None, None, 3]
    live = checked(here("point", "--prompts", "-", stdin=text, model="discs"), 2)
    assert live[-1]["id"] == "c"


def test_lines_of_runs_with_json(here: Here, photo: Path):
    typed = ("point", photo, "gone.png", "--at", "20,20", "-f", "mask", "--json")
    planned = checked(here(*typed, "-n", model="discs"), 0)
    assert "planned" in planned[0]
    for again in (False, True):
        lines = checked(here(*typed, model="discs"), 0)
        assert ("skipped" in lines[0], "error" in lines[1], "summary" in lines[2]) == (again, True, True)


def test_lines_of_refer(here: Here, street: Path):  # noqa: F811
    checked(here("refer", "red", street, "--all", "--threshold", "0.5", *STREAM), 2)
    like = here("refer", street, "--like", f"{street}@10,60,29,79", *STREAM)
    assert "reference" in json.dumps(checked(like, 1)[0]["ask"]), like.stderr


def test_lines_of_panoptic(here: Here, street: Path):  # noqa: F811
    (line,) = checked(here("panoptic", street, "--classes", "red,green", *STREAM), 3)
    assert line["masks"][0]["label"]


def test_lines_of_incontext(here: Here, query: Path, both: str):  # noqa: F811
    checked(incontext(here, query, "--example", both, *STREAM), 2)
    (line,) = checked(incontext(here, query, "--bank", "shown", "--k", "1", *STREAM), 2)
    assert line["examples"] == ["shown/both.png"]


def test_lines_of_group(group):  # noqa: F811
    ran = group("like {1}", "--ref", "ids.png#3", "--threshold", "0", "--scores", *STREAM)
    (line,) = checked(ran, 3)
    assert len(line["references"]) == 1
    assert len(line["considered"]) == 3


def test_lines_of_frames(vos, video: Path):  # noqa: F811
    lines = checked(vos(video, "--at", "12,14", *STREAM), 6)
    assert [line["frame"] for line in lines] == list(range(6))


def test_lines_of_masks_that_were_there_before(here: Here, photo: Path):
    made = here("point", photo, "--at", "20,20", *STREAM, model="discs")
    checked(here("masks", "filter", "-", "--min-area", "1%", "-o", "-", stdin=made.stdout, model=None), 1)
    checked(here("masks", "filter", "-", "--max-area", "1", "-o", "-", stdin=made.stdout, model=None), 0)

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest

from segcli.bench.checks import Requirement, check, compare, parse, read_baseline
from segcli.bench.deliver import Wanted, as_json, deliver
from segcli.bench.layouts import open_videos
from segcli.bench.page import chart
from segcli.bench.records import Origin, Record, Summary, fingerprint
from segcli.bench.run import run
from segcli.bench.vos_measure import VosMeasure
from segcli.core.errors import ItemError, StorageError, UsageError


@dataclass
class Lengths:
    """Measures the length of names; fails at one of them if told so."""

    names: tuple[str, ...]
    fail: str = ""
    measured: list = field(default_factory=list)
    name: str = "lengths"
    settings: dict = field(default_factory=dict)

    def items(self):
        return self.names

    def measure(self, item):
        if item == self.fail:
            raise ItemError(f"{item}: broken")
        self.measured.append(item)
        return Record(item, "d", {"length": len(item) / 3}, len(item) / 10, seconds={"all": 0.1})

    def summarise(self, records):
        mean = float(np.mean([r.values["length"] for r in records]))
        rows = tuple({"item": r.name, "length": r.values["length"]} for r in records)
        return Summary({"mean": mean, "nothing": float("nan")}, rows, {"lengths": {"all": [mean]}})

    def picture(self, record):
        return np.zeros((4, 4, 3), np.uint8)


ORIGIN = Origin("data", "folder", "", results="out")


def test_an_interrupted_run_goes_on_where_it_ended_and_ends_the_same(tmp_path):
    journal = tmp_path / "j"
    names = ("a", "bb", "ccc", "dddd")
    with pytest.raises(ItemError):
        run(Lengths(names, fail="ccc"), journal=journal)
    again = Lengths(names)
    resumed = run(again, journal=journal)
    assert again.measured == ["ccc", "dddd"]
    assert resumed == run(Lengths(names))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_journal_cut_anywhere_is_taken_up(tmp_path, cut):
    journal = tmp_path / "j"
    names = ("a", "bb", "ccc")
    whole = run(Lengths(names), journal=journal)
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert run(Lengths(names), journal=journal) == whole
    assert run(Lengths(names, fail="a"), journal=journal) == whole


def test_the_journal_of_another_run_is_refused(tmp_path):
    run(Lengths(("a",)), journal=tmp_path / "j")
    with pytest.raises(UsageError, match="belongs to another run"):
        run(Lengths(("a",), settings={"other": 1}), journal=tmp_path / "j")
    with pytest.raises(UsageError, match="belongs to another run"):
        run(Lengths(("a",)), journal=tmp_path / "j", identity="another model")


HOLD = """
import sys
from pathlib import Path
from segcli.bench.run import _journal
with _journal(Path(sys.argv[1]), "key") as (done, keep):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_write_one_journal_and_a_kill_gives_it_free(tmp_path):
    journal = tmp_path / "j"
    whole = run(Lengths(("a", "bb")), journal=journal)
    run_key = json.loads(journal.read_text().splitlines()[0])["run"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD.replace("key", run_key), journal], **pipes) as other:
        assert other.stdout.readline() == b"held\n"
        before = journal.read_bytes()
        with pytest.raises(StorageError, match="another seg process is writing to it"):
            run(Lengths(("a", "bb")), journal=journal)
        assert journal.read_bytes() == before
        other.kill()
    assert run(Lengths(("a", "bb")), journal=journal) == whole


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    (tmp_path / "j").write_text("my notes\n")
    with pytest.raises(UsageError, match="is not a journal"):
        run(Lengths(("a",)), journal=tmp_path / "j")
    assert (tmp_path / "j").read_text() == "my notes\n"


def test_an_empty_set_and_a_name_that_comes_twice_are_refused():
    with pytest.raises(UsageError, match="empty"):
        run(Lengths(()))
    with pytest.raises(UsageError, match="b: is in the data set twice"):
        run(Lengths(("a", "b", "b")))


def test_a_subset_depends_on_the_seed_only_and_keeps_the_order():
    names = tuple(f"n{k}" for k in range(30))
    first, again, other = (run(Lengths(names), subset=9, seed=s) for s in (1, 1, 2))
    assert first == again != other
    assert [r.name for r in first] == sorted((r.name for r in first), key=names.index)


def test_several_processes_give_the_same_records(davis):
    root, results = davis
    videos, *_ = open_videos(root, "auto", None, None, results)
    measure = VosMeasure(tuple(videos))

    def numbers(records):
        return [(r.name, r.digest, r.values, r.score) for r in records]

    assert numbers(run(measure, workers=2)) == numbers(run(measure))


def test_the_fingerprint_does_not_depend_on_the_order():
    a, b = Record("a", "1", {}), Record("b", "2", {})
    assert fingerprint([a, b]) == fingerprint([b, a]) != fingerprint([a])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NoC@90<=3.5", Requirement("NoC@90", "<=", 3.5)),
        (" J&F-Mean >= 0.75 ", Requirement("J&F-Mean", ">=", 0.75)),
        (">=20@90<=5", Requirement(">=20@90", "<=", 5.0)),
        ("Pr@0.5>1e-3", Requirement("Pr@0.5", ">", 0.001)),
    ],
)
def test_requirements_are_read_as_typed(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "NoC", "NoC<=", "<=3", "NoC<=x", "NoC=3"])
def test_a_requirement_that_says_nothing_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"NoC@90<=3.5"):
        parse(text)


def test_a_metric_without_a_number_meets_no_requirement():
    (found,) = check([parse("AP>=0")], {"AP": None})
    assert not found.passed
    assert "undefined" in found.detail


def test_a_requirement_for_an_unknown_metric_names_the_known_ones():
    with pytest.raises(UsageError, match="there are AP, AR"):
        check([parse("PQ>=1")], {"AP": 1.0, "AR": 1.0})


def document(**metrics):
    return {"protocol": "p", "settings": {}, "data": {"fingerprint": "f"}, "metrics": metrics}


def test_a_regression_beyond_the_tolerance_is_found_in_either_direction():
    old = document(**{"NoC@90": 3.0, "IoU@1": 0.8})
    new = document(**{"NoC@90": 3.4, "IoU@1": 0.5})
    assert [c.passed for c in compare(old, new, 0.1)] == [False, False]
    assert [c.passed for c in compare(old, new, 0.5)] == [True, True]
    assert [c.passed for c in compare(new, old, 0.0)] == [True, True]


def test_a_number_that_has_become_undefined_is_a_regression():
    assert not compare(document(AP=1.0), document(AP=None), 5.0)[0].passed


def test_a_baseline_of_other_data_or_settings_is_refused():
    with pytest.raises(UsageError, match="other data"):
        compare({**document(AP=1.0), "data": {"fingerprint": "g"}}, document(AP=1.0), 0)
    with pytest.raises(UsageError, match="another settings"):
        compare({**document(AP=1.0), "settings": {"x": 1}}, document(AP=1.0), 0)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_file_that_is_no_result_is_no_baseline(tmp_path, content):
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(StorageError, match=r"b.json"):
        read_baseline(tmp_path / "b.json")


def test_two_runs_give_the_same_bytes_apart_from_seconds(tmp_path):
    texts = []
    for _ in range(2):
        measure = Lengths(("a", "bb"))
        content = deliver(measure, ORIGIN, run(measure), Wanted()).document
        assert content.pop("seconds")
        texts.append(as_json(content))
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["metrics"]["nothing"] is None


def test_everything_asked_for_is_written_and_states_where_it_comes_from(tmp_path):
    measure = Lengths(("a", "bb<&>"))
    wanted = Wanted(
        tmp_path / "o" / "a.csv", tmp_path / "a.xml", tmp_path / "a.html", (parse("mean>=9"), parse("mean<=9"))
    )
    done = deliver(measure, ORIGIN, run(measure), wanted)
    assert [c.passed for c in done.checks] == [False, True]
    assert "NOT MET mean>=9" in done.text
    assert (tmp_path / "o" / "a.csv").read_text().splitlines()[0] == "item,length"
    from xml.etree import ElementTree

    suite = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    html = (tmp_path / "a.html").read_text()
    assert "bb&lt;&amp;&gt;" in html
    assert "http" not in html.replace("http://www.w3.org", "")
    for text in (done.text, html, (tmp_path / "a.xml").read_text()):
        assert fingerprint(run(measure)) in text


def test_curves_with_gaps_and_many_lines_are_drawn():
    lines = {f"line {k}": [0.1 * (k % 9), None, 0.5] for k in range(20)}
    drawn = chart(lines, "x")
    assert drawn.count("<polyline") == 12
    assert "12 lowest of 20" in drawn


@dataclass
class Ahead(Lengths):
    """Reads ahead; notes what was read."""

    read: list = field(default_factory=list)

    def ahead(self, item):
        self.read.append(item)
        if item == self.fail:
            raise ItemError("said when it is measured")


def test_items_are_read_ahead_in_order_and_failures_are_said_once():
    names = ("a", "bb", "ccc", "dddd")
    measure = Ahead(names)
    assert run(measure) == run(Lengths(names))
    assert measure.read == ["bb", "ccc", "dddd"]
    broken = Ahead(names, fail="ccc")
    with pytest.raises(ItemError, match="ccc: broken"):
        run(broken)
    assert broken.measured == ["a", "bb"]

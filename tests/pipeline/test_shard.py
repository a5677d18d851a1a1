"""Shards: a division of every plan into disjoint parts that together are the whole."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline import fake
from tests.pipeline.fake import Heard, do

from segcli.core.errors import UsageError
from segcli.pipeline.plan import Plan
from segcli.pipeline.shard import Shard


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 9))
def test_every_key_is_in_exactly_one_part(key, count):
    assert sum(Shard(index, count).owns(key) for index in range(1, count + 1)) == 1


def test_the_division_never_changes():
    assert [key for key in "abcdefgh" if Shard(1, 3).owns(key)] == ["f"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "/3", "a/b", "1/0", "-1/3", "1/3/3", "²/3", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UsageError, match="type for example --shard 1/8"):
        Shard.parse(text)


def test_shards_in_any_order_give_the_files_of_one_run(inputs, out, tmp_path):
    do(fake.plan(inputs, tmp_path / "whole"))
    plan = fake.plan(inputs, out)
    order = [1, 2, 3]
    random.Random(1).shuffle(order)
    done, heard = 0, Heard()
    for index in order:
        assert not (out / "areas.json").exists()
        done += do(plan, events=heard, shard=Shard(index, 3)).done
    assert done == 8
    assert "left to the last shard" in heard.notices[0]
    assert fake.tree(out) == fake.tree(tmp_path / "whole")
    assert do(plan, fake.never).skipped == 8


def test_a_photo_that_fails_holds_no_shard_up(inputs, out):
    (inputs / "000.png").write_bytes(b"no photo")
    codes = [do(fake.plan(inputs, out), shard=Shard(index, 2)).exit_code for index in (1, 2)]
    assert sorted(codes) == [0, 3]
    assert (out / "areas.json").read_text().count("\n") == 7


def test_an_unsharded_run_takes_over_what_shards_began(inputs, out, tmp_path):
    do(fake.plan(inputs, tmp_path / "whole"))
    plan = fake.plan(inputs, out)
    first = do(plan, shard=Shard(1, 2))
    summary = do(plan)
    assert (summary.skipped, summary.done) == (first.done, 8 - first.done)
    assert fake.tree(out) == fake.tree(tmp_path / "whole")


def test_a_shards_part_does_not_depend_on_the_order_of_the_plan(inputs, tmp_path):
    plan = fake.plan(inputs, tmp_path / "a")
    turned = fake.plan(inputs, tmp_path / "b")
    turned = Plan(turned.items[::-1], turned.output, "x", "bright")
    for one in (plan, turned):
        do(one, shard=Shard(1, 2))
    assert fake.tree(tmp_path / "a") == fake.tree(tmp_path / "b")


def test_the_latest_word_counts_whichever_journal_it_is_in(inputs, out):
    def asked(what: str) -> Plan:
        return fake.plan(inputs, out, formats=("mask",), print_=what)

    for index in (1, 2):
        do(asked("x"), shard=Shard(index, 2))
    assert do(asked("y"), force=True).done == 8
    assert do(asked("y"), fake.never).skipped == 8
    assert do(asked("x"), fake.never).failed == 8
    for index in (1, 2):
        do(asked("x"), shard=Shard(index, 2), force=True)
    assert do(asked("x"), fake.never).skipped == 8
    assert sum(do(asked("x"), fake.never, shard=Shard(index, 3)).skipped for index in (1, 2, 3)) == 8

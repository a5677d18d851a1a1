"""Random histories of one output directory: whatever happened before, a run that says it is done is done."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.pipeline import fake
from tests.pipeline.fake import do
from tests.pipeline.test_kill import Deadly

from segcli.core.ask import Ask, Point
from segcli.core.errors import StorageError
from segcli.io import atomic
from segcli.pipeline.shard import Shard

ASKS = [(Ask(points=(Point(n, n),)),) for n in (2, 12, 22)]
CALLS = ["os_write", "os_fsync", "os_replace", "os_open"]

runs = st.tuples(
    st.integers(0, len(ASKS) - 1),
    st.booleans(),  # force
    st.sampled_from([None, None, "1/2", "2/2", "2/3"]),
    st.none() | st.tuples(st.sampled_from(CALLS), st.integers(1, 25)),  # where it is killed
)
deeds = runs | st.tuples(st.sampled_from(["delete", "cut", "tear"]), st.integers(0, 3))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=st.lists(deeds, max_size=8), last=st.integers(0, len(ASKS) - 1))
def test_a_run_that_says_it_is_done_is_done(tmp_path, history, last):
    inputs, out = tmp_path / "in", tmp_path / "out"
    if not inputs.exists():
        fake.photos(inputs, 4)
        for n, asks in enumerate(ASKS):
            do(fake.plan(inputs, tmp_path / f"whole{n}", asks=asks))
    shutil.rmtree(out, ignore_errors=True)
    whole = [fake.tree(tmp_path / f"whole{n}") for n in range(len(ASKS))]
    every = {(name, content) for tree in whole for name, content in tree.items()}
    harmed = False
    for deed in history:
        if isinstance(deed[0], str):
            harm(out, *deed)
            harmed = harmed or deed[0] == "cut"
            continue
        asks, force, shard, death = deed
        plan = fake.plan(inputs, out, asks=ASKS[asks])
        part = Shard.parse(shard) if shard else None
        if death is not None:
            killed(plan, death, force=force, shard=part)
        else:
            try:
                summary = do(plan, force=force, shard=part)
            except StorageError:  # areas.json was made with other options
                assert not force
                continue
            if summary.exit_code == 0:
                found = fake.tree(out)
                for item in plan.items:
                    if part is None or part.owns(item.key):
                        assert found[f"mask/{item.key}"] == whole[asks][f"mask/{item.key}"]
                if part is None:
                    assert found == whole[asks]
        if not harmed and out.exists():
            assert {pair for pair in fake.tree(out).items() if not pair[0].endswith(".tmp")} <= every | shards(out)
    summary = do(fake.plan(inputs, out, asks=ASKS[last]), force=True)
    assert summary.exit_code == 0
    assert fake.tree(out) == whole[last]
    assert do(fake.plan(inputs, out, asks=ASKS[last]), fake.never).skipped == 4


def shards(out: Path) -> set[tuple[str, str]]:
    """areas.json may hold parts of several histories; files of photos may not."""
    return {pair for pair in fake.tree(out).items() if pair[0] == "areas.json"}


def harm(out: Path, what: str, number: int) -> None:
    """What people and power failures do to a directory."""
    masks = sorted(out.rglob("*.png")) if out.exists() else []
    if what == "tear":
        for journal in sorted(out.glob(".seg-journal*"))[:1]:
            data = journal.read_bytes()
            journal.write_bytes(data[: len(data) * number // 4])
    elif masks and what == "delete":
        masks[number % len(masks)].unlink()
    elif masks:
        victim = masks[number % len(masks)]
        victim.write_bytes(victim.read_bytes()[:-3])


def killed(plan, death: tuple[str, int], **how) -> None:
    """Do the plan in a process that is killed at the n-th call."""
    child = os.fork()
    if child == 0:
        try:
            setattr(atomic, death[0], Deadly(getattr(atomic, death[0]), death[1], half=death[0] == "os_write"))
            do(plan, **how)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL

"""Following with a real tracker: a tiny SegGPT of random weights, stopped at a frame, goes on bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.io.video import clips
from tests.pipeline.track import stub

from segcli.core.ask import Ask, Point
from segcli.models.seggpt.config import PRESETS
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.model import SegGPT
from segcli.models.seggpt.tracker import SegGPTTracker
from segcli.pipeline.track.plan import Prompts, Said

FRAMES = 7


class PulledPlug(BaseException):
    """Stands for a process that is no more."""


class Mortal(SegGPTTracker):
    dies_at = -1

    def step(self, frame, masks=None):
        if int(frame.name.rsplit("/", 1)[1][:5]) == self.dies_at:
            raise PulledPlug
        return super().step(frame, masks)


class Model(stub.Model):
    """Clicks are answered by colour, objects are followed by SegGPT."""

    dies_at = -1

    def __init__(self, engine: InContext) -> None:
        super().__init__()
        self.engine = engine

    def tracker(self, *, memory=8, every=1, soft=True):
        tracker = Mortal(self.engine, memory, "soft" if soft else "published", every)
        tracker.dies_at = self.dies_at
        self.trackers.append(tracker)
        return tracker


@pytest.fixture(scope="module")
def engine() -> InContext:
    generator = torch.Generator().manual_seed(5)
    model = SegGPT(PRESETS["tiny"]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return InContext(model.requires_grad_(False))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return clips.folder(tmp_path / "clip", FRAMES)


def prompts(tmp_path: Path) -> Prompts:
    mask = clips.write_mask(tmp_path / "mask.png", clips.both_discs())
    correction = Said({1: Ask(points=(Point(12, 14),))})
    return Prompts({0: Said(masks=mask), 3: correction, 6: Said(drops=frozenset({2}))})


@pytest.mark.parametrize(("soft", "deaths"), [(True, (2, 5)), (False, (4,))])
def test_stopped_at_a_frame_and_started_again_it_is_the_undisturbed_run(tmp_path, video, engine, soft, deaths):
    said = prompts(tmp_path)
    options = {"memory": 3, "soft": soft, "save_every": 2}
    assert stub.do(video, tmp_path / "whole", said, "palette", "jsonl", model=Model(engine), **options).exit_code == 0
    for dies_at in deaths:
        out, model = tmp_path / f"out{dies_at}", Model(engine)
        model.dies_at = dies_at
        with pytest.raises(PulledPlug):
            stub.do(video, out, said, "palette", "jsonl", model=model, **options)
        assert stub.do(video, out, said, "palette", "jsonl", model=Model(engine), **options).exit_code == 0
        assert stub.tree(out) == stub.tree(tmp_path / "whole"), dies_at

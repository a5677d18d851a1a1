"""A process to be killed: `python -m tests.pipeline.track.killable VIDEO MASK OUT PAUSE SAVE STRIDE FIRST FORMATS…`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.pipeline.track import stub

from segcli.pipeline.track.plan import Prompts, Said


class Loud(stub.Colours):
    """Says each frame that it is about to see."""

    def step(self, frame, masks=None):
        print(frame.name.rsplit(" ", 1)[1], flush=True)
        return super().step(frame, masks)


class LoudModel(stub.Model):
    def tracker(self, *, memory=8, every=1, soft=True):
        return Loud(memory, every, soft, self.pause)


def main(video: str, mask: str, out: str, pause: str, save_every: str, stride: str, first: str, *formats: str) -> int:
    model = LoudModel(float(pause))
    heard = stub.Heard()
    summary = stub.do(
        Path(video),
        Path(out),
        Prompts({int(first): Said(masks=Path(mask))}),
        *formats,
        model=model,
        events=heard,
        save_every=int(save_every),
        stride=int(stride),
        both_ways=int(first) > 0,
    )
    for error in heard.errors:
        print(error, file=sys.stderr)
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""A process to be killed, with the fake model: `python -m tests.pipeline.killable IN OUT PAUSE [SHARD]`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.pipeline import fake

from segcli.core.errors import SegError
from segcli.pipeline.shard import Shard


class Ready(fake.Heard):
    """Says that the run has begun, and each photo that is done."""

    def started(self, summary):
        print("started", flush=True)

    def done(self, image, files, records, masks):
        print(image, flush=True)


def main(inputs: str, out: str, pause: str, shard: str | None = None) -> int:
    plan = fake.plan(Path(inputs), Path(out))
    model = fake.Bright(pause=float(pause))
    try:
        return fake.do(plan, model, Ready(), batch=2, shard=Shard.parse(shard) if shard else None).exit_code
    except SegError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/bin/sh
# A Ray cluster: one task a shard, on whatever machines Ray has, into one directory that all of them see.
# RAY_ADDRESS names a running cluster; without it Ray starts on this machine. python3 must be the one that seg is
# installed for.
set -e
cd "$(dirname "$0")/.."
if ! python3 -c 'import ray' 2> /dev/null; then
  echo "ray.sh: Ray is not installed; type pip install ray" >&2
  exit 0
fi
[ -n "$RAY_ADDRESS" ] || export RAY_AUTH_MODE=disabled   # a Ray of this machine alone, which nobody else reaches
python3 - 2 <<'RAY'
import os
import pathlib
import subprocess
import sys

import ray

here, count = pathlib.Path.cwd(), int(sys.argv[1])
ray.init(num_cpus=None if os.environ.get("RAY_ADDRESS") else count, include_dashboard=False, log_to_driver=False)


@ray.remote(num_cpus=1, max_retries=3)  # a lost machine's shard is run again, and goes on from its journal
def part(number: int) -> int:
    words = ["seg", "point", "examples/photos", "--at", "50%,45%", "-f", "mask,coco", "-o", "seg-out/ray"]
    return subprocess.run([*words, "--shard", f"{number}/{count}"], cwd=here, check=True).returncode


ray.get([part.remote(number) for number in range(1, count + 1)])
RAY

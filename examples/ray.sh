#!/bin/sh
# Ray: photos are answered by workers on whatever machines a cluster has; they are read, and results written, here.
# RAY_ADDRESS, or --on ray:HOST:PORT, names a running cluster; without it Ray is started on this machine for the run.
# The same command goes on after Ctrl-C, also without --on.
set -e
cd "$(dirname "$0")/.."
if ! python3 -c 'import ray' 2> /dev/null; then
  echo "ray.sh: Ray is not installed; type pip install 'segcli[ray]'" >&2
  exit 0
fi
seg point examples/photos --at 50%,45% -f mask,coco -o seg-out/ray --on ray --actors 2 --threads 1

# Without --on, where machines share a directory but have no Ray: a shard each, see slurm.sh.

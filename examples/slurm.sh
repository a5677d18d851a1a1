#!/bin/sh
#SBATCH --job-name=seg
#SBATCH --array=1-2
#SBATCH --cpus-per-task=4
# A Slurm array: every task does its own part of the photos into the same directory, and the last one to end puts the
# COCO file together. `sbatch examples/slurm.sh` from this directory's parent; without Slurm:
#   for n in 1 2; do SLURM_ARRAY_TASK_ID=$n SLURM_ARRAY_TASK_COUNT=2 sh examples/slurm.sh; done
# With GNU parallel: parallel SLURM_ARRAY_TASK_ID={} SLURM_ARRAY_TASK_COUNT=2 sh examples/slurm.sh ::: 1 2
set -e
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
seg point examples/photos --at 50%,45% -f coco -o seg-out/array \
  --shard "${SLURM_ARRAY_TASK_ID:?is set by sbatch}/${SLURM_ARRAY_TASK_COUNT:-2}"

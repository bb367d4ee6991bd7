#!/bin/bash
# An archive on a Slurm cluster, each task of the array its own part of it:
#
#     sbatch examples/slurm_array.sh /data/archive /data/output
#
# Submit the same line again after a time limit, a failed node or new files: what is done is known and left alone. Always submit the
# whole array and with the same number of tasks, for that number is what the archive is divided by; a part that is done ends in seconds.
#
#SBATCH --job-name=visualize
# From 1, as --shard counts.
#SBATCH --array=1-8
#SBATCH --cpus-per-task=8
# One worker for each GPU. Without this line there is one for each four cores.
##SBATCH --gpus-per-task=1
#SBATCH --mem=16G
#SBATCH --time=12:00:00
# Five minutes before the time is up, SIGTERM: what is begun comes to an end, long videos behind their next segment. "B:" sends it to the
# batch script; without it only what srun has started gets it.
#SBATCH --signal=B:TERM@300
# Preempted, or its node lost: Slurm runs the task again, and it goes on where it was.
#SBATCH --requeue
set -eu

# exec, so that the program itself gets the signal: bash would wait for its end before it heeds any.
exec visualize batch "$1" --output "$2" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"

# When all have ended, `visualize status /data/output` reads the ledgers of all parts together.

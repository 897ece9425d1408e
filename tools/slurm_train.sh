#!/usr/bin/env bash
# Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
# From the environment: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS.
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2
fi

gpus="${GPUS:-8}"
gpus_per_node="${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}"
# SRUN_ARGS may hold several options, hence no quotes.
srun --partition="$1" --job-name="$2" \
    --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" \
    --gres="gpu:$gpus_per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$3" --work-dir "$4" \
    --launcher slurm "${@:5}"

#!/usr/bin/env bash
# The same run on every node of a SLURM job, requeued after preemption and at its time limit.
#
# Usage: bash scripts/launch/slurm.sh --name=NAME --nodes=N [--time=24:00:00] [--partition=P]
#          [--account=A] [--gpus_per_node=G] [--cpus_per_task=C] [--python=.venv/bin/python]
#          [--log_dir=logs] [--dry_run] -- --gin_file=configs/runs/... --gin.MODEL_DIR='"DIR"' ...
#        One process a node, or one a GPU with --gpus_per_node. MODEL_DIR lies on a disk that all nodes
#        share. See docs/pods.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage() { sed -n '2,9p' "${BASH_SOURCE[0]}" | cut -c3-; }

time=24:00:00 partition="" account="" gpus_per_node="" cpus_per_task="" python=.venv/bin/python
log_dir=logs
parse_options name nodes time partition account gpus_per_node cpus_per_task python log_dir -- "$@"
need name nodes
log="$log_dir/$name.txt"
# SIGTERM reaches the training 150 s before the end, which saves and says so; then it goes on in a
# new job of the same number. Preempted jobs are requeued by SLURM itself (--requeue).
script="$(cat <<SCRIPT
#!/usr/bin/env bash
set -uo pipefail
srun $(train_command "$python")
status=\$?
if [ "\$status" -eq $stopped_status ]; then
  scontrol requeue "\$SLURM_JOB_ID"
fi
exit "\$status"
SCRIPT
)"
[ -n "$dry_run" ] || mkdir -p "$log_dir"
printf '%s\n' "$script" | sed 's/^/# script: /'
submit=(sbatch --job-name="$name" --nodes="$nodes" --ntasks-per-node="${gpus_per_node:-1}"
  --time="$time" --requeue --signal=TERM@150 --open-mode=append --output="$log"
  ${partition:+--partition="$partition"} ${account:+--account="$account"}
  ${gpus_per_node:+--gpus-per-node="$gpus_per_node"}
  ${cpus_per_task:+--cpus-per-task="$cpus_per_task"})
run "${submit[@]}" <<<"$script"

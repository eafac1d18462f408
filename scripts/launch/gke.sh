#!/usr/bin/env bash
# The same run on every host of TPU slices in a GKE cluster, through xpk, which restarts it.
#
# Usage: bash scripts/launch/gke.sh --name=NAME --cluster=CLUSTER --zone=ZONE --tpu_type=TYPE
#          [--project=ID] [--num_slices=1] [--image=IMAGE] [--max_restarts=100]
#          [--priority=medium] [--dry_run] -- --gin_file=configs/runs/... --gin.MODEL_DIR='"DIR"' ...
#        --image has this package installed (docs/pods.md); without, xpk builds one of this checkout on
#        python:3.11. MODEL_DIR lies in a storage that xpk has attached to the cluster.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage() { sed -n '2,9p' "${BASH_SOURCE[0]}" | cut -c3-; }

project="" num_slices=1 image="" max_restarts=100 priority=medium
parse_options name cluster zone tpu_type project num_slices image max_restarts priority -- "$@"
need name cluster zone tpu_type
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
install="" source_of_image=(--docker-image="$image")
if [ -z "$image" ]; then
  install="pip install --quiet --constraint constraints.txt -e '.[tpu]' && "
  source_of_image=(--base-docker-image=python:3.11 --script-dir="$root")
fi
run xpk workload create --workload="$name" --cluster="$cluster" --zone="$zone" \
  ${project:+--project="$project"} --tpu-type="$tpu_type" --num-slices="$num_slices" \
  "${source_of_image[@]}" --priority="$priority" \
  --max-restarts="$max_restarts" --restart-on-user-code-failure --termination-grace-period-seconds=180 \
  --command="$install$(train_command python)"
run xpk workload list --cluster="$cluster" --zone="$zone" ${project:+--project="$project"} \
  --filter-by-job="$name"

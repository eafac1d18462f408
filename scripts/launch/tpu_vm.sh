#!/usr/bin/env bash
# The same run on every host of a TPU slice, through gcloud; preempted slices are made anew.
#
# Usage: bash scripts/launch/tpu_vm.sh --name=NAME --zone=ZONE --accelerator_type=TYPE [--project=ID]
#          [--runtime=VERSION] [--spot=yes] [--setup=COMMAND] [--max_restarts=N] [--dry_run]
#          -- --gin_file=configs/runs/... --gin.MODEL_DIR='"DIR"' ...
# E.g.   --accelerator_type=v4-256 is 128 chips on 32 hosts. --setup runs on every host before the
#        run (mount the shared disk that holds MODEL_DIR). See docs/pods.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
usage() { sed -n '2,9p' "${BASH_SOURCE[0]}" | cut -c3-; }

project="" runtime=tpu-ubuntu2204-base spot="" setup=true max_restarts=100
parse_options name zone accelerator_type project runtime spot setup max_restarts -- "$@"
need name zone accelerator_type
place=(--zone="$zone" ${project:+--project="$project"})
tpu() { run gcloud compute tpus tpu-vm "$@"; }
everywhere() { tpu ssh "$name" "${place[@]}" --worker=all --command="$1"; }
state() {
  gcloud compute tpus tpu-vm describe "$name" "${place[@]}" --format='value(state)' 2>/dev/null ||
    echo ABSENT
}

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
archive="$(mktemp -d)/presence_t5x.tar.gz"
trap 'rm -rf "$(dirname "$archive")"' EXIT

provide() {
  tpu create "$name" "${place[@]}" --accelerator-type="$accelerator_type" --version="$runtime" \
    ${spot:+--spot}
  run git -C "$root" archive --format=tar.gz --output="$archive" HEAD
  tpu scp "$archive" "$name:presence_t5x.tar.gz" "${place[@]}" --worker=all
  everywhere "mkdir -p presence_t5x && tar -xzf presence_t5x.tar.gz -C presence_t5x && cd presence_t5x && python3 -m pip install --quiet --user uv && ~/.local/bin/uv venv --quiet --allow-existing --python 3.11 .venv && ~/.local/bin/uv pip install --quiet --python .venv/bin/python --constraint constraints.txt -e '.[tpu]'"
  everywhere "$setup"
}

quick=0
for ((attempt = 0; attempt <= max_restarts; attempt++)); do
  found=ABSENT
  [ -n "$dry_run" ] || found="$(state)"
  case "$found" in
    READY) ;;
    ABSENT) provide ;;
    *) tpu delete "$name" "${place[@]}" --quiet; provide ;; # PREEMPTED, TERMINATED ...
  esac
  started=$SECONDS
  everywhere "cd presence_t5x && $(train_command .venv/bin/python)" && exit 0
  # gcloud does not pass a host's status on: a wrong setting shows by failing at once, every time.
  if [ $((SECONDS - started)) -lt 300 ] && [ "$(state)" = READY ]; then quick=$((quick + 1)); else quick=0; fi
  [ "$quick" -lt 3 ] || fail "the run failed within 5 minutes three times in a row; see its output"
done
fail "gave up after $max_restarts restarts; the same command continues the run"

#!/usr/bin/env bash
# From a plan to the paper's tables: pre-trains, fine-tunes, evaluates, writes tables.json and a page.
# Usage: bash scripts/reproduce.sh PLAN [OUTPUT_DIR] [--quick] [--seeds=N] [--data_dir=DIR] [--dry_run] ...
# (PLAN is one of configs/plans or a .toml file; default OUTPUT_DIR runs/PLAN; run it again to
# continue an interrupted one; python -m presence_t5x.reproduce --help lists the options)
set -euo pipefail
start_dir="$PWD"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" ""

if [ "$#" -eq 0 ] || [ "${1#-}" != "$1" ]; then
  echo "error: which plan? Usage: bash scripts/reproduce.sh PLAN [OUTPUT_DIR] [--quick] ..." >&2
  exit 2
fi
arguments=("--plan=$1")
shift
if [ "$#" -gt 0 ] && [ "${1#-}" = "$1" ]; then
  arguments+=("--output_dir=$1")
  shift
fi
cd "$start_dir"
exec python -m presence_t5x.reproduce "${arguments[@]}" "$@"

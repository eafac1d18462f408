#!/usr/bin/env bash
# From a blank machine to a report: baseline and PRESENCE on the embedded encyclopedia.
# Usage: bash scripts/quickstart.sh [OUTPUT_DIR]   (default runs/quickstart; 7 to 9 minutes on 2
# cores after installation; run it again to continue an interrupted one)
set -euo pipefail
start_dir="$PWD"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" ""

output="${1:-$project_root/runs/quickstart}"
case "$output" in /*) ;; *) output="$start_dir/$output" ;; esac

for variant in baseline presence; do
  echo "== $variant: $output/$variant" >&2
  python -m presence_t5x.train \
    --gin_file="configs/runs/quickstart_$variant.gin" \
    --gin.MODEL_DIR="'$output/$variant'" \
    --gin.PREPARED_DIR="'$output/data'"
done
python -m presence_t5x.report \
  --baseline="$output/baseline" --presence="$output/presence" --output="$output"

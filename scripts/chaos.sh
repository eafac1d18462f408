#!/usr/bin/env bash
# Breaks a small run in every way, continues it, and compares with an uninterrupted one, bit for bit.
# Usage: bash scripts/chaos.sh [--short] [OUTPUT_DIR]   (default runs/chaos; CHAOS_SEED=0; writes
# OUTPUT_DIR/outcomes.json; 20 kills, 5 full disks, 5 corrupted checkpoints, 5 killed hosts, with
# --short 3, 1, 1, 1; exit status 2 if anything was lost)
set -euo pipefail
start_dir="$PWD"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" ""
export PYTHONPATH="$project_root${PYTHONPATH:+:$PYTHONPATH}"
cd "$start_dir"
exec python -m presence_t5x.chaos "$@"

#!/usr/bin/env bash
# Everything that CI checks: tests, lint, format, types.
# Usage: bash scripts/check.sh
set -euo pipefail
bash "$(dirname "${BASH_SOURCE[0]}")/test.sh"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" dev
ruff check .
ruff format --check .
pyright --pythonpath .venv/bin/python

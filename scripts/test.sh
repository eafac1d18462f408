#!/usr/bin/env bash
# Makes the virtual environment if needed and passes the tests.
# Usage: bash scripts/test.sh [PYTEST_ARGUMENTS]   (e.g. -m slow, -k gradients)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" dev

if [ "$#" -eq 0 ]; then
  set -- -m "not slow"
fi
exec python -m pytest -n "${TEST_WORKERS:-2}" --dist worksteal -q --durations=30 "$@"

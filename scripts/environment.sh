# Sourced by the other scripts: makes .venv in the project's root if needed and installs the project.
# Usage: source scripts/environment.sh EXTRA   (an extra of setup.py, or "" for the package alone)

project_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$project_root"

extra="${1:-}"
python="${PYTHON:-}"
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
       "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python="$candidate"
      break
    fi
  done
fi
if [ -z "$python" ]; then
  echo "error: no Python 3.11 or newer found; install one, or set PYTHON=/path/to/python" >&2
  exit 1
fi

# Whatever the constraints name is installed already when its stamp is newer than what it was made from.
stamp=".venv/.installed-${extra:-base}"
is_stale() {
  [ ! -e "$stamp" ] || [ setup.py -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]
}
if is_stale; then
  mkdir -p .venv
  (
    if command -v flock >/dev/null; then flock 9; fi  # another script may be installing
    if is_stale; then
      [ -x .venv/bin/python ] || "$python" -m venv .venv
      echo "installing into .venv (a few minutes the first time)" >&2
      .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable ".${extra:+[$extra]}"
      touch "$stamp"
    fi
  ) 9>.venv/.lock
fi
export PATH="$project_root/.venv/bin:$PATH"
# With libtpu installed (extra tpu), JAX would look for TPUs and complain at length.
if [ -z "${JAX_PLATFORMS:-}" ] && ! compgen -G "/dev/accel*" >/dev/null &&
   ! compgen -G "/dev/vfio/*" >/dev/null && ! compgen -G "/dev/nvidia*" >/dev/null; then
  export JAX_PLATFORMS=cpu
fi

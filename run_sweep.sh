#!/bin/sh
# The shell's way into the sweep, from any directory: sh run_sweep.sh --help. It only finds the Python to run.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit
for argument in "$@"; do
    case $argument in --) break ;; PYTHON=*) PYTHON=${argument#*=} ;; esac
done
for python in "${VIRTUAL_ENV:-$here/.venv}/bin/python" "$here/.venv/bin/python" python3 python; do
    [ -n "${PYTHON+set}" ] || ! command -v "$python" >/dev/null || PYTHON=$python
done
command -v "${PYTHON-}" >/dev/null && exec "$PYTHON" "$here/sweep" "$@"
echo "error: PYTHON: there is no program '${PYTHON-}': name the Python to run with PYTHON=PATH." >&2
exit 2

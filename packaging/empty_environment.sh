#!/bin/sh
# Installs the wheel of DIST that fits PYTHON into a new virtual environment in which no compiler can be found, and runs
# try_wheel.py there. Nothing is built: pip may install wheels only.
#
#     packaging/empty_environment.sh DIST [PYTHON [TRY_WHEEL_OPTION...]]
set -eu
dist=$1
python=$(command -v "${2:-python3}")
shift; [ $# -eq 0 ] || shift
here=$(cd "$(dirname "$0")" && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM

"$python" -m venv "$place/venv"
bare() { env -u PYTHONPATH -u PYTHONHOME PATH="$place/venv/bin" HOME="$place" "$@"; }
# By its file, chosen from DIST alone: an index is asked for what it requires, never for deepreduce itself.
"$place/venv/bin/python" -m pip download --quiet --no-index --no-deps --pre --find-links "$dist" --only-binary :all: \
  --dest "$place" deepreduce
wheel=$(echo "$place"/deepreduce-*.whl)
bare python -m pip install --quiet --only-binary :all: "${wheel}[client,server]"
bare python "$here/try_wheel.py" --bare "$@"

#!/usr/bin/env bash
# Makes a virtual environment, once, with what a file of requirements pins.
#
#     .ci/python_env.sh DIRECTORY REQUIREMENTS…
set -euo pipefail
directory=$1
shift
if [ ! -x "$directory/bin/python" ]; then
  python3 -m venv "$directory"
fi
for requirements in "$@"; do
  "$directory/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
done

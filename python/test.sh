#!/usr/bin/env bash
# The Python package against the simulator, with the readers that people have.
#
# Builds the wheel with the program as cargo builds it for tests, and installs it with everything else into
# a directory that goes away, or into the virtual environment of PYTHON_VENV, which stays. Needs Java 17 for Spark.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${PYTHON_VENV:-$work/venv}
.ci/python_env.sh "$venv" python/tests/requirements.txt
"$venv/bin/maturin" build --quiet --profile dev --interpreter "$venv/bin/python" --out "$work"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --force-reinstall "$work"/tracklake-*.whl

"$venv/bin/python" --version
"$venv/bin/pip" list --disable-pip-version-check | grep -E '^(duckdb|pandas|polars|pyarrow|pyspark) '
java -version 2>&1 | head -1
# JVMs that live for minutes are not worth the time of the better compiler.
export JAVA_TOOL_OPTIONS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"$venv/bin/mypy" --strict python/tracklake
"$venv/bin/python" -m pytest "$@"

#!/usr/bin/env bash
# The promises of object stores, against real servers on loopback: moto and s3rver for s3://, azurite for az://,
# and gcs.py for gs://.
#
#   tests/object_store/run.sh BINARY [DIRECTORY]
#
# Needs python3 with venv, node with npm, and package indexes that both can reach. What is installed stays in
# DIRECTORY, if one is given.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$(realpath "$1")
work=${2:-}
[[ -z $work ]] || mkdir -p "$work"
if [[ -z $work ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi

if [[ ! -x $work/venv/bin/moto_server ]]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    "moto[server]==5.2.5" boto3==1.44.5 pyarrow==26.0.1 duckdb==2.0.0 fsspec==2026.9.0
fi
if [[ ! -d $work/node_modules/azurite ]]; then
  npm install --silent --no-audit --no-fund --no-save --prefix "$work" s3rver@3.7.1 azurite@3.35.0
fi

"$work/venv/bin/python" "$here/suite.py" "$binary" "$work"

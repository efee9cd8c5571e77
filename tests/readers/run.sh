#!/usr/bin/env bash
# Reads every stream of the demo, and what the demo has none of, with DuckDB, Spark (in one process,
# and on a standalone master with two workers on loopback), pyarrow, pandas and Polars, by the views that
# `sql-views` prints and by the snippets of the docs, and compares rows, types and values.
#
#     tests/readers/run.sh TRACKLAKE [VENV]
#
# Needs python3 with venv, a package index that pip can reach, and Java 17.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tracklake=$(realpath "$1")

work=$(mktemp -d)
processes=()
clean() {
  for it in "${processes[@]}"; do kill "$it" 2>/dev/null || true; done
  wait
  rm -rf "$work"
}
trap clean EXIT

venv=${2:-$work/venv}
"$here/../../.ci/python_env.sh" "$venv" "$here/requirements.txt"
python=$venv/bin/python
# The snippets call the program by its name.
mkdir "$work/bin"
ln -s "$tracklake" "$work/bin/tracklake"
export PATH="$work/bin:$PATH" PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1 SPARK_LOCAL_IP=127.0.0.1
cd "$work"

echo "== versions"
tracklake --version
"$python" --version
"$python" -m pip list --disable-pip-version-check --format freeze | grep -iE '^(deltalake|duckdb|numpy|pandas|polars|py4j|pyarrow|pyspark)='
java -version 2>&1 | head -1
# JVMs that live for minutes are not worth the time of the better compiler.
export JAVA_TOOL_OPTIONS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

echo "== datasets"
tracklake demo --output "$work/demo" --quiet >/dev/null
"$python" -c 'import sys, pathlib, odd; odd.export("tracklake", pathlib.Path("."), pathlib.Path("odd"))'

echo "== a Spark master with two workers"
SPARK_HOME=$("$python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
export SPARK_HOME SPARK_LOG_DIR=$work/log
port=$("$python" -c 'import socket; it = socket.socket(); it.bind(("127.0.0.1", 0)); print(it.getsockname()[1])')
start() {
  "$SPARK_HOME/bin/spark-class" "org.apache.spark.deploy.$1" "${@:3}" >"$work/$2.log" 2>&1 &
  processes+=($!)
}
start master.Master master --host 127.0.0.1 --port "$port" --webui-port 0
for it in 1 2; do
  start worker.Worker "worker$it" --host 127.0.0.1 --cores 1 --memory 1g --webui-port 0 --work-dir "$work/worker$it" "spark://127.0.0.1:$port"
done
"$python" "$here/spark_reader.py" "spark://127.0.0.1:$port" tracklake "$work" "$work/standalone.json" 2>"$work/standalone.log" ||
  { tail -n 50 "$work"/{standalone,master,worker1,worker2}.log; exit 1; }
for it in "${processes[@]}"; do kill "$it"; done
processes=()

echo "== Spark in one process"
"$python" "$here/spark_reader.py" "local[2]" tracklake "$work" "$work/local.json" 2>"$work/local.log" ||
  { tail -n 50 "$work/local.log"; exit 1; }

echo "== DuckDB, pyarrow, pandas and Polars, and all of them compared"
"$python" "$here/check.py" tracklake "$work" "$work/local.json" "$work/standalone.json"

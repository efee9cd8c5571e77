"""Reads every stream that the demo exported with DuckDB, as a user would, and compares.

    python read_demo.py OUTPUT_DIRECTORY FILE_WITH_WHAT_THE_DEMO_PRINTED
"""

import json
import re
import sys
from pathlib import Path

import duckdb

STREAMS = 8


def main(output: Path, printed: str) -> None:
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    reported = reported_rows(output)
    assert len(reported) == STREAMS, f"{len(reported)} streams are reported, not {STREAMS}"
    for (pipeline, stream), rows in sorted(reported.items()):
        check_stream(db, output, pipeline, stream, rows)
    check_business_time(db, output)
    check_printed_query(db, printed)


def reported_rows(output: Path) -> dict[tuple[str, str], int]:
    """The rows of each stream, as the JSON report of its run says."""
    rows = {}
    for path in output.glob("_tracklake/*/runs/*.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        assert report["exit_code"] == 0, f"{path}: exit code {report['exit_code']}"
        for stream in report["streams"]:
            assert stream["status"] == "published" and stream["rejected"] == 0, stream
            rows[report["pipeline"], stream["stream"]] = stream["rows"]
    return rows


def check_stream(db, output: Path, pipeline: str, stream: str, reported: int) -> None:
    parquet = f"read_parquet('{output}/parquet/{pipeline}/{stream}/**/*.parquet', hive_partitioning = true)"
    schema = db.sql(f"SELECT * FROM {parquet}")
    types = dict(zip(schema.columns, map(str, schema.types)))
    date = types.pop("date")
    assert date == "DATE", f"{pipeline}.{stream}: the partition column is read as {date}"
    assert list(types)[-1] == "_extra", f"{pipeline}.{stream}: the last column is {list(types)[-1]}"

    # A quoted empty field is the empty text, a bare one is null.
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
    csv = (
        f"read_csv('{output}/csv/{pipeline}/{stream}/**/*.csv', hive_partitioning = true, "
        f"hive_types = {{'date': DATE}}, header = true, auto_detect = false, delim = ',', "
        f"quote = '\"', escape = '\"', new_line = '\\n', allow_quoted_nulls = false, "
        f"columns = {{{columns}}})"
    )
    names = ", ".join(f'"{name}"' for name in ["date", *types])
    counted = [count(db, f"SELECT * FROM {source}") for source in (parquet, csv)]
    differing = count(db, f"SELECT {names} FROM {parquet} EXCEPT ALL SELECT {names} FROM {csv}")
    partitions = count(db, f"SELECT DISTINCT date FROM {parquet}")

    print(f"{pipeline}.{stream}: {counted[0]} rows in Parquet, {counted[1]} in CSV, {partitions} dates")
    assert counted == [reported, reported], f"the report says {reported}"
    assert differing == 0, f"{differing} rows of Parquet are not the same in CSV"
    assert reported > 0, "there is nothing to compare"


def check_business_time(db, output: Path) -> None:
    """Three weeks of work are 3 x 5 x 8 hours."""
    worklogs = f"read_parquet('{output}/parquet/yandex_tracker/worklogs/**/*.parquet')"
    found = db.sql(f"SELECT DISTINCT duration_seconds FROM {worklogs} WHERE duration = 'P3W'").fetchall()
    assert found == [(432_000,)], f"P3W is {found}"
    print("P3W is 432000 seconds")


def check_printed_query(db, printed: str) -> None:
    """The query that the demo prints runs as it is printed."""
    query = re.search(r"^  SELECT .*?;$", printed, re.MULTILINE | re.DOTALL)
    assert query, "the demo printed no query"
    result = db.sql(query.group().rstrip(";"))
    assert result.columns == ["date", "created_by_display", "hours"], result.columns
    print(result)
    assert len(result.fetchall()) == 10


def count(db, query: str) -> int:
    return db.sql(f"SELECT count(*) FROM ({query})").fetchall()[0][0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8"))

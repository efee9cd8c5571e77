"""Whether two datasets hold the same rows: compare.py OUTPUT OTHER

Each is a directory of Parquet files. Rows are matched by id; instants compare as instants.
"""

import sys

import duckdb

COLUMNS = """self issue_self issue_id issue_key issue_display comment created_by_self created_by_id
    created_by_display updated_by_self updated_by_id updated_by_display duration id version created_at
    updated_at start start_date duration_seconds""".split()
INSTANTS = {"created_at", "updated_at", "start"}


def main(first: str, second: str) -> None:
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    for name, place in (("first", first), ("second", second)):
        columns = ", ".join(f"{it}::TIMESTAMP AS {it}" if it in INSTANTS else it for it in COLUMNS)
        files = f"read_parquet('{place}/**/*.parquet', hive_partitioning = false)"
        db.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM {files}")
    different = " OR ".join(f"first.{it} IS DISTINCT FROM second.{it}" for it in COLUMNS)
    rows, unequal = db.execute(f"""
        SELECT count(*), count(*) FILTER ({different})
        FROM first FULL JOIN second ON first.id = second.id
    """).fetchone()
    (one,), (other,) = (db.execute(f"SELECT count(*) FROM {it}").fetchone() for it in ("first", "second"))
    assert rows == one == other and unequal == 0, f"{one} and {other} rows, {unequal} of {rows} differ"
    print(rows)


main(*sys.argv[1:])

"""Reads everything with DuckDB, pyarrow, pandas and Polars, and compares it with what Spark found.

    python check.py TRACKLAKE WORK SPARK_LOCAL SPARK_STANDALONE
"""

import json
import re
import sys
import time
from pathlib import Path

import deltalake
import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

import datasets
import facts
import odd
import pages


def main(tracklake: str, work: Path, local: Path, standalone: Path) -> None:
    everything = datasets.all_of(work)
    spark = json.loads(local.read_text(encoding="utf-8"))
    cluster = json.loads(standalone.read_text(encoding="utf-8"))
    assert cluster["executors"] == 2, f"{cluster['executors']} executors"
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    run_statements(db, tracklake, work, "parquet")
    comments(db)
    in_parquet = {}
    for it in everything:
        if "parquet" in it.formats:
            in_parquet[it.name] = parquet(db, it, spark["parquet"][it.name], cluster["parquet"][it.name])
    pruned(db, everything)
    caveats(everything)
    by_field_id(db, everything)
    opened(db, everything)
    elsewhere(tracklake, work)
    snapshots(db, everything)
    living = db.sql("SELECT count(*) FROM odd_marked_living").fetchall()[0]
    assert living == (3,), living
    odd_values(db)

    run_statements(db, tracklake, work, "csv")
    for it in everything:
        csv(db, it, in_parquet.get(it.name, in_parquet["odd.texts"]), spark["csv"].get(it.name))
    print("all readers agree")


def run_statements(db, tracklake: str, work: Path, form: str) -> None:
    start = time.monotonic()
    printed = datasets.statements(tracklake, work, "duckdb", form)
    for it in printed:
        db.execute(it)
    print(f"DuckDB: {len(printed)} statements for {form} in {time.monotonic() - start:.1f} s")


def comments(db) -> None:
    found = db.sql("SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'odd_texts' AND comment IS NOT NULL").fetchall()
    assert dict(found)["note"] == "It's; what 'was' said" and dict(found)["spent_seconds"] == "in seconds", found


def parquet(db, it: datasets.Dataset, spark: dict, cluster: dict) -> dict:
    """Reads a dataset with every reader; all see the same, and the types that docs/reading.md says."""
    found = {"duckdb": of_duckdb(db, it), "spark": spark, "spark, two workers": cluster}
    if it.partition == "date":
        grown = ", column added" if it.stream == "grown" else ""
        dataset = pages.run("pyarrow", it.root, it.pipeline, it.stream)["worklogs"]
        found["pyarrow"] = facts.fingerprint(dataset.to_table()) | {"types": {field.name: str(field.type) for field in dataset.schema}}
        frame = pages.run("pandas" + grown, it.root, it.pipeline, it.stream)["worklogs"]
        found["pandas"] = facts.fingerprint(pa.Table.from_pandas(frame, preserve_index=False))
        found["pandas"]["types"] = {name: str(kind) for name, kind in frame.dtypes.items()}
        frame = pages.run("Polars" + grown, it.root, it.pipeline, it.stream)["worklogs"].collect()
        found["polars"] = facts.fingerprint(frame.to_arrow()) | {"types": {name: str(kind) for name, kind in frame.schema.items()}}
    expected = pages.reader_types() | {"Int32": {"duckdb": "INTEGER", "spark": "int"}}
    first = found["duckdb"]
    for reader, them in found.items():
        of = {name: expected[stored][reader.split(",")[0]] for name, stored in it.stored.items()}
        wrong = {name: (them["types"].get(name), kind) for name, kind in of.items() if them["types"].get(name) != kind}
        assert not wrong and len(them["types"]) == len(of), f"{it.name}: {reader} has other types than the docs say: {wrong}"
        if reader.startswith(("duckdb", "spark")):
            assert list(them["types"]) == list(of), f"{it.name}: {reader} has other columns or another order: {list(them['types'])}"
        assert them["rows"] == it.rows, f"{it.name}: {reader} reads {them['rows']} rows, the manifest says {it.rows}"
        differ = [name for name, digest in them["columns"].items() if digest != first["columns"][name]]
        assert not differ and them["all"] == first["all"], f"{it.name}: {reader} and DuckDB read other values in {differ or 'some rows'}"
    print(f"{it.name}: {it.rows} rows, {len(it.stored)} columns, {first['all']} by {', '.join(found)}")
    return first


def of_duckdb(db, it: datasets.Dataset) -> dict:
    relation = db.sql(f"SELECT * FROM {it.view}")
    types = dict(zip(relation.columns, map(str, relation.types)))
    table = pa.table(relation)
    of_files = facts.fingerprint(table, without=(it.partition,))["all"]
    return facts.fingerprint(table) | {"types": types, "without_partition": of_files}


def pruned(db, everything) -> None:
    for it in everything[:8]:
        date = db.sql(f"SELECT max(date) FROM {it.view}").fetchall()[0][0]
        plan = db.sql(f"EXPLAIN ANALYZE SELECT * FROM {it.view} WHERE date = '{date}'").fetchall()[0][1]
        files = re.search(r"Scanning Files: (\d+)/(\d+)", plan)
        assert files and "File Filters" in plan and files[1] == "1" < files[2], plan
        polars_files = pages.run("Polars", it.root, it.pipeline, it.stream)["worklogs"].filter(polars.col("date") == date).explain()
        assert polars_files.count(".parquet") == 1 and f"date={date}" in polars_files, polars_files
        dataset = pages.run("pyarrow", it.root, it.pipeline, it.stream)["worklogs"]
        fragments = len(list(dataset.get_fragments(filter=pyarrow.dataset.field("date") == date)))
        assert fragments == 1, fragments
        print(f"{it.name}: {files[0]} for {date} in DuckDB, 1 file in Polars and pyarrow")


def opened(db, everything) -> None:
    """A query for one date of a view needs no other file, not even to know the columns."""
    for it in everything[:8]:
        date = db.sql(f"SELECT max(date) FROM {it.view}").fetchall()[0][0]
        query = f"SELECT count(*) FROM {it.view} WHERE date = '{date}'"
        before = db.sql(query).fetchall()
        others = [file for file in Path(it.root, "parquet", it.pipeline, it.stream).rglob("*.parquet") if f"date={date}" not in str(file)]
        kept = {file: file.read_bytes() for file in others}
        try:
            for file in others:
                file.write_bytes(b"no Parquet")
            assert db.sql(query).fetchall() == before and len(others) > 1, it.name
        finally:
            for file, body in kept.items():
                file.write_bytes(body)


def elsewhere(tracklake: str, work: Path) -> None:
    """A dataset below a directory that looks like a partition, and whose name is a pattern for others, too."""
    output = datasets.elsewhere(work)
    for form in ("parquet", "csv"):
        db = duckdb.connect()
        for it in datasets.printed(tracklake, [work / "odd.yaml"], output, "duckdb", form):
            db.execute(it)
        rows = db.sql("SELECT id, CAST(date AS VARCHAR) FROM odd_grown ORDER BY id").fetchall()
        assert rows == [(it["id"], it["day"]) for it in odd.grown(2)], f"{form}: {rows}"


def snapshots(db, everything) -> None:
    """A copy in DuckDB and one in Delta Lake have the rows of the dataset, also when they are made again."""
    for it in everything:
        if it.partition != "date" or "parquet" not in it.formats:
            continue
        expected = of_duckdb(db, it)["all"]
        db.execute(f"CREATE OR REPLACE TEMP TABLE snapshot AS FROM {it.view}")
        assert facts.fingerprint(pa.table(db.sql("FROM snapshot")))["all"] == expected, it.name
        for _ in range(2):
            pages.run("Delta", it.root, it.pipeline, it.stream)
        found = deltalake.DeltaTable(f"delta/{it.pipeline}/{it.stream}").to_pyarrow_table()
        assert facts.fingerprint(found)["all"] == expected, it.name
    print("snapshots in DuckDB and Delta Lake have the same rows")


def caveats(everything) -> None:
    """What the docs say of readers that are told nothing."""
    [grown] = [it for it in everything if it.name == "odd.grown"]
    directory = f"{grown.root}/parquet/odd/grown"
    schema = pyarrow.dataset.dataset(directory, partitioning="hive").schema
    assert "note" not in schema.names and schema.field("date").type == pa.string(), schema
    frame = pandas.read_parquet(directory)
    assert "note" not in frame.columns and str(frame["date"].dtype) == "category", frame.dtypes
    try:
        polars.scan_parquet(f"{directory}/**/*.parquet").collect()
    except polars.exceptions.PolarsError as error:
        assert "extra column" in str(error), error
    else:
        raise AssertionError("Polars reads files of before and after a column was added")


def by_field_id(db, everything) -> None:
    """A reader that goes by ids takes no column for another, though one was added between them."""
    [grown] = [it for it in everything if it.name == "odd.grown"]
    directory = Path(grown.root, "parquet/odd/grown")
    newest = pyarrow.parquet.read_schema(directory / "date=2024-07-27/part-0.parquet")
    fields = ", ".join(
        f"{int(newest.field(name).metadata[b'PARQUET:field_id'])}: {{name: '{name}', type: '{kind}', default_value: NULL}}"
        for name, kind in {"id": "BIGINT", "note": "VARCHAR", "user": "VARCHAR"}.items()
    )
    rows = db.sql(f"SELECT id, note, \"user\" FROM read_parquet('{directory}/**/*.parquet', schema = MAP {{{fields}}}) ORDER BY id").fetchall()
    assert rows == [(it["id"], it.get("note"), it["user"]) for it in odd.grown(2)], rows


def odd_values(db) -> None:
    """What the readers agree on is what the source has said."""
    rows = db.sql('SELECT id, note, CAST(day AS VARCHAR), epoch_us("at"), number, share, is_done FROM odd_texts ORDER BY id').fetchall()
    expected = odd.texts()
    assert len(rows) == len(expected)
    for row, source in zip(rows, expected):
        wanted = (source["id"], source["note"], source["day"], micros(source["at"]), source["number"], source["share"], source["is_done"])
        assert row == wanted, f"{row} is not {wanted}"
    for unit, slots in {"hours": [None, "2023-12-31T23", "2024-07-25T05", "2024-07-25T06"], "months": [None, "2023-12", "2024-07"], "years": [None, 2023, 2024]}.items():
        found = db.sql(f"SELECT DISTINCT slot FROM odd_{unit} ORDER BY slot NULLS FIRST").fetchall()
        assert [it for it, in found] == slots, found


def micros(text: str | None) -> int | None:
    from datetime import datetime, timedelta, timezone

    if text is None:
        return None
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return since // timedelta(microseconds=1)


def csv(db, it: datasets.Dataset, in_parquet: dict, spark: dict | None) -> None:
    """The rows of CSV are those of Parquet."""
    found = {"DuckDB": of_duckdb(db, it)}
    if spark:
        found["Spark"] = spark
    if it.partition == "date" and it.stream not in ("grown", "nothing") and it.pipeline not in ("odd_gzip", "odd_zstd"):
        names = pages.run("CSV", it.root, it.pipeline, it.stream)
        found["pyarrow"] = facts.fingerprint(names["in_pyarrow"])
        found["Polars"] = facts.fingerprint(names["in_polars"].to_arrow())
        conflated(it, names["in_pandas"], names["in_polars"])
    for reader, them in found.items():
        same = {name: them["columns"][name] == digest for name, digest in in_parquet["columns"].items() if name in them["columns"]}
        wrong = [name for name, is_same in same.items() if not is_same]
        assert not wrong, f"{it.name}: {reader} reads other values from CSV in {wrong}"
        assert len(same) >= len(in_parquet["columns"]) - 1 and them["rows"] == it.rows, f"{it.name}: {reader}"
        same_rows = in_parquet["without_partition" if reader == "Polars" else "all"]
        assert them["all"] == same_rows, f"{it.name}: {reader} reads other rows from CSV"
    print(f"{it.name}: CSV is the same by {', '.join(found)}")


def conflated(it, frame, as_it_is) -> None:
    """pandas has null for the empty text, and else the same texts."""
    for name, stored in it.stored.items():
        if stored == "Utf8" and name != it.partition:
            theirs = sorted(map(str, frame[name].fillna("").tolist()))
            ours = sorted(it or "" for it in as_it_is[name].to_list())
            assert theirs == ours, f"{it.name}: pandas reads other texts in {name}"


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]))

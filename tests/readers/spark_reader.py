"""Reads everything with Spark, and leaves what it found as JSON.

    python spark_reader.py MASTER TRACKLAKE WORK FOUND
"""

import json
import logging
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

import datasets
import facts
import odd
import pages

START = time.monotonic()


def main(master: str, tracklake: str, work: Path, found: Path) -> None:
    # Failures that are expected are no news.
    logging.disable(logging.CRITICAL)
    spark = (
        SparkSession.builder.master(master).appName("readers").config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
        # Directories are listed by the driver: a job with a task for each takes longer on a local disk.
        .config("spark.sql.sources.parallelPartitionDiscovery.threshold", "1000")
       .config("spark.sql.warehouse.dir", str(work / "warehouse"))
        .config("spark.executor.memory", "512m").config("spark.executor.cores", "1").config("spark.cores.max", "2")
        .config("spark.scheduler.minRegisteredResourcesRatio", "1.0").config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    everything = datasets.all_of(work)
    run_statements(spark, tracklake, work, "parquet")
    result = {"parquet": {it.name: read(spark.table(it.view)) for it in everything if "parquet" in it.formats}}
    say("Parquet is read")
    result["executors"] = spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
    if master.startswith("local"):
        marked = spark.table("odd_marked_living")
        assert marked.count() == 3 and spark.table("odd_marked").count() == 4, "deletes: mark"
        pruned(spark, everything)
        grown(spark, tracklake, work)
        caveats(spark, work)
        run_statements(spark, tracklake, work, "csv")
        csv = [it for it in everything if it.stream != "grown" and "csv" in it.formats]
        result["csv"] = {it.name: read(spark.table(it.view)) for it in csv}
        say("CSV is read")
        fails(spark, "odd_grown", "files of before and after a column was added, in CSV", "CSV header")
        snippets(spark, work)
        elsewhere(spark, tracklake, work)
    found.write_text(json.dumps(result), encoding="utf-8")
    spark.stop()


def say(what: str) -> None:
    print(f"  {what}, {time.monotonic() - START:.0f} s after the start", flush=True)


def run_statements(spark, tracklake: str, work: Path, form: str) -> None:
    start = time.monotonic()
    printed = datasets.statements(tracklake, work, "spark", form)
    for it in printed:
        spark.sql(it)
    print(f"  {len(printed)} statements for {form} in {time.monotonic() - start:.1f} s")


def read(frame) -> dict:
    found = facts.fingerprint(frame.toArrow())
    return found | {"types": dict(frame.dtypes)}


def pruned(spark, everything) -> None:
    """One date is one directory, of every dataset of the demo."""
    for it in everything[:8]:
        date = spark.sql(f"SELECT max(`date`) FROM {it.view}").first()[0]
        frame = spark.sql(f"SELECT * FROM {it.view} WHERE `date` = DATE '{date}'")
        rows = len(frame.collect())
        plan = frame._jdf.queryExecution().executedPlan()
        scan = plan.collectLeaves().apply(0)
        files = scan.metrics().get("numFiles").get().value()
        there = len(list(Path(it.root, "parquet", it.pipeline, it.stream).glob("*/*.parquet")))
        filters = [line for line in plan.toString().split(", ") if line.startswith("PartitionFilters")]
        print(f"  {it.name}: {files} of {there} files for {rows} rows of {date}; {filters[0]}")
        assert files == 1 < there and "date#" in filters[0], plan.toString()


def grown(spark, tracklake: str, work: Path) -> None:
    """A partition that comes while a session is open is there after the statements are run again."""
    directory = work / "odd/parquet/odd/grown"
    hidden = directory / "date=2024-07-27"
    hidden.rename(work / "hidden")
    [statement] = [it for it in datasets.statements(tracklake, work, "spark", "parquet") if "VIEW `odd_grown` " in it]
    spark.sql(statement)
    before = spark.table("odd_grown").count()
    (work / "hidden").rename(hidden)
    stale = spark.table("odd_grown").count()
    spark.sql("REFRESH TABLE odd_grown")
    refreshed = spark.table("odd_grown").count()
    spark.sql(statement)
    again = spark.table("odd_grown").count()
    print(f"  a new partition: {before} rows before, {stale} in the open session, {refreshed} after REFRESH, {again} after the statement")
    assert (before, stale, refreshed, again) == (3, 3, 4, 4)


def caveats(spark, work: Path) -> None:
    """What the docs say of tables with partitions, and of a text in CSV."""
    spark.sql(f"CREATE TABLE repaired (id BIGINT, `date` DATE) USING parquet PARTITIONED BY (`date`) LOCATION '{work}/odd/parquet/odd/grown'")
    before = spark.table("repaired").count()
    spark.sql("MSCK REPAIR TABLE repaired")
    after = spark.table("repaired").count()
    print(f"  a table with PARTITIONED BY: {before} rows, {after} once it is repaired")
    assert (before, after) == (0, 4)
    (work / "null.csv").write_text('a,b\n1,<null>\n2,\n3,""\n', encoding="utf-8")
    options = {"header": True, "nullValue": "<null>", "emptyValue": "", "schema": "a INT, b STRING"}
    assert [it.b for it in spark.read.csv(str(work / "null.csv"), **options).collect()] == [None, None, ""]


def elsewhere(spark, tracklake: str, work: Path) -> None:
    """A dataset below a directory that looks like a partition, and whose name is a pattern for others, too."""
    for it in datasets.printed(tracklake, [work / "odd.yaml"], datasets.elsewhere(work), "spark", "parquet"):
        spark.sql(it)
    rows = [(it.id, str(it.date)) for it in spark.sql("SELECT id, date FROM odd_grown ORDER BY id").collect()]
    assert rows == [(it["id"], it["day"]) for it in odd.grown(2)], rows


def fails(spark, view: str, what: str, why: str) -> None:
    try:
        spark.table(view).collect()
    except Exception as error:
        assert why in str(error), f"{what}: Spark fails by something else than the docs say: {error}"
        print(f"  {what}: fails, as the docs say: {why}")
        return
    raise AssertionError(f"{what}: Spark reads it, the docs say that it fails")


def snippets(spark, work: Path) -> None:
    demo = str(work / "demo")
    names = pages.run_on("Spark", {}, demo)
    assert read(names["worklogs"])["all"] == read(spark.read.parquet(f"{demo}/parquet/yandex_tracker/worklogs"))["all"]
    typed = spark.read.parquet(f"{demo}/parquet/codearts_req/work_hours")
    assert read(names["hours"])["all"] == read(typed)["all"], "the options for CSV in docs/reading.md"
    pages.run_on("Spark views", {"spark": spark}, demo)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))

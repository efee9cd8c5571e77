"""The Spark data source on this machine alone: rows, options, failures, streams."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

import tracklake
import tracklake.spark
from conftest import NOW, ROOT, STREAMS, Simulator, spark_session
from tables import exported, multiset

TOMORROW = "2024-07-26T12:00:00Z"


@pytest.fixture(scope="module")
def spark(one_simulator):
    session = spark_session(one_simulator, "local[2]")
    yield session
    session.stop()


def load(spark: SparkSession, pipeline: str, stream: str, **options: object) -> DataFrame:
    """A batch; in names of options `__` stands for a dot."""
    reader = spark.read.format("tracklake").option("pipeline", pipeline).option("stream", stream)
    for name, value in options.items():
        reader = reader.option(name.replace("__", "."), value)
    return reader.load()


@pytest.mark.parametrize(("pipeline", "stream"), STREAMS)
def test_rows_are_those_of_a_run(spark, simulator, dataset, pipeline, stream):
    found = load(spark, pipeline, stream, parallelism=3)

    table = found.toArrow()
    expected = exported(dataset, pipeline, stream)
    assert multiset(table) == multiset(expected)
    assert table.num_rows > 0
    assert found.columns == [it.name for it in expected.schema]


def test_the_schema_costs_no_request_and_a_stream_as_many_as_a_pull(spark, simulator):
    frame = load(spark, "yandex_tracker", "worklogs", set__token=simulator.env["YANDEX_TRACKER_TOKEN"])
    # As `explain`, the pages of the cluster and its event log show it.
    assert simulator.env["YANDEX_TRACKER_TOKEN"] not in frame._jdf.queryExecution().toString()
    assert dict(frame.dtypes)["duration_seconds"] == "bigint"
    assert dict(frame.dtypes)["start"] == "timestamp"
    assert simulator.requests() == []

    frame.collect()
    by_spark = Counter(it["path"] for it in simulator.requests())
    simulator.forget_requests()
    tracklake.pull("yandex_tracker", "worklogs").read_all()
    assert by_spark == Counter(it["path"] for it in simulator.requests())


def test_partitions_are_groups_of_slices(spark, simulator):
    def count(**options: object) -> int:
        return load(spark, "jira_timesheet", "worklogs", **options).rdd.getNumPartitions()

    assert count() == 2, "the slots of local[2]"
    assert count(parallelism=3) == 3
    assert count(parallelism=3, set__max_in_flight=2) == 2, "no part of less than one request"
    assert count(partitions=20) == 20
    assert count(since="2024-07-20", until="2024-07-22", partitions=20) == 3


def test_a_part_of_the_time(spark, simulator):
    found = load(spark, "jira_timesheet", "worklogs", since="2024-07-01", until="2024-07-10")
    expected = tracklake.pull("jira_timesheet", "worklogs", since="2024-07-01", until="2024-07-10")
    assert multiset(found.toArrow()) == multiset(expected.read_all())


def test_columns_can_be_chosen_by_a_schema(spark, simulator):
    reader = spark.read.format("tracklake").option("pipeline", "yandex_tracker").option("stream", "issues")
    rows = reader.schema("key STRING, updated_at TIMESTAMP").load().toArrow()
    expected = tracklake.pull("yandex_tracker", "issues", columns=["key", "updated_at"]).read_all()
    assert multiset(rows) == multiset(expected)


@pytest.mark.parametrize(
    ("stream", "options", "message"),
    [
        ("worklog", {}, "has no stream `worklog`"),
        ("worklogs", {"sinse": "7d"}, "option `sinse` is not known"),
        ("worklogs", {"parallelism": "many"}, "option `parallelism` is a number"),
        ("worklogs", {"rejects": "drop"}, "option `rejects` is `fail` or `leave_out`"),
        ("worklogs", {"set__tokn": "x"}, "names no variable"),
        ("worklogs", {"since": "2024-07-20", "until": "2024-07-19"}, "nothing is between them"),
        ("worklogs", {"since": "yesterday"}, "expected a date"),
        ("", {}, "option `stream` is missing"),
    ],
)
def test_what_is_wrong_is_said(spark, simulator, stream, options, message):
    with pytest.raises(PySparkException, match=message):
        load(spark, "yandex_tracker", stream, **options).collect()


def test_a_source_that_fails_fails_the_job(spark, simulator):
    simulator.faults(status_error_every=1, path_contains="get-record")
    with pytest.raises(PySparkException, match="slices could not be read.*the rows are not complete"):
        load(spark, "codearts_req", "history").collect()


def test_records_that_do_not_fit_fail_the_job_or_are_left_out(spark, simulator, tmp_path):
    text = (ROOT / "pipelines" / "yandex_tracker.yaml").read_text()
    # No key is a number; executors get the file from the driver.
    text = text.replace("{ from: key, type: string }", "{ from: key, type: int64 }", 1)
    write = "    write: { merge: { key: [id], newest_by: version } }"
    file = tmp_path / "broken.yaml"
    file.write_text(text.replace(write, f"    max_rejected: 100%\n{write}", 1))

    with pytest.raises(PySparkException, match="40 records of 40 did not fit"):
        load(spark, str(file), "issues").collect()
    assert load(spark, str(file), "issues", rejects="leave_out").collect() == []


@pytest.mark.parametrize(
    ("slices", "rate", "in_flight", "options", "parts", "share"),
    [
        (10, 10, 8, {"parallelism": "4"}, 4, 4),
        (3, 10, 8, {"parallelism": "4"}, 3, 3),
        (0, 10, 8, {"parallelism": "4"}, 1, 1),
        # A share of a rate is a whole number of requests, and of requests at once, too.
        (10, 2.5, 8, {"parallelism": "4"}, 2, 2),
        (10, 0.5, 8, {"parallelism": "4"}, 1, 1),
        (10, 10, 3, {"parallelism": "4"}, 3, 3),
        (10, 10, 8, {"parallelism": "4", "partitions": "9"}, 9, 4),
        (10, 10, 3, {"parallelism": "4", "partitions": "9"}, 9, 3),
        (2, 10, 8, {"parallelism": "4", "partitions": "9"}, 2, 2),
    ],
)
def test_slices_are_dealt_out_within_the_limits(slices, rate, in_flight, options, parts, share):
    job = tracklake.spark.TracklakeDataSource({"pipeline": "p", "stream": "s", **options})._job()
    limits = {"requests_per_second": rate, "max_in_flight": in_flight}
    all_slices = [{"parent": {"id": it}} for it in range(slices)]

    tasks = job.tasks({"plan": "x", "limits": limits, "slices": all_slices})

    assert [(it.share, it.plan) for it in tasks] == [(share, "x")] * parts
    dealt = [json.loads(line) for it in tasks for line in it.lines]
    assert sorted(dealt, key=str) == sorted(all_slices, key=str)
    sizes = [len(it.lines) for it in tasks]
    assert max(sizes) - min(sizes) <= 1


def test_a_stream_ends_at_a_whole_second_of_the_past():
    def latest(**options: str) -> datetime:
        source = tracklake.spark.TracklakeDataSource({"pipeline": "p", "stream": "s", **options})
        return datetime.fromisoformat(source.streamReader(StructType()).latestOffset()["until"])

    before = datetime.now(timezone.utc).replace(microsecond=0)
    assert before <= latest() <= datetime.now(timezone.utc)
    assert latest(lag="2h") <= datetime.now(timezone.utc) - timedelta(hours=2)
    assert latest(until="2024-07-25T12:00:00.9+03:00").isoformat() == "2024-07-25T09:00:00+00:00"
    for bad in ("2024-07-25", "7d", "2024-07-25T12:00:00"):
        with pytest.raises(ValueError, match="option `until` of a stream is an RFC 3339 instant"):
            latest(until=bad)
    with pytest.raises(ValueError, match="option `lag` is a length of time"):
        latest(lag="soon")


def stream_reader(stream: str = "issues", **options: str) -> tracklake.spark.TracklakeStreamReader:
    options = {"pipeline": "codearts_req", "stream": stream, **options}
    return tracklake.spark.TracklakeDataSource(options).streamReader(StructType())


def test_a_stream_does_not_go_back():
    reader = stream_reader(until=NOW)
    first = reader.latestOffset(reader.initialOffset(), None)
    assert first["until"] == NOW
    assert stream_reader(until=TOMORROW).latestOffset(first)["until"] == TOMORROW
    for earlier in (NOW, "2024-07-24T00:00:00Z"):
        assert stream_reader(until=earlier).latestOffset(first, None) == first
    assert reader.partitions(first, first) == []
    # Spark 4.0 does not tell how far it is.
    before = stream_reader(until="2024-07-24T00:00:00Z").latestOffset()
    with pytest.raises(tracklake.UsageError, match="has read up to 2024-07-25T12:00:00Z"):
        reader.partitions(first, before)


def test_a_stream_does_not_go_on_from_the_checkpoint_of_another():
    offset = stream_reader("issues", until=NOW).latestOffset()
    history = stream_reader("history", until=TOMORROW)
    with pytest.raises(tracklake.UsageError, match="checkpoint is one of `codearts_req.issues`: `codearts_req.history` cannot"):
        history.partitions(offset, history.latestOffset(offset))


def test_executors_that_know_another_pipeline_read_nothing(simulator, monkeypatch):
    options = {"pipeline": "yandex_tracker", "stream": "issues"}
    job = tracklake.spark.TracklakeDataSource(options)._job()
    (task,) = job.tasks(job.plan(None, None))
    monkeypatch.setenv("YANDEX_TRACKER_QUERY", "Queue: OPS")
    with pytest.raises(tracklake.PipelineError, match="not those that the slices were planned with"):
        job.read(list(task.lines), task.share, task.plan).read_all()


class Nights:
    """A stream that is read night after night into Parquet, and a simulator whose days pass."""

    def __init__(self, spark: SparkSession, stream: str, directory: Path) -> None:
        self.spark, self.stream, self.directory = spark, stream, directory
        self.simulator = Simulator(issues=40)

    def night(self, until: str) -> None:
        reader = self.spark.readStream.format("tracklake").option("pipeline", "codearts_req")
        reader = reader.option("stream", self.stream).option("until", until)
        reader = reader.option("set.url", self.simulator.env["CODEARTS_URL"]).option("parallelism", 2)
        query = (
            reader.load().writeStream.format("parquet").option("path", str(self.directory / "rows"))
            .option("checkpointLocation", str(self.directory / "checkpoint"))
            .trigger(availableNow=True).start()
        )
        query.awaitTermination(120)
        assert not query.isActive

    def rows(self) -> Counter:
        return multiset(self.spark.read.parquet(str(self.directory / "rows")).toArrow())

    def pulled(self, **part: object) -> Counter:
        url = {"url": self.simulator.env["CODEARTS_URL"]}
        return multiset(tracklake.pull("codearts_req", self.stream, set=url, **part).read_all())


@pytest.fixture
def nights(spark, simulator, tmp_path, request):
    nights = Nights(spark, request.param, tmp_path)
    yield nights
    nights.simulator.stop()


@pytest.mark.parametrize("nights", ["issues"], indirect=True)
def test_nights_append_each_change_exactly_once(nights, monkeypatch):
    nights.night(until=NOW)
    first = nights.pulled(until=NOW)
    assert nights.rows() == first

    nights.simulator.control("POST", "next_day")
    monkeypatch.setenv("TRACKLAKE_NOW", TOMORROW)
    nights.simulator.faults(status_error_every=1)
    with pytest.raises(PySparkException, match="slices could not be read"):
        nights.night(until=TOMORROW)
    assert nights.rows() == first, "a night that fails leaves nothing"
    nights.simulator.faults()
    nights.night(until=TOMORROW)

    second = nights.pulled(since=NOW, until=TOMORROW)
    assert sum(second.values()) > 0, "something changed"
    assert nights.rows() == first + second

    nights.simulator.forget_requests()
    nights.night(until=TOMORROW)
    nights.night(until=NOW)
    assert nights.rows() == first + second
    assert nights.simulator.requests() == [], "nothing is left to be asked"


@pytest.mark.parametrize("nights", ["history"], indirect=True)
def test_children_come_whole_whenever_their_parent_changes(nights, monkeypatch):
    nights.night(until=NOW)
    assert nights.rows() == nights.pulled()

    nights.simulator.control("POST", "next_day")
    monkeypatch.setenv("TRACKLAKE_NOW", TOMORROW)
    nights.simulator.forget_requests()
    nights.night(until=TOMORROW)
    asked = [it for it in nights.simulator.requests() if it["path"].endswith("get-record")]
    assert 0 < len(asked) < 40, "only parents that changed"

    # By key, the rows are those that the source has.
    assert set(nights.rows()) == set(nights.pulled())
    assert max(nights.pulled().values()) == 1


def test_a_stream_without_a_cursor_is_refused(spark, simulator, tmp_path):
    reader = spark.readStream.format("tracklake").option("pipeline", "jira_timesheet").option("stream", "worklogs")
    query = reader.load().writeStream.format("noop").option("checkpointLocation", str(tmp_path))
    query = query.trigger(availableNow=True).start()
    with pytest.raises(PySparkException, match="it has no cursor of instants"):
        query.awaitTermination(120)


def test_the_examples_of_the_documentation_run(spark, simulator, tmp_path, capsys):
    text = (ROOT / "docs" / "spark.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M)
    names = {"lake": str(tmp_path)}
    for example in examples:
        exec(compile(example, "docs/spark.md", "exec"), names)
    assert len(examples) == 2
    assert "sum(duration_seconds)" in capsys.readouterr().out
    rows = spark.read.parquet(str(tmp_path / "issues")).toArrow()
    assert multiset(rows) == multiset(tracklake.pull("codearts_req", "issues").read_all())

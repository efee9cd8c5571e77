"""A data source of Apache Spark: slices are read by the executors, each by the program itself.

    tracklake.spark.register(spark)
    spark.read.format("tracklake").option("pipeline", "yandex_tracker").option("stream", "worklogs").load()

Options are described in docs/spark.md.

    driver      tracklake plan --slices worklogs      asks for parents, gives slices
                  | Spark partitions of slices, with the identity of the plan
    executors   tracklake read worklogs --slices -    rows as Arrow batches; a failed task is read again
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.datasource import (
    DataSource,
    DataSourceReader,
    DataSourceStreamReader,
    InputPartition,
)
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from . import _errors
from ._child import Child, find, variables
from ._pull import reader

_TYPES: dict[pa.DataType, DataType] = {
    pa.string(): StringType(),
    pa.int64(): LongType(),
    pa.float64(): DoubleType(),
    pa.bool_(): BooleanType(),
    pa.date32(): DateType(),
    pa.timestamp("us", "UTC"): TimestampType(),
}

_OPTIONS = {
    "pipeline", "stream", "since", "until", "lag", "parallelism", "partitions", "rejects", "path"
}  # fmt: skip


def register(spark: SparkSession) -> None:
    """Registers the data source, with as many tasks at once as the cluster has slots by default."""
    try:
        slots = spark.sparkContext.defaultParallelism
    except AttributeError:  # A client of Spark Connect does not see the cluster.
        slots = TracklakeDataSource.parallelism
    # Under the same name, so that Spark pickles the class with its value.
    source = type("TracklakeDataSource", (TracklakeDataSource,), {"parallelism": slots})
    spark.dataSource.register(source)


class TracklakeDataSource(DataSource):
    """``format("tracklake")``: one stream of a pipeline."""

    #: Tasks that read at the same time, where no option says so.
    parallelism = 4

    @classmethod
    def name(cls) -> str:
        return "tracklake"

    def schema(self) -> StructType:
        # Of no slices: nothing is asked.
        arrow = self._job().read([], 1).schema
        return StructType([StructField(it.name, _TYPES[it.type]) for it in arrow])

    def reader(self, schema: StructType) -> TracklakeReader:
        return TracklakeReader(self._job(), schema.fieldNames())

    def streamReader(self, schema: StructType) -> TracklakeStreamReader:  # noqa: N802
        return TracklakeStreamReader(self._job(), schema.fieldNames())

    def _job(self) -> Job:
        options = self.options
        unknown = [it for it in options if it not in _OPTIONS and not it.startswith("set.")]
        if unknown:
            known = ", ".join(sorted(_OPTIONS - {"path"}))
            raise ValueError(f"option `{unknown[0]}` is not known; there are {known} and set.NAME")
        for name in ("pipeline", "stream"):
            if not options.get(name):
                raise ValueError(f"option `{name}` is missing")
        rejects = options.get("rejects", "fail")
        if rejects not in ("fail", "leave_out"):
            raise ValueError(f"option `rejects` is `fail` or `leave_out`, not `{rejects}`")
        parallelism = _count(options, "parallelism", self.parallelism)
        file = Path(options["pipeline"])
        return Job(
            pipeline=options["pipeline"],
            # Executors need not have it.
            text=file.read_bytes() if file.is_file() else None,
            stream=options["stream"],
            since=options.get("since"),
            until=options.get("until"),
            lag=_seconds(options.get("lag", "0s")),
            set={it.removeprefix("set."): options[it] for it in options if it.startswith("set.")},
            parallelism=parallelism,
            partitions=_count(options, "partitions", parallelism),
            leaves_rejects_out=rejects == "leave_out",
        )


def _count(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"option `{name}` is a number from 1 on, not `{text}`")
    return int(text)


def _seconds(text: str) -> timedelta:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if not text[:-1].isdecimal() or text[-1] not in units:
        raise ValueError(f"option `lag` is a length of time such as `10m`, not `{text}`")
    return timedelta(seconds=int(text[:-1]) * units[text[-1]])


@dataclass(frozen=True)
class Slices(InputPartition):
    """The slices of one task."""

    #: As the program prints them, a line each.
    lines: tuple[str, ...]
    #: Tasks that share the limits of the pipeline.
    share: int
    #: The plan that they are of.
    plan: str


@dataclass(frozen=True)
class Job:
    """What is read, for the driver and the executors alike."""

    pipeline: str
    text: bytes | None
    stream: str
    since: str | None
    until: str | None
    lag: timedelta
    set: Mapping[str, str]
    parallelism: int
    partitions: int
    leaves_rejects_out: bool

    @property
    def name(self) -> str:
        """What is read, in checkpoints."""
        return f"{Path(self.pipeline).stem}.{self.stream}"

    def plan(self, since: str | None, until: str | None) -> dict[str, Any]:
        """What ``plan --slices`` prints."""
        options = [f"--slices={self.stream}"]
        options += [f"--since={since}"] if since else []
        options += [f"--until={until}"] if until else []
        with self._file() as pipeline:
            child = self._child("plan", options, [pipeline], subprocess.DEVNULL)
            stdout = child.stdout.read()
            exit_code, stderr = child.wait()
        child.close()
        if exit_code == _errors.PARTIAL:
            self._partial(_errors.partial(stderr))
        elif exit_code != 0:
            raise _errors.error(exit_code, stderr)
        plan: dict[str, Any] = json.loads(stdout)
        if plan["version"] != 1:
            raise _errors.Error(f"the program speaks version {plan['version']} of plans, not 1")
        return plan

    def tasks(self, plan: dict[str, Any]) -> list[Slices]:
        """The slices as one partition for each task."""
        limits = plan["limits"]
        # More at once could not share a rate or a number of requests evenly.
        most = min(math.floor(limits["requests_per_second"]), limits["max_in_flight"])
        at_once = max(1, min(self.parallelism, most))
        wanted = at_once if self.partitions == self.parallelism else self.partitions
        count = max(1, min(wanted, len(plan["slices"])))
        lines = [json.dumps(it) for it in plan["slices"]]
        share = min(at_once, count)
        # Dealt out like cards: slices that lie together are often alike in size.
        return [Slices(tuple(lines[at::count]), share, plan["plan"]) for at in range(count)]

    def read(
        self,
        lines: list[str],
        share: int,
        plan: str | None = None,
        columns: list[str] | None = None,
    ) -> pa.RecordBatchReader:
        """The rows of slices."""
        options = ["--format=arrow", "--slices=-", f"--share=1/{share}"]
        options += [f"--plan={plan}"] if plan else []
        options += [f"--columns={','.join(columns)}"] if columns else []
        with tempfile.TemporaryFile() as stdin, self._file() as pipeline:
            stdin.write("\n".join(lines).encode())
            stdin.seek(0)
            # The file of the pipeline has been read once the schema is there.
            return reader(
                self._child("read", options, [pipeline, self.stream], stdin.fileno()),
                self._partial,
            )

    def _child(self, command: str, options: list[str], of: list[str], stdin: int) -> Child:
        assignments, env = variables(self.set)
        return Child([find(), command, *options, *assignments, "--", *of], env, stdin)

    def _file(self) -> _File:
        return _File(self.pipeline, self.text)

    def _partial(self, warning: Warning) -> None:
        if not self.leaves_rejects_out:
            hint = 'correct the pipeline, or leave such records out with option("rejects", "leave_out")'
            raise _errors.DataError(str(warning), hint, _errors.PARTIAL)


class _File:
    """The pipeline under a name that the program finds, here and on other machines."""

    def __init__(self, name: str, text: bytes | None) -> None:
        self._name = name
        self._text = text
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> str:
        if self._text is None:
            return self._name
        self._directory = tempfile.TemporaryDirectory()
        file = Path(self._directory.name, Path(self._name).name)
        file.write_bytes(self._text)
        return str(file)

    def __exit__(self, *_: object) -> None:
        if self._directory is not None:
            self._directory.cleanup()


class TracklakeReader(DataSourceReader):
    """Reads a stream as ``tracklake pull`` does, spread over tasks."""

    def __init__(self, job: Job, columns: list[str]) -> None:
        self._job = job
        self._columns = columns

    def partitions(self) -> list[Slices]:
        return self._job.tasks(self._job.plan(self._job.since, self._job.until))

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, Slices)
        yield from self._job.read(
            list(partition.lines), partition.share, partition.plan, self._columns
        )


class TracklakeStreamReader(DataSourceStreamReader):
    """Reads what changed between two instants, by the cursor of the stream or of its parent.

    An offset is the instant up to which everything has been read; that instant is not part of it.
    """

    def __init__(self, job: Job, columns: list[str]) -> None:
        self._job = job
        self._columns = columns

    def initialOffset(self) -> dict[str, str]:  # noqa: N802
        return self._offset("")

    def latestOffset(  # noqa: N802
        self, start: dict[str, str] | None = None, limit: object = None
    ) -> dict[str, str]:
        # Spark 4.0 and 4.1 do not say where they are.
        end = datetime.now(timezone.utc) - self._job.lag
        if self._job.until:
            end = min(end, _instant("until", self._job.until))
        # Whole seconds are what every API can say; in this form they compare as texts.
        until = end.replace(microsecond=0).isoformat().replace("+00:00", "Z")
        # What has been read is not read again because of an earlier `until` or a longer `lag`.
        return start if start and start["until"] >= until else self._offset(until)

    def _offset(self, until: str) -> dict[str, str]:
        return {"until": until, "of": self._job.name}

    def partitions(self, start: dict[str, str], end: dict[str, str]) -> list[Slices]:
        for offset in (start, end):
            if offset.get("of", self._job.name) != self._job.name:
                raise _errors.UsageError(
                    f"the checkpoint is one of `{offset['of']}`: `{self._job.name}` cannot go on from there",
                    "give each stream a `checkpointLocation` of its own",
                    2,
                )
        if start["until"] == end["until"]:
            return []
        if start["until"] > end["until"]:
            raise _errors.UsageError(
                f"the checkpoint has read up to {start['until']}, and {end['until']} is before that",
                "remove the last file of `offsets` in it, and give a later `until` or a shorter `lag`; from Spark 4.2 on nothing is read instead",
                2,
            )
        plan = self._job.plan(start["until"] or self._job.since, end["until"])
        cursor = plan["cursor"]
        if cursor is None or not cursor["cuts"]:
            raise _errors.UsageError(
                f"stream `{self._job.stream}` cannot be read as a stream: it has no cursor of instants",
                "read it as a batch, from `since` on",
                2,
            )
        return self._job.tasks(plan)

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, Slices)
        yield from self._job.read(
            list(partition.lines), partition.share, partition.plan, self._columns
        )


def _instant(option: str, text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ValueError(f"option `{option}` of a stream is an RFC 3339 instant, not `{text}`")
    return instant.astimezone(timezone.utc)

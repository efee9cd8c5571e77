"""The Spark data source on a standalone cluster: a master and two workers, one core each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyspark
import pytest
from pyspark.sql import SparkSession

from conftest import NOW, spark_session, until
from tables import exported, multiset
from test_spark import load


def descendants(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for task in Path("/proc", str(pid), "task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:  # It has ended meanwhile.
            continue
        for child in children:
            found += descendants(int(child))
    return found


class Cluster:
    """A master and workers, each with a directory and a log of its own."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self.directory = directory
        self.env = {
            **os.environ, **env, "TRACKLAKE_NOW": NOW, "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m", "PYSPARK_PYTHON": sys.executable,
            "SPARK_WORKER_OPTS": "-Dspark.worker.timeout=10",
        }  # fmt: skip
        self.processes: dict[str, subprocess.Popen] = {}
        # Known by the URL that it says, because its port is a free one.
        self._start("master", "master.Master", "--port", "0")
        pattern = r"Starting Spark master at (spark://\S+)"
        self.master = until(lambda: re.search(pattern, self._log("master")), "the master")[1]

        workers = ("worker1", "worker2")
        for name in workers:
            self._start(
                name, "worker.Worker", "--port", "0", "--cores", "1", "--memory", "1g",
                "-d", str(self.directory / name), self.master,
            )  # fmt: skip
        for name in workers:
            until(lambda: "Successfully registered with master" in self._log(name), name)

    def _start(self, name: str, kind: str, *args: str) -> None:
        spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
        with open(self.directory / f"{name}.log", "w") as log:
            self.processes[name] = subprocess.Popen(
                [spark_class, f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1", "--webui-port", "0", *args],
                env=self.env, stdout=log, stderr=log,
            )  # fmt: skip

    def _log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def kill(self, name: str) -> None:
        """Ends a worker with its executors, as a machine that loses power."""
        for pid in reversed(descendants(self.processes[name].pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # Ended by its parent's end.
                continue
        self.processes.pop(name).wait()

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)

    def session(self, simulator, cores: int) -> SparkSession:
        return spark_session(
            simulator, self.master, spark__cores__max=cores, spark__executor__memory="512m",
            spark__executor__cores=1, spark__scheduler__minRegisteredResourcesRatio=1.0,
            spark__scheduler__maxRegisteredResourcesWaitingTime="60s",
        )  # fmt: skip


@pytest.fixture(scope="module")
def cluster(one_simulator, tmp_path_factory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), one_simulator.env)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def spark(cluster, one_simulator) -> Iterator[SparkSession]:
    """Both workers."""
    session = cluster.session(one_simulator, cores=2)
    yield session
    session.stop()


def test_two_workers_read_what_one_reads(cluster, simulator, dataset, request, capsys):
    """The same backfill of 40 parents, 250 ms each, with one worker and with two."""
    expected = exported(dataset, "yandex_tracker", "worklogs")
    times = []

    def backfill(spark: SparkSession, workers: int, at_once: int) -> None:
        # Python is there before the clock starts.
        spark.range(8, numPartitions=8).rdd.map(lambda _: None).collect()
        simulator.faults(latency_ms=250, path_contains="/worklog")
        simulator.forget_requests()
        began = time.monotonic()
        table = load(spark, "yandex_tracker", "worklogs", parallelism=workers, set__max_in_flight=at_once).toArrow()
        times.append((workers, at_once, time.monotonic() - began, len(simulator.requests())))
        simulator.faults()
        assert multiset(table) == multiset(expected)

    # A process has one session at a time.
    alone = cluster.session(simulator, cores=1)
    backfill(alone, 1, 2)
    alone.stop()
    together = request.getfixturevalue("spark")
    backfill(together, 2, 2)
    backfill(together, 2, 4)

    with capsys.disabled():
        print(f"\n{'workers':>8} {'requests at once':>17} {'rows':>6} {'requests':>9} {'seconds':>8}")
        for workers, at_once, seconds, requests in times:
            print(f"{workers:>8} {at_once:>17} {expected.num_rows:>6} {requests:>9} {seconds:>8.1f}")
    assert len({requests for *_, requests in times}) == 1
    assert times[2][2] < times[0][2], "twice as many at once take less time"


def test_slices_are_spread_over_both_workers(spark, simulator, dataset):
    found = load(spark, "codearts_req", "history")
    assert found.rdd.getNumPartitions() == 2, "by default, the slots of the cluster"

    def where(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # The directory of the executor lies in that of its worker.
        rows = sum(it.num_rows for it in batches)
        yield pa.record_batch({"directory": [os.getcwd()], "rows": [rows]})

    parts = found.mapInArrow(where, "directory STRING, rows LONG").collect()

    expected = exported(dataset, "codearts_req", "history")
    by_worker = Counter()
    for part in parts:
        by_worker[re.search(r"/(worker\d)/", part.directory)[1]] += part.rows
    assert by_worker.keys() == {"worker1", "worker2"}
    assert all(by_worker.values()) and by_worker.total() == expected.num_rows
    assert multiset(found.toArrow()) == multiset(expected)


def test_tasks_together_keep_the_rate_of_the_pipeline(spark, simulator):
    rate = 12
    load(spark, "codearts_req", "history", set__requests_per_second=rate).collect()

    came = sorted(it["at_ms"] for it in simulator.requests() if it["path"].endswith("get-record"))
    assert len(came) >= 40
    # Each of two tasks sends every second one; at the whole rate each, this would take half as long.
    assert came[-1] - came[0] > (len(came) - 2) / rate * 1000 * 0.95


def test_a_worker_that_is_killed_takes_no_rows_with_it(cluster, spark, simulator, dataset):
    simulator.faults(latency_ms=300, path_contains="/worklog")
    found = []
    frame = load(spark, "yandex_tracker", "worklogs", set__max_in_flight=2, partitions=4)
    reading = threading.Thread(target=lambda: found.append(frame.toArrow()))
    reading.start()

    def worklogs() -> list[dict]:
        return [it for it in simulator.requests() if it["path"].endswith("/worklog")]

    until(lambda: len(worklogs()) >= 8, "the first requests")
    assert len(worklogs()) < 40

    cluster.kill("worker2")
    # What was read by halves is read again at once.
    simulator.faults()
    reading.join(180)

    assert not reading.is_alive()
    assert multiset(found[0]) == multiset(exported(dataset, "yandex_tracker", "worklogs"))
    by_path = Counter(it["path"] for it in worklogs())
    assert max(by_path.values()) > 1, "some were asked for twice"

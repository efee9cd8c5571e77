"""The simulator that all tests talk to, and the program that they run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tracklake
import tracklake.spark
from pyspark.sql import SparkSession
from tracklake._child import find

ROOT = Path(__file__).resolve().parents[2]

#: The clock of every run; the simulator has this date.
NOW = "2024-07-25T12:00:00Z"

#: Every stream of the shipped pipelines.
STREAMS = [
    ("codearts_req", "issues"),
    ("codearts_req", "history"),
    ("codearts_req", "work_hours"),
    ("jira_timesheet", "audit_log"),
    ("jira_timesheet", "worklogs"),
    ("yandex_tracker", "issues"),
    ("yandex_tracker", "worklogs"),
    ("yandex_tracker", "changelog"),
]


def until(condition: Callable[[], object], what: str, seconds: float = 120) -> object:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s"
        threading.Event().wait(0.05)
    return found


class Simulator:
    """``tracklake simulate`` on a free port."""

    def __init__(self, issues: int) -> None:
        self.process = subprocess.Popen(
            [find(), "simulate", "--listen=127.0.0.1:0",
             f"--issues={issues}", "--today=2024-07-25"],
            stdout=subprocess.PIPE, text=True,
        )
        self.env: dict[str, str] = {}
        for line in self.process.stdout:
            if line.startswith("#"):
                self.base = re.search(r"http://[\d.:]+", line)[0]
                break
            name, value = re.fullmatch(r"export (\w+)='(.*)'\n", line).groups()
            self.env[name] = value
        for system in ("CODEARTS", "JIRA", "YANDEX_TRACKER"):
            self.env[f"{system}_REQUESTS_PER_SECOND"] = "2000"

    def control(self, method: str, command: str, body: object = None) -> object:
        request = urllib.request.Request(f"{self.base}/_sim/{command}", method=method)
        data = None if body is None else json.dumps(body).encode()
        # Loopback never goes by a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, data) as response:
            return json.load(response)

    def faults(self, **faults: object) -> None:
        self.control("POST", "faults", faults)

    def requests(self) -> list[dict]:
        return self.control("GET", "requests")

    def forget_requests(self) -> None:
        self.control("DELETE", "requests")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="session")
def one_simulator() -> Iterator[Simulator]:
    simulator = Simulator(issues=40)
    yield simulator
    simulator.stop()


@pytest.fixture(scope="session")
def dataset(one_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``run`` makes of all streams."""
    output = tmp_path_factory.mktemp("output")
    env = {**one_simulator.env, "TRACKLAKE_NOW": NOW}
    for pipeline in sorted({pipeline for pipeline, _ in STREAMS}):
        report = tracklake.run(pipeline, output=output, formats=["parquet"], env=env)
        assert report["exit_code"] == 0
    return output


def spark_session(simulator: Simulator, master: str, **conf: object) -> SparkSession:
    """A session of a master, with the data source."""
    # The first session's JVM hands its environment to the workers that it starts.
    os.environ.update(simulator.env, TRACKLAKE_NOW=NOW, SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    builder = SparkSession.builder.master(master)
    for name, value in {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        **{name.replace("__", "."): value for name, value in conf.items()},
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    tracklake.spark.register(session)
    return session


@pytest.fixture
def simulator(one_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """The simulator without faults, and its variables in the environment."""
    for name, value in one_simulator.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRACKLAKE_NOW", NOW)
    one_simulator.forget_requests()
    yield one_simulator
    one_simulator.faults()

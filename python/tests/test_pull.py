"""``tracklake.pull`` and ``tracklake.run`` against the simulator, with the readers people have."""

from __future__ import annotations

import datetime
import importlib.metadata
import multiprocessing.connection
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import tracklake
from conftest import ROOT, STREAMS, until
from tables import exported, multiset


@pytest.mark.parametrize(("pipeline", "stream"), STREAMS)
def test_rows_are_those_of_the_dataset(simulator, dataset, pipeline, stream):
    table = tracklake.pull(pipeline, stream).read_all()

    expected = exported(dataset, pipeline, stream)
    assert multiset(table) == multiset(expected)
    assert table.num_rows > 0
    types = {field.name: field.type for field in expected.schema}
    assert {field.name: field.type for field in table.schema} == types


def test_readers_take_them(simulator):
    expected = tracklake.pull("yandex_tracker", "worklogs").read_all()
    seconds = sum(it for it in expected["duration_seconds"].to_pylist() if it is not None)

    rows = tracklake.pull("yandex_tracker", "worklogs")
    found = duckdb.sql("SELECT count(*), sum(duration_seconds)::BIGINT FROM rows").fetchall()
    assert found == [(expected.num_rows, seconds)]

    frame = pl.from_arrow(tracklake.pull("yandex_tracker", "worklogs"))
    assert (frame.height, frame["duration_seconds"].sum()) == (expected.num_rows, seconds)
    assert frame.schema["start"] == pl.Datetime("us", "UTC")

    frame = tracklake.pull("yandex_tracker", "worklogs").read_pandas()
    assert (len(frame), int(frame["duration_seconds"].sum())) == (expected.num_rows, seconds)
    assert isinstance(frame["start"].dtype, pd.DatetimeTZDtype)


def test_readers_know_the_types_of_no_rows(simulator):
    def nothing() -> pa.RecordBatchReader:
        return tracklake.pull("jira_timesheet", "worklogs", since="2020-01-05", until="2020-01-05")

    rows = nothing()
    found = duckdb.sql("SELECT work_date, log_id FROM rows")
    assert (found.fetchall(), [str(it) for it in found.types]) == ([], ["DATE", "BIGINT"])
    frame = pl.from_arrow(nothing())
    assert (frame.height, frame.schema["work_date"], frame.schema["log_id"]) == (0, pl.Date, pl.Int64)
    assert nothing().read_pandas(types_mapper=pd.ArrowDtype).dtypes["log_id"] == "int64[pyarrow]"


def test_a_part_of_rows_and_columns(simulator):
    reader = tracklake.pull(
        "jira_timesheet", "worklogs", since=datetime.date(2024, 7, 1), until="2024-07-10",
        columns=["work_date", "log_id"], limit=5,
    )
    assert reader.schema.names == ["work_date", "log_id"]
    rows = reader.read_all().to_pylist()
    assert len(rows) == 5
    dates = {row["work_date"] for row in rows}
    assert dates <= {datetime.date(2024, 7, day) for day in range(1, 11)}


def test_the_schema_is_there_before_the_first_answer(simulator):
    simulator.faults(latency_ms=60_000)
    started = time.monotonic()
    reader = tracklake.pull("jira_timesheet", "audit_log")
    assert reader.schema.field("log_start_date").type == pa.date32()
    assert time.monotonic() - started < 30
    pid = only_child()
    del reader
    assert not Path("/proc", str(pid)).exists()


def only_child() -> int:
    """The process that this one has started and that has not ended."""
    children = []
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path("/proc", child, "cmdline").read_bytes().split(b"\0")
            if b"pull" in command:
                children.append(int(child))
    (child,) = children
    return child


def test_a_reader_that_is_left_early_ends_the_program_quietly(simulator, capfd):
    simulator.faults(latency_ms=50)
    reader = tracklake.pull("jira_timesheet", "worklogs")
    assert reader.read_next_batch().num_rows > 0
    pid = only_child()
    del reader
    assert not Path("/proc", str(pid)).exists()
    assert capfd.readouterr() == ("", "")


def test_the_program_ends_with_the_process_that_reads(simulator):
    simulator.faults(latency_ms=60_000)
    code = (
        "import test_pull, tracklake, time; reader = tracklake.pull('jira_timesheet', 'worklogs');"
        "print(test_pull.only_child(), flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    until(lambda: not Path("/proc", str(pid)).exists() or state(pid) == "Z", "its end", 20)


def state(pid: int) -> str:
    return Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()[0]


def test_secrets_are_not_on_the_command_line(simulator, monkeypatch):
    monkeypatch.delenv("JIRA_TOKEN")
    simulator.faults(latency_ms=50)
    reader = tracklake.pull(
        "jira_timesheet", "worklogs", set={"token": simulator.env["JIRA_TOKEN"], "max_in_flight": 2}
    )
    command = Path("/proc", str(only_child()), "cmdline").read_text()
    assert "--set=token\0" in command
    assert simulator.env["JIRA_TOKEN"] not in command
    assert reader.read_next_batch().num_rows > 0
    del reader


def test_what_cannot_begin_is_raised_at_once(simulator, monkeypatch):
    with pytest.raises(tracklake.PipelineError) as caught:
        tracklake.pull("yandex_tracker", "worklog")
    assert caught.value.exit_code == 3
    assert caught.value.message == "pipeline `yandex_tracker` has no stream `worklog`"
    assert caught.value.hint == "did you mean `worklogs`?"
    assert str(caught.value).endswith("\n  hint: did you mean `worklogs`?")

    with pytest.raises(tracklake.UsageError, match="cannot be read: expected a date"):
        tracklake.pull("yandex_tracker", "worklogs", since="yesterday")
    with pytest.raises(tracklake.PipelineError, match="tokn"):
        tracklake.pull("yandex_tracker", "worklogs", set={"tokn": "x"})
    with pytest.raises(ValueError, match="without a zone"):
        tracklake.pull("yandex_tracker", "worklogs", since=datetime.datetime(2024, 7, 1))
    with pytest.raises(TypeError, match="variable `token`"):
        tracklake.pull("yandex_tracker", "worklogs", set={"token": None})
    with pytest.raises(TypeError, match="`columns` is a list of names, not the text 'id'"):
        tracklake.pull("yandex_tracker", "worklogs", columns="id")
    with pytest.raises(TypeError, match="`since` is a date, an instant or text such as '7d', not 7"):
        tracklake.pull("yandex_tracker", "worklogs", since=7)
    with pytest.raises(TypeError, match="`streams` is a list of names"):
        tracklake.run("yandex_tracker", streams="worklogs")
    with pytest.raises(tracklake.Error, match="cannot be started"):
        tracklake.pull("yandex_tracker", "worklogs", binary="/nowhere/tracklake")


def test_another_program_is_not_taken_for_tracklake(tmp_path):
    for script in ("echo nonsense", "exit 0"):
        program = fake(tmp_path, script)
        with pytest.raises(tracklake.Error, match="did not print a whole Arrow stream"):
            tracklake.pull("p", "s", binary=program).read_all()
        with pytest.raises(tracklake.Error, match="did not print a report"):
            tracklake.run("p", binary=program)


def test_what_fails_later_is_raised_in_place_of_further_rows(simulator):
    simulator.faults(latency_ms=50)
    reader = tracklake.pull("codearts_req", "history", set={"max_in_flight": 1})
    batches = [reader.read_next_batch()]
    simulator.faults(status_error_every=1)
    with pytest.raises(tracklake.SourceError, match="slices could not be read.*the rows are not complete") as caught:
        for batch in reader:
            batches.append(batch)
    assert sum(it.num_rows for it in batches) > 0
    assert caught.value.exit_code == 4


def fake(tmp_path: Path, script: str) -> Path:
    """A program in place of tracklake, which writes ``stream`` cut as it likes."""
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"id": pa.array(range(1000))})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    (tmp_path / "stream").write_bytes(sink.getvalue().to_pybytes())
    program = tmp_path / "fake"
    program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        # The end of the pipe at the end of a batch is a whole Arrow stream.
        ("head -c -8 stream; echo 'error: lost' >&2; exit 4", tracklake.SourceError, "^lost$"),
        ("head -c 900 stream; echo 'error: lost' >&2; exit 6", tracklake.DestinationError, "^lost$"),
        ("head -c -8 stream; kill -9 $$", tracklake.Error, "ended by signal 9"),
        ("cat stream; echo 'error: late' >&2; exit 5", tracklake.DataError, "^late$"),
        ("head -c 900 stream", tracklake.Error, "did not print a whole Arrow stream"),
        ("echo 'error: no' >&2; echo '  cause: why' >&2; exit 3", tracklake.PipelineError, "no\n  cause: why"),
    ],
)
def test_a_stream_is_whole_only_if_the_program_says_so(tmp_path, script, kind, message):
    with pytest.raises(kind, match=message):
        tracklake.pull("p", "s", binary=fake(tmp_path, script)).read_all()


def test_rows_whose_end_others_were_told_of_are_not_taken_for_all(tmp_path):
    program = fake(tmp_path, "head -c -8 stream; exit 4")

    def read(reader: pa.RecordBatchReader, said: multiprocessing.connection.Connection) -> None:
        try:
            said.send(reader.read_all().num_rows)
        except tracklake.Error as err:
            said.send(err.message)

    # A fork has no children: what it waits for is not its own.
    here, there = multiprocessing.Pipe()
    reader = tracklake.pull("p", "s", binary=program)
    fork = multiprocessing.get_context("fork").Process(target=read, args=(reader, there))
    fork.start()
    assert "how tracklake ended is not known" in here.recv()
    fork.join()

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        read(tracklake.pull("p", "s", binary=program), there)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert "how tracklake ended is not known" in here.recv()


def test_no_reader_takes_a_part_for_all(tmp_path):
    program = fake(tmp_path, "head -c -8 stream; echo 'error: lost' >&2; exit 4")

    rows = tracklake.pull("p", "s", binary=program)
    with pytest.raises(duckdb.Error, match="lost"):
        duckdb.sql("SELECT count(*) FROM rows").fetchall()
    with pytest.raises(Exception, match="lost"):
        pl.from_arrow(tracklake.pull("p", "s", binary=program))
    with pytest.raises(tracklake.SourceError, match="lost"):
        tracklake.pull("p", "s", binary=program).read_pandas()


def test_rejects_are_warned_of(tmp_path):
    program = fake(tmp_path, "cat stream; echo 'note: s: 1 record of 9 did not fit and are left out' >&2; exit 7")
    reader = tracklake.pull("p", "s", binary=program)
    with pytest.warns(tracklake.PartialWarning, match="1 record of 9"):
        assert reader.read_all().num_rows == 1000
    # As here, where warnings of this kind are errors.
    with pytest.raises(tracklake.PartialWarning):
        tracklake.pull("p", "s", binary=program).read_all()


def test_the_package_and_its_program_have_one_version():
    said = subprocess.run([sys.executable, "-m", "tracklake", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.split()[:2] == ["tracklake", importlib.metadata.version("tracklake")]


def test_much_on_stderr_holds_nothing_up(tmp_path):
    program = fake(tmp_path, "yes 'note' | head -c 1000000 >&2; cat stream")
    assert tracklake.pull("p", "s", binary=program).read_all().num_rows == 1000


def test_a_run_that_fails_says_what_it_did(simulator, tmp_path):
    simulator.faults(status_error_every=1, path_contains="get-record")
    with pytest.raises(tracklake.SourceError, match="nothing of it is published") as caught:
        tracklake.run("codearts_req", output=tmp_path, streams=["issues", "history"])
    statuses = {it["stream"]: it["status"] for it in caught.value.report["streams"]}
    assert statuses == {"issues": "published", "history": "failed"}

    with pytest.raises(tracklake.PipelineError) as caught:
        tracklake.run("yandex_trackr", output=tmp_path)
    assert caught.value.report is None


def test_memory_does_not_grow_with_the_rows(simulator):
    # Rows wait in the program until they are taken: what is held back is bounded by its queue.
    reader = tracklake.pull("codearts_req", "issues")
    sizes = [batch.num_rows for batch in reader]
    assert max(sizes) <= 100, "a batch is a page"


def test_the_examples_of_the_readmes_run(simulator):
    ran = 0
    for file, fence in [("docs/pull.md", "py"), ("python/README.md", "python")]:
        for code in re.findall(rf"^```{fence}\n(.*?)^```", (ROOT / file).read_text(), flags=re.S | re.M):
            exec(compile(code, file, "exec"), {})
            ran += 1
    assert ran == 3

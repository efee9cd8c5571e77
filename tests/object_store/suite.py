"""Runs the program against object stores on loopback, and compares what they hold with a directory.

    python suite.py BINARY DIRECTORY_WITH_THE_SERVERS
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from importlib.metadata import version
from pathlib import Path

import boto3
import duckdb
import pyarrow.dataset
import pyarrow.fs
from botocore.config import Config
from fsspec.implementations.arrow import ArrowFSWrapper

import gcs
from proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = "yandex_tracker"
KEY, SECRET = "S3RVER", "hunter2-S3RVER"
AZURITE_KEY = (  # Published with the emulator: no secret.
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, f"{process.args} has ended"
        with socket.socket() as it:
            if it.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on {port}")


class Site:
    """The servers, the simulated source, and the program."""

    def __init__(self, binary: str, tools: Path, work: Path):
        self.binary, self.work, self.processes = binary, work, []
        self.moto = self.serve([tools / "venv/bin/moto_server", "-H", "127.0.0.1", "-p", "PORT"])
        self.s3rver = self.serve(
            ["node", tools / "node_modules/.bin/s3rver", "-d", work / "s3rver", "-a", "127.0.0.1"]
            + ["-p", "PORT", "--configure-bucket", "exports"]
        )
        self.azurite = self.serve(
            ["node", tools / "node_modules/.bin/azurite-blob", "--silent", "--skipApiVersionCheck"]
            + ["--blobHost", "127.0.0.1", "--location", work / "azurite", "--blobPort", "PORT"]
        )
        self.source = self.serve(
            [binary, "simulate", "--issues", "12", "--today", "2024-07-25", "--listen", "127.0.0.1:PORT"]
        )
        self.gcs = gcs.Gcs("exports")
        self.proxy = Proxy(self.moto)
        self.s3 = self.client(self.moto)
        self.s3.create_bucket(Bucket="exports")
        self.days = 0

    def serve(self, command) -> str:
        port = free_port()
        command = [str(it).replace("PORT", str(port)) for it in command]
        log = (self.work / f"{port}.log").open("w")
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        wait_for(port, process)
        return f"http://127.0.0.1:{port}"

    def close(self):
        self.gcs.close()
        for process in self.processes:
            process.terminate()
            process.wait()

    @staticmethod
    def client(endpoint: str):
        return boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}),
        )

    def pipeline(self, **settings) -> str:
        """The shipped pipeline, with a short lease."""
        text = (ROOT / f"pipelines/{PIPELINE}.yaml").read_text()
        settings = {"lease_secs": 5} | settings
        lines = "".join(f"  {name}: {value}\n" for name, value in settings.items())
        text = text.replace("destination:\n  path: output\n", f"destination:\n  path: output\n{lines}")
        assert lines in text
        path = self.work / f"{PIPELINE}-{abs(hash(lines))}.yaml"
        path.write_text(text)
        return str(path)

    def environment(self, endpoint: str | None, **more) -> dict:
        env = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.work),
            "YANDEX_TRACKER_URL": f"{self.source}/tracker",
            "YANDEX_TRACKER_TOKEN": "y0_simulated",
            "YANDEX_TRACKER_ORG_ID": "1234567",
            "YANDEX_TRACKER_REQUESTS_PER_SECOND": "2000",
            "TRACKLAKE_NOW": f"2024-07-{25 + self.days}T12:00:00Z",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
        if endpoint:
            env["AWS_ENDPOINT_URL"] = endpoint
        return {name: value for name, value in (env | more).items() if value is not None}

    def start(self, *args, endpoint=None, pipeline=None, **env) -> subprocess.Popen:
        command, *options = args
        return subprocess.Popen(
            [self.binary, command, pipeline or self.pipeline(), *options],
            env=self.environment(endpoint or self.moto, **env), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )

    def tracklake(self, *args, code=0, **options) -> str:
        process = self.start(*args, **options)
        out, err = process.communicate(timeout=120)
        said = out + err
        assert process.returncode == code, f"{args}: exit {process.returncode}, not {code}\n{said}"
        for secret in (SECRET, AZURITE_KEY, "X-Amz-", "Signature"):
            assert secret not in said, f"{args} shows `{secret}`:\n{said}"
        return said

    def run(self, output: str, *args, **options) -> str:
        return self.tracklake("run", "--output", output, *args, **options)

    def today(self) -> Path:
        """A directory with what a first run writes today."""
        path = self.work / f"first-{self.days}"
        if not path.exists():
            self.run(str(path))
        return path

    def next_day(self):
        request = urllib.request.Request(f"{self.source}/_sim/next_day", method="POST", data=b"")
        urllib.request.urlopen(request).read()
        self.days += 1

    def objects(self, folder: str, client=None) -> dict[str, bytes]:
        client = client or self.s3
        found = {}
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="exports", Prefix=f"{folder}/")
        for page in pages:
            for it in page.get("Contents", []):
                content = client.get_object(Bucket="exports", Key=it["Key"])["Body"].read()
                found[it["Key"].removeprefix(f"{folder}/")] = content
        return found

    def is_taken(self, folder: str) -> bool:
        """Whether there is a lease; what a run tries the store with is none."""
        lock = f"{folder}/_tracklake/{PIPELINE}/lock"
        found = self.s3.list_objects_v2(Bucket="exports", Prefix=lock).get("Contents", [])
        return any(it["Key"] == lock for it in found)

    def check_same(self, folder: str, directory: Path, client=None, stored=None):
        """The readers' files are those of a directory, byte by byte, and nothing else is left."""
        stored = stored or self.objects(folder, client)
        data = {name: it for name, it in stored.items() if not name.startswith("_tracklake/")}
        local = {
            str(path.relative_to(directory)): path.read_bytes()
            for path in directory.rglob("*")
            if path.is_file() and not str(path.relative_to(directory)).startswith("_tracklake/")
        }
        assert data.keys() == local.keys(), f"differ: {sorted(data.keys() ^ local.keys())[:9]}"
        different = [name for name in data if data[name] != local[name]]
        assert not different, f"other content: {different[:9]}"
        left = [it for it in stored if re.search(r"/(staging|journal|resume)/|/lock-", it)]
        assert not left, f"left over: {left}"


def directory(site: Site, name: str) -> Path:
    return site.work / name


def a_run_into_a_bucket_writes_what_a_run_into_a_directory_does(site: Site):
    local = directory(site, "local")
    said = site.run("s3://exports/main")
    site.run(str(local))
    assert "published" in said
    site.check_same("main", local)


def readers_find_the_rows(site: Site):
    url = site.moto.removeprefix("http://")
    bucket = pyarrow.fs.S3FileSystem(
        access_key=KEY, secret_key=SECRET, endpoint_override=url, scheme="http", region="us-east-1"
    )

    class S3(ArrowFSWrapper):
        protocol = "s3"

    db = duckdb.connect()
    db.register_filesystem(S3(bucket))
    for stream in ("issues", "worklogs", "changelog"):
        folder = f"parquet/{PIPELINE}/{stream}"
        query = "SELECT COLUMNS(*)::VARCHAR FROM read_parquet('{}/**/*.parquet', hive_partitioning = true) ORDER BY ALL"
        stored = db.sql(query.format(f"s3://exports/main/{folder}")).fetchall()
        local = db.sql(query.format(site.work / "local" / folder)).fetchall()
        assert stored == local and stored, stream
        table = pyarrow.dataset.dataset(f"exports/main/{folder}", filesystem=bucket, partitioning="hive")
        assert table.count_rows() == len(local), stream
    rows = []
    for output in ("s3://exports/main", str(directory(site, "local"))):
        db.execute(site.tracklake("sql-views", "--output", output))
        rows.append(db.sql("SELECT COLUMNS(*)::VARCHAR FROM yandex_tracker_worklogs WHERE date > '2024-01-01' ORDER BY ALL").fetchall())
    assert rows[0] == rows[1] and rows[0], "the views of a bucket and of a directory have other rows"


def the_next_run_is_incremental(site: Site):
    site.next_day()
    for output in ("s3://exports/main", str(site.work / "local")):
        site.run(output)
    site.check_same("main", site.work / "local")
    before = site.objects("main")
    site.run("s3://exports/main")
    after = site.objects("main")
    data = lambda it: {name: one for name, one in it.items() if not name.startswith("_tracklake")}
    assert data(before) == data(after)


def the_other_commands_look_at_a_bucket(site: Site):
    status = site.tracklake("status", "--output", "s3://exports/main")
    assert "in `s3://exports/main`" in status and "worklogs" in status, status
    site.tracklake("verify", "--output", "s3://exports/main")
    site.tracklake("quarantine", "--output", "s3://exports/main")
    plan = site.tracklake("plan", "--output", "s3://exports/main")
    assert "s3://exports/main" in plan, plan
    none = site.tracklake("status", "--output", "s3://exports/nothing")
    assert "nothing has been exported to `s3://exports/nothing` yet" in none, none

    key = next(it for it in site.objects("main") if it.startswith("parquet/"))
    whole = site.s3.get_object(Bucket="exports", Key=f"main/{key}")["Body"].read()
    site.s3.put_object(Bucket="exports", Key=f"main/{key}", Body=whole[:-9])
    assert key in site.tracklake("verify", "--output", "s3://exports/main", code=6)
    site.s3.put_object(Bucket="exports", Key=f"main/{key}", Body=whole)
    site.tracklake("verify", "--output", "s3://exports/main")


def a_run_that_is_killed_anywhere_is_finished_by_the_next(site: Site):
    folder, local = "killed", site.today()
    site.proxy.reset()
    site.run("s3://exports/whole", endpoint=site.proxy.url)
    changes = sum(it.is_change for it in site.proxy.seen)
    for share in (0.3, 0.7, 0.95):
        last = int(changes * share)
        process = None

        def kill(_request, left=[last]):
            if _request.is_change:
                left[0] -= 1
                if left[0] == 0:
                    process.send_signal(signal.SIGKILL)
                    return "drop"
            return None

        site.proxy.reset(kill)
        process = site.start("run", "--output", f"s3://exports/{folder}", endpoint=site.proxy.url)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, f"{share}: {process.returncode}"
        site.proxy.reset()
        # It waits for the lease of the dead run, and not for longer.
        site.run(f"s3://exports/{folder}")
        site.check_same(folder, local)
        folder += "-"


def after_a_kill_one_may_look_at_once(site: Site):
    """Nobody waits for the lease of the dead run, which is of ten minutes here."""
    site.run("s3://exports/looked")
    long = site.pipeline(lease_secs=600)
    cases = [
        (lambda it: it.method == "PUT" and "/staging/" in it.path, 0, "held by run"),
        (lambda it: it.has("x-amz-copy-source"), 6, "journal/issues.json: being published by run"),
    ]
    for number, (is_it, code, finding) in enumerate(cases):
        folder = f"looked-{number}"
        for name, content in site.objects("looked").items():
            site.s3.put_object(Bucket="exports", Key=f"{folder}/{name}", Body=content)
        process = None

        def kill(request):
            if is_it(request):
                process.send_signal(signal.SIGKILL)
                return "drop"
            return None

        site.proxy.reset(kill)
        rewrite = ("run", "--rewrite", "--stream", "issues", "--output", f"s3://exports/{folder}")
        process = site.start(*rewrite, endpoint=site.proxy.url, pipeline=long)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, process.returncode
        site.proxy.reset()
        for command, ends_with in (("status", 0), ("verify", code)):
            said = site.tracklake(command, "--output", f"s3://exports/{folder}", code=ends_with)
            assert "whose lease was renewed at" in said, said
        assert finding in said, said


def compact_that_is_killed_anywhere_is_finished_by_the_next(site: Site):
    """Two files of a year's CSV become one; credentials of the source are not set."""
    small = year(site, target_file_mb=1)
    large = year(site, target_file_mb=64)
    source = site.serve(
        [site.binary, "simulate", "--issues", "1500", "--today", "2024-07-25", "--listen", "127.0.0.1:PORT"]
    )
    run = ("run", "--stream", "changelog")
    local = site.work / "compacted"
    url = f"{source}/tracker"
    site.tracklake(*run, "--output", str(local), pipeline=large, YANDEX_TRACKER_URL=url)
    site.tracklake(*run, "--output", "s3://exports/scattered", pipeline=small, YANDEX_TRACKER_URL=url)
    scattered = site.objects("scattered")
    none = {"YANDEX_TRACKER_TOKEN": None, "YANDEX_TRACKER_ORG_ID": None}
    compact = lambda folder: ("compact", "--output", f"s3://exports/{folder}")
    # What finds out whether conditions are heeded stays where it is when its process is killed.
    is_change = lambda it: it.is_change and "/lock" not in it.path and b"/lock" not in it.body
    changes = 0
    for left in (None, 0.3, 0.5, 0.7, 0.9):
        folder = f"compact-{left}"
        for name, content in scattered.items():
            site.s3.put_object(Bucket="exports", Key=f"{folder}/{name}", Body=content)
        process, last = None, [int(changes * left) if left else -1]

        def kill(request):
            last[0] -= is_change(request)
            if is_change(request) and last[0] == 0:
                process.send_signal(signal.SIGKILL)
                return "drop"
            return None

        site.proxy.reset(kill)
        process = site.start(*compact(folder), endpoint=site.proxy.url, pipeline=large, **none)
        process.communicate(timeout=120)
        assert process.returncode == (0 if left is None else -signal.SIGKILL), process.returncode
        changes = changes or sum(map(is_change, site.proxy.seen))
        site.proxy.reset()
        site.tracklake(*compact(folder), pipeline=large, **none)
        site.tracklake("verify", "--output", f"s3://exports/{folder}", pipeline=large)
        site.check_same(folder, local)


def year(site: Site, **settings) -> str:
    """The shipped pipeline, with partitions of a year."""
    pipeline = Path(site.pipeline(**settings))
    text = pipeline.read_text()
    assert "unit: day" in text
    pipeline.write_text(text.replace("unit: day", "unit: year"))
    return str(pipeline)


def of_two_runs_at_once_one_is_told_who_the_other_is(site: Site):
    slow = lambda request: 0.05 if request.is_change else None
    site.proxy.reset(slow)
    first = site.start("run", "--output", "s3://exports/two", endpoint=site.proxy.url)
    while not site.is_taken("two"):
        time.sleep(0.02)
    said = site.run("s3://exports/two", code=6)
    host = socket.gethostname()
    assert re.search(rf"is held by run \S+ \(pid {first.pid}\) on {host}, whose lease was renewed at", said), said
    first.communicate(timeout=120)
    assert first.returncode == 0
    site.check_same("two", site.today())


def a_paused_run_does_not_overwrite_what_a_later_one_has_published(site: Site):
    state = {"left": 30}
    process = None

    def pause(request):
        if request.is_change and request.path.split("?")[0].endswith("staged"):
            state["left"] -= 1
            if state["left"] == 0:
                process.send_signal(signal.SIGSTOP)
        return None

    site.proxy.reset(pause)
    process = site.start("run", "--output", "s3://exports/paused", endpoint=site.proxy.url)
    while state["left"] > 0:
        time.sleep(0.02)
    site.run("s3://exports/paused")
    before = site.objects("paused")
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 6, out + err
    assert "no longer holds the pipeline" in out + err, out + err
    site.check_same("paused", site.today())
    assert site.objects("paused") == before


def a_run_that_waits_for_a_dead_one_can_be_stopped(site: Site):
    dead = site.pipeline(lease_secs=600)
    site.proxy.reset(lambda request: 0.05 if request.is_change else None)
    process = site.start("run", "--output", "s3://exports/dead", endpoint=site.proxy.url, pipeline=dead)
    while not site.is_taken("dead"):
        time.sleep(0.02)
    process.kill()
    process.communicate()
    site.proxy.reset()
    process = site.start("run", "--output", "s3://exports/dead")
    said = process.stderr.readline()
    assert "waiting up to" in said and "to see whether it is alive" in said, said
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, out + err


def a_store_that_ignores_conditions_is_found_out(site: Site):
    said = site.run("s3://exports/s3rver", endpoint=site.s3rver, code=6)
    assert "does not heed conditions on what is written" in said, said
    assert "single_writer: true" in said, said
    client = site.client(site.s3rver)
    left = [it for it in site.objects("s3rver", client)]
    assert not left, left
    promised = site.pipeline(single_writer="true")
    for _ in range(2):
        site.run("s3://exports/s3rver", endpoint=site.s3rver, pipeline=promised)
    site.check_same("s3rver", site.today(), client)


def a_store_that_is_far_away_is_asked_for_much_at_once(site: Site):
    def kind(request):
        if request.has("x-amz-copy-source"):
            return "moved"
        if "/staging/" in request.path:
            return "staged" if request.method == "PUT" else "read back"
        return "read" if "part-" in request.path else None

    site.proxy.reset(lambda request: 0.05, kind)
    site.run("s3://exports/far", endpoint=site.proxy.url)
    site.tracklake("verify", "--output", "s3://exports/far", endpoint=site.proxy.url)
    for it in ("staged", "read back", "moved", "read"):
        assert 8 <= site.proxy.most[it] <= 48, site.proxy.most
    site.check_same("far", site.today())


def failures_that_pass_are_outlasted(site: Site):
    def often(request):
        match request.number % 17:
            case 3:
                return (503, "SlowDown")
            case 6:
                return "drop"
            case 9:
                return (500, "InternalError")
            case 12:
                # What a condition was on may have been done.
                return "lose"
            case 5:
                return "cut"
        return None

    site.proxy.reset(often)
    site.run("s3://exports/often", endpoint=site.proxy.url)
    site.proxy.reset()
    site.check_same("often", site.today())


def failures_that_stay_are_named_and_leave_the_old_data(site: Site):
    site.run("s3://exports/old")
    before = site.objects("old")
    is_data = lambda request: request.is_change and "/lock" not in request.path

    def undeleted(request) -> str:
        key = re.search(rb"<Key>.*?</Key>", request.body)[0].decode()
        why = "<Code>AccessDenied</Code><Message>Access Denied</Message>"
        return f"<DeleteResult><Error>{key}{why}</Error></DeleteResult>"

    cases = [
        (lambda it: (403, "AccessDenied") if it.is_change else None, "the credentials do not allow it (403 AccessDenied)", "allow listing"),
        (lambda it: (403, "AccessDenied") if is_data(it) else None, "the credentials do not allow it (403 AccessDenied)", "allow listing"),
        (lambda it: (200, undeleted(it)) if it.method == "POST" and "?delete" in it.path else None, "the credentials do not allow it (AccessDenied)", "removing"),
        (lambda it: (403, "RequestTimeTooSkewed"), "clock of this host differs", "clock"),
        (lambda it: (400, "AuthorizationHeaderMalformed"), "AWS_REGION", "environment variable"),
        (lambda it: (412, "PreconditionFailed") if it.has("if-match") else None, "does not heed conditions", "single_writer"),
        (lambda it: (409, "ConditionalRequestConflict") if it.has("if-none-match") else None, "does not heed conditions", "single_writer"),
        (lambda it: (403, "InvalidAccessKeyId"), "credentials are not accepted (403 InvalidAccessKeyId)", "keys"),
        (lambda it: (503, "SlowDown"), "slow down", "later"),
        (lambda it: "drop", "the connection broke", "network"),
    ]
    for fault, reason, hint in cases:
        site.proxy.reset(fault)
        start = time.monotonic()
        rewrite = ("run", "--rewrite", "--output", "s3://exports/old")
        said = site.tracklake(*rewrite, endpoint=site.proxy.url, code=6)
        took = time.monotonic() - start
        assert reason in said, said
        assert re.search(rf"hint: .*{hint}", said), said
        assert "s3://exports/old" in said, said
        assert took < 90, f"{reason}: {took:.0f} s"
        site.proxy.reset()
        data = {name: it for name, it in before.items() if name.startswith(("parquet", "csv"))}
        assert site.objects("old").items() >= data.items(), reason


def a_page_of_html_is_no_empty_bucket(site: Site):
    site.run("s3://exports/page")
    before = site.objects("page")
    is_list = lambda it: it.method == "GET" and "list-type=2" in it.path
    reason, hint = "what answered is no object store", "whether a proxy or a log-in page stands in between"
    for fault in (
        lambda it: "garble",
        lambda it: "garble" if is_list(it) else None,
        lambda it: "garble" if is_list(it) and "delimiter" not in it.path else None,
        lambda it: "garble" if is_list(it) and "journal" in it.path else None,
        lambda it: "garble" if it.is_change and "part-" in it.path else None,
    ):
        site.proxy.reset(fault)
        said = site.run("s3://exports/page", "--rewrite", endpoint=site.proxy.url, code=6)
        assert reason in said and hint in said, said
    site.proxy.reset(lambda it: "garble")
    for command in ("status", "verify", "compact"):
        said = site.tracklake(command, "--output", "s3://exports/page", endpoint=site.proxy.url, code=6)
        assert reason in said and hint in said, said
    site.proxy.reset()
    data = {name: it for name, it in before.items() if name.startswith(("parquet", "csv"))}
    assert site.objects("page").items() >= data.items()
    site.run("s3://exports/page")
    site.check_same("page", site.today())


def what_is_not_there_or_not_set_is_named(site: Site):
    said = site.run("s3://nobody/x", code=6)
    assert "`s3://nobody/x`" in said and "no such bucket (404 NoSuchBucket)" in said, said
    said = site.run("s3://exports/x", endpoint=f"http://127.0.0.1:{free_port()}", code=6)
    assert "the store cannot be reached" in said, said
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    # The address at which a host would be asked for its role.
    start = time.monotonic()
    nowhere = f"http://127.0.0.1:{free_port()}"
    said = site.run("s3://exports/x", code=6, AWS_METADATA_ENDPOINT=nowhere, **none)
    assert "no credentials were found" in said and "AWS_ACCESS_KEY_ID" in said, said
    assert time.monotonic() - start < 20
    said = site.run("s3://exports/x", code=6, AWS_SECRET_ACCESS_KEY=None)
    assert "no credentials" in said, said
    said = site.run("s3://exports/x", code=6, AWS_ENDPOINT_URL="http://store.example.com")
    assert "AWS_ALLOW_HTTP" in said, said
    said = site.run("gs://exports/x", code=6, GOOGLE_SERVICE_ACCOUNT="/nowhere.json")
    assert "`gs://exports/x`" in said, said
    for output in ("ftp://exports/x", "https://exports/x", "s3://", "s3://key:word@exports/x"):
        said = site.run(output, code=2)
        assert "--output" in said and "word" not in said.replace("key:word", ""), said
    text = Path(site.pipeline()).read_text().replace("  path: output\n", "  path: ftp://exports/x\n")
    path = site.work / "ftp.yaml"
    path.write_text(text)
    said = site.tracklake("run", code=3, pipeline=str(path))
    assert "ftp.yaml:151:" in said and "`s3://`" in said, said


def azure_holds_the_same(site: Site):
    env = {
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURITE_BLOB_STORAGE_URL": site.azurite,
        "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",
        "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY,
    }
    said = site.run("az://exports/main", code=6, **env)
    assert "no such bucket" in said or "ContainerNotFound" in said, said
    create_container(site.azurite, "exports")
    # On a busy machine azurite answers renewals late, behind the data of a run.
    long = site.pipeline(lease_secs=20)
    for _ in range(2):
        site.run("az://exports/main", pipeline=long, **env)
    site.tracklake("verify", "--output", "az://exports/main", **env)


def google_holds_the_same(site: Site):
    account, secret = site.gcs.service_account()
    key = site.work / "account.json"
    key.write_text(account)
    env = {"GOOGLE_SERVICE_ACCOUNT": str(key), "GOOGLE_BASE_URL": site.gcs.url}
    stored = lambda folder: {
        name.removeprefix(f"{folder}/"): it[0]
        for name, it in site.gcs.objects.items() if name.startswith(f"{folder}/")
    }
    for _ in range(2):
        assert secret not in site.run("gs://exports/main", "-vvv", **env)
        site.check_same("main", site.today(), stored=stored("main"))
    assert site.gcs.refused >= 4, "no condition was tried"
    site.tracklake("verify", "--output", "gs://exports/main", **env)
    site.tracklake("status", "--output", "gs://exports/main", **env)

    proxy, left, process = Proxy(site.gcs.url), [400], None

    def kill(request):
        left[0] -= request.is_change
        if left[0] == 0:
            process.send_signal(signal.SIGKILL)
            return "drop"
        return None

    proxy.reset(kill)
    process = site.start("run", "--output", "gs://exports/killed", **env | {"GOOGLE_BASE_URL": proxy.url})
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, process.returncode
    site.run("gs://exports/killed", **env)
    site.check_same("killed", site.today(), stored=stored("killed"))

    said = site.run("gs://nobody/x", code=6, **env)
    assert "no such bucket (404 NoSuchBucket)" in said, said
    other = gcs.Gcs("exports")
    said = site.run("gs://exports/x", code=6, **env | {"GOOGLE_BASE_URL": other.url})
    other.close()
    assert "credentials are not accepted (401 AuthenticationRequired)" in said, said
    said = site.run("gs://exports/x", code=6, **env | {"GOOGLE_BASE_URL": "http://store.example.com"})
    assert "GOOGLE_ALLOW_HTTP" in said, said
    account, secret = site.gcs.service_account(gcs_base_url="http://store.example.com")
    key.write_text(account)
    del env["GOOGLE_BASE_URL"]
    said = site.run("gs://exports/x", code=6, **env)
    assert "the endpoint is plain `http:`" in said and secret not in said, said


def large_files_come_in_parts(site: Site):
    source = site.serve(
        [site.binary, "simulate", "--issues", "3600", "--today", "2024-07-25", "--listen", "127.0.0.1:PORT"]
    )
    pipeline = year(site, target_file_mb=64)
    account, _ = site.gcs.service_account()
    key = site.work / "large.json"
    key.write_text(account)
    env = {
        "GOOGLE_SERVICE_ACCOUNT": str(key), "GOOGLE_BASE_URL": site.gcs.url,
        "YANDEX_TRACKER_URL": f"{source}/tracker", "pipeline": pipeline,
    }
    local = site.work / "large"
    site.run(str(local), **env)
    largest = max(it.stat().st_size for it in local.rglob("part-*"))
    assert largest > 9 << 20, largest
    site.proxy.reset()
    site.run("s3://exports/large", endpoint=site.proxy.url, **env)
    assert sum("uploads" in it.path for it in site.proxy.seen) > 0
    site.check_same("large", local)
    site.run("gs://exports/large", **env)
    stored = {name[6:]: it[0] for name, it in site.gcs.objects.items() if name.startswith("large/")}
    site.check_same("large", local, stored=stored)
    assert site.gcs.parts > 1 and not site.gcs.uploads
    open_uploads = site.s3.list_multipart_uploads(Bucket="exports").get("Uploads", [])
    assert not open_uploads, open_uploads


def create_container(endpoint: str, name: str):
    """By a shared-key signature, with nothing but the standard library."""
    import base64
    import hashlib
    import hmac
    from email.utils import formatdate

    date = formatdate(usegmt=True)
    canonical = f"x-ms-date:{date}\nx-ms-version:2021-12-02\n/devstoreaccount1/devstoreaccount1/{name}\nrestype:container"
    text = "PUT\n" + "\n" * 11 + canonical
    key = base64.b64decode(AZURITE_KEY)
    signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    request = urllib.request.Request(
        f"{endpoint}/devstoreaccount1/{name}?restype=container", method="PUT",
        headers={
            "x-ms-date": date, "x-ms-version": "2021-12-02",
            "Authorization": f"SharedKey devstoreaccount1:{signature}",
        },
    )
    urllib.request.urlopen(request).read()


CHECKS = [
    a_run_into_a_bucket_writes_what_a_run_into_a_directory_does,
    readers_find_the_rows,
    the_next_run_is_incremental,
    the_other_commands_look_at_a_bucket,
    a_run_that_is_killed_anywhere_is_finished_by_the_next,
    after_a_kill_one_may_look_at_once,
    compact_that_is_killed_anywhere_is_finished_by_the_next,
    of_two_runs_at_once_one_is_told_who_the_other_is,
    a_paused_run_does_not_overwrite_what_a_later_one_has_published,
    a_run_that_waits_for_a_dead_one_can_be_stopped,
    a_store_that_ignores_conditions_is_found_out,
    a_store_that_is_far_away_is_asked_for_much_at_once,
    failures_that_pass_are_outlasted,
    failures_that_stay_are_named_and_leave_the_old_data,
    a_page_of_html_is_no_empty_bucket,
    what_is_not_there_or_not_set_is_named,
    azure_holds_the_same,
    google_holds_the_same,
    large_files_come_in_parts,
]


def versions(tools: Path) -> str:
    of_npm = lambda name: json.loads((tools / f"node_modules/{name}/package.json").read_text())["version"]
    python = [f"{name} {version(name)}" for name in ("moto", "boto3", "pyarrow", "duckdb")]
    python.append(f"Google Cloud Storage {gcs.VERSION}")
    return ", ".join(python + [f"{name} {of_npm(name)}" for name in ("s3rver", "azurite")])


def main(binary: str, tools: Path, only: list[str]) -> int:
    print(versions(tools))
    failed = passed = 0
    with tempfile.TemporaryDirectory() as work:
        site = Site(binary, tools, Path(work))
        try:
            for check in CHECKS:
                if only and not any(it in check.__name__ for it in only):
                    continue
                start = time.monotonic()
                try:
                    check(site)
                    passed += 1
                    print(f"ok    {check.__name__.replace('_', ' ')} ({time.monotonic() - start:.1f} s)")
                except Exception:
                    failed += 1
                    print(f"FAIL  {check.__name__.replace('_', ' ')}")
                    traceback.print_exc(file=sys.stdout)
                sys.stdout.flush()
        finally:
            site.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    # So that the servers end, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))

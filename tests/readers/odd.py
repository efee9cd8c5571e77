"""A source on loopback with what the demo has none of, and the pipelines that export it."""

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TEXTS = [
    None, "", "plain", "a,b", 'say "so"', '"', "two\nlines", "mac\rline", "dos\r\nline", "\n", " around ", "\ttab",
    "=1+1", "+1", "-1", "@a", "'quoted'", "back\\slash", '\\"', "NULL", "null", "\\N", "NA", "nan", "张伟 Анна 😀", "e\u0301",
    "x" * 70_000, "\0", '\0,"\0"\0', "\ufeff", "#", "\u2028", "long\n" * 600_000,
]
DAYS = [None, "0001-01-01", "1582-10-10", "1899-12-31", "1900-01-01", "1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31"]
INSTANTS = [
    None, "0001-01-01T00:00:00Z", "1582-10-10T12:00:00.000001Z", "1899-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z",
    "2024-03-31T01:30:00.5+01:00", "9999-12-31T23:59:59.999999Z",
]
NUMBERS = [None, 0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1]
SHARES = [None, 0.0, -0.0, 0.1, 1e300, 5e-324, -1.5, 1e16, 123456789.125]


def texts() -> list[dict]:
    at = lambda values, i: values[i % len(values)]
    return [
        {
            "id": i, "note": at(TEXTS, i), "day": at(DAYS, i // 3), "at": at(INSTANTS, i), "number": at(NUMBERS, i), "more": {"b": [1, None]},
            "share": at(SHARES, i), "is_done": at([None, True, False], i), "spent": at([None, "P1W", "PT1M30S"], i), "tags": at([None, [], {"b": 1, "a": '"'}, ""], i),
        }
        for i in range(4 * len(TEXTS))
    ]


def grown(run: int) -> list[dict]:
    days = ["2024-07-24", "2024-07-25"] if run == 1 else ["2024-07-24", "2024-07-25", "2024-07-26", "2024-07-27"]
    return [{"id": i, "day": day, "user": f"u{i}", **({"note": f"n{i}"} if i > 1 else {})} for i, day in enumerate(days)]


def marked(run: int) -> list[dict]:
    return [{"id": i, "day": "2024-07-25", "user": "u"} for i in range(4 if run == 1 else 3)]


def instants() -> list[dict]:
    return [{"id": i, "at": it} for i, it in enumerate([None, "2023-12-31T23:30:00Z", "2024-07-25T05:00:00Z", "2024-07-25T06:00:00Z"])]


COLUMNS = {
    "texts": """
      id: { from: id, type: int64 }
      note: { from: note, type: string, description: "It's; what 'was' said" }
      day: { from: day, type: date }
      at: { from: at, type: timestamp }
      number: { from: number, type: int64 }
      share: { from: share, type: float64 }
      is_done: { from: is_done, type: boolean }
      spent_seconds: { from: spent, type: duration }
      tags: { from: tags, type: json }""",
    "grown": """
      id: { from: id, type: int64 }
      day: { from: day, type: date }@NOTE@
      user: { from: user, type: string }""",
    "marked": """
      id: { from: id, type: int64 }
      day: { from: day, type: date }
      user: { from: user, type: string }""",
    "nothing": """
      id: { from: id, type: int64 }
      day: { from: day, type: date }
      at: { from: at, type: timestamp }
      share: { from: share, type: float64 }
      is_done: { from: is_done, type: boolean }
      note: { from: note, type: string }""",
    "hours": "\n      id: { from: id, type: int64 }\n      at: { from: at, type: timestamp }",
}
COLUMNS["months"] = COLUMNS["years"] = COLUMNS["hours"]
WRITES = {"grown": "append: { key: [id] }"}
PARTITIONS = {unit + "s": f"{{ column: at, unit: {unit}, as: slot }}" for unit in ["hour", "month", "year"]}


def pipeline(name: str, url: str, run: int, streams: list[str], formats: str) -> str:
    text = f"version: 1\npipeline: {name}\nsource: {{ base_url: '{url}', allow_http: true, auth: none }}\nstreams:\n"
    for stream in streams:
        note = "\n      note: { from: note, type: string }" if run == 2 else ""
        write = WRITES.get(stream, "replace: { scope: all, key: [id] }")
        partition = PARTITIONS.get(stream, "{ column: day }")
        deletes = "    deletes: mark\n" if stream == "marked" else ""
        text += (
            f"  {stream}:\n    request: {{ path: /{stream} }}\n    columns:{COLUMNS[stream].replace('@NOTE@', note)}\n"
            f"    write: {{ {write} }}\n    partition_by: {partition}\n{deletes}"
        )
    return text + f"destination: {{ path: nowhere, formats: {formats} }}\n"


ALL = list(COLUMNS)
PIPELINES = [
    ("odd", ALL, "{ parquet: {}, csv: {} }"),
    ("odd_gzip", ["texts"], "{ csv: { compression: gzip } }"),
    ("odd_zstd", ["texts"], "{ csv: { compression: zstd } }"),
]


def export(tracklake: str, work: Path, output: Path) -> dict[str, Path]:
    """Exports everything twice, the second time with a column more; gives the pipeline files."""
    served = {"run": 1}
    bodies = {"texts": lambda run: texts(), "grown": grown, "marked": marked, "nothing": lambda run: []}
    bodies |= {it: lambda run: instants() for it in ["hours", "months", "years"]}

    class Source(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(bodies[self.path.strip("/")](served["run"])).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Source)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    files = {}
    for run in (1, 2):
        served["run"] = run
        for name, streams, formats in PIPELINES:
            files[name] = work / f"{name}.yaml"
            files[name].write_text(pipeline(name, url, run, streams, formats), encoding="utf-8")
            command = [tracklake, "run", str(files[name]), "--output", str(output), "--quiet", "--json"]
            now = f"2024-07-2{6 + run}T12:00:00Z"
            done = subprocess.run([*command, "--now", now], capture_output=True, text=True)
            assert done.returncode == 0, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    server.shutdown()
    return files

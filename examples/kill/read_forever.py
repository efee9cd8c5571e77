"""Reads the streams of a pipeline with DuckDB, again and again, while the program writes them.

    python read_forever.py '{"PIPELINE/STREAM": ["a column of its key"]}'

A line on stdin says where: the directory of a pipeline's Parquet files. The next line, whatever it is, ends
that, and is answered with one line of JSON: what was seen.

Each time it lists a stream's files first, and then reads exactly these.
"""

import json
import os
import queue
import sys
import threading
from pathlib import Path

import duckdb


def main(keys: dict[str, list[str]]) -> None:
    lines = queue.Queue()
    threading.Thread(target=listen, args=(lines,), daemon=True).start()
    db = duckdb.connect()
    # What it keeps of a file that it has read before is not what a new reader sees.
    db.execute("SET enable_external_file_cache = false")
    while (line := lines.get()) is not None:
        parquet = Path(line.rstrip("\n"))
        seen = {"reads": 0, "vanished": 0, "mixed": 0, "torn": [], "doubled": []}
        while lines.empty():
            for stream in sorted(parquet.glob("*")):
                read(db, stream, keys.get(f"{parquet.name}/{stream.name}", []), seen)
        lines.get()
        print(json.dumps(seen), flush=True)


def listen(lines: queue.Queue) -> None:
    for line in sys.stdin:
        lines.put(line)
    # An end where something is being read ends both.
    lines.put(None)
    lines.put(None)


def read(db, stream: Path, key: list[str], seen: dict) -> None:
    """Reads all columns of all rows that are there, and counts the rows that are there twice."""
    before = files(stream)
    if not before:
        return
    columns = ", ".join(f'"{it}"' for it in key)
    doubled = f"count(*) - count(DISTINCT ({columns}))" if key else "0"
    query = f"SELECT {doubled}, bit_xor(hash(t)) FROM read_parquet($files, hive_partitioning = true) AS t"
    try:
        (doubled, _), = db.execute(query, {"files": list(before)}).fetchall()
    except duckdb.Error as error:
        after = files(stream)
        if all(after.get(path) == about for path, about in before.items()):
            seen["torn"].append(f"{stream}: {error}")
        else:
            # Gone, or replaced between two times that it was opened by its name.
            seen["vanished"] += 1
        return
    seen["reads"] += 1
    if doubled == 0:
        return
    if files(stream) != before:
        # Some were replaced after they had been listed: what was read was never there at one time.
        seen["mixed"] += 1
    else:
        seen["doubled"].append(f"{stream}: {doubled} rows are there twice")


def files(stream: Path) -> dict[str, tuple]:
    """The files of a stream, each with what is different once it is replaced."""
    found = {}
    # A partition may go while it is listed: `walk` goes on, `glob` does not.
    for directory, _, names in os.walk(stream):
        for name in names:
            if not name.endswith(".parquet"):
                continue
            path = os.path.join(directory, name)
            try:
                about = os.stat(path)
                found[path] = (about.st_ino, about.st_size, about.st_mtime_ns)
            except FileNotFoundError:
                pass
    return dict(sorted(found.items()))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

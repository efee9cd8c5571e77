"""What README.md and docs say about readers: their snippets, as they are run, and their tables."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)

# The stream that the snippets read; the others are read by the same lines with another name.
STREAM = "yandex_tracker/worklogs"
CSV_STREAM = "codearts_req/work_hours"


def snippet(name: str) -> str:
    """The block of code below the comment `<!-- reader: NAME -->`."""
    found = re.search(rf"<!-- reader: {re.escape(name)} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found, f"neither README.md nor docs has a snippet called {name}"
    return found.group(1)


def run(name: str, root: str, pipeline: str, stream: str) -> dict:
    """Runs a snippet on a stream; gives the names that it leaves."""
    code = snippet(name)
    assert STREAM in code or CSV_STREAM in code, f"the snippet {name} reads another stream"
    code = code.replace(STREAM, f"{pipeline}/{stream}").replace(CSV_STREAM, f"{pipeline}/{stream}")
    names: dict = {}
    exec(compile(code.replace("output/demo", root), f"docs: {name}", "exec"), names)
    return names


def run_on(name: str, names: dict, root: str) -> dict:
    """Runs a snippet as it is, with the names that another one has left."""
    exec(compile(snippet(name).replace("output/demo", root), f"docs: {name}", "exec"), names)
    return names


def rows_of(head: str) -> list[list[str]]:
    """The rows of the table that begins with a line."""
    _, found, rest = TEXT.partition(f"\n{head}\n")
    assert found, f"neither README.md nor docs has a table `{head}`"
    rows = []
    for line in rest.splitlines()[1:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split(" | ")])
    return rows


def stored_types() -> dict[str, str]:
    """From a type of a pipeline file to how it is stored."""
    rows = rows_of("| type | takes | stored as (Arrow, Parquet) |")
    return {row[0]: re.match(r"\w+", row[2])[0] for row in rows}


def reader_types() -> dict[str, dict[str, str]]:
    """From how a value is stored to its type in each reader."""
    readers = ["duckdb", "spark", "pyarrow", "pandas", "polars"]
    rows = rows_of("| stored as | DuckDB | Spark | pyarrow | pandas | Polars |")
    return {re.match(r"\w+", row[0])[0]: dict(zip(readers, row[1:])) for row in rows}

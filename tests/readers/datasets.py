"""The datasets that readers read: where they are, what they should have, and the printed statements."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

import odd
import pages

REPOSITORY = Path(__file__).parents[2]
PARTITION_TYPES = {"hour": "Utf8", "day": "Date32", "month": "Utf8", "year": "Int32"}


@dataclass
class Dataset:
    root: str
    pipeline: str
    stream: str
    # What the report of the last run says that the dataset has.
    rows: int
    # How each column is stored, in order, by the table of types in docs/pipelines.md; the partition column is the last.
    stored: dict[str, str]
    partition: str
    formats: list[str]

    @property
    def name(self) -> str:
        return f"{self.pipeline}.{self.stream}"

    @property
    def view(self) -> str:
        return f"{self.pipeline}_{self.stream}"


def all_of(work: Path) -> list[Dataset]:
    """Every stream of the demo, and the odd ones."""
    demo = {it.stem: it for it in sorted((REPOSITORY / "pipelines").glob("*.yaml"))}
    found = [it for name, file in demo.items() for it in of_pipeline(file, work / "demo", name)]
    assert len(found) == 8, f"the demo has 8 streams, not {len(found)}"
    for name, _, _ in odd.PIPELINES:
        found += of_pipeline(work / f"{name}.yaml", work / "odd", name)
    return found


def of_pipeline(file: Path, output: Path, name: str) -> list[Dataset]:
    plan = yaml.safe_load(file.read_text(encoding="utf-8"))
    stored_types = pages.stored_types()
    found = []
    for stream, spec in plan["streams"].items():
        manifest = json.loads((output / f"_tracklake/{name}/manifests/{stream}.json").read_text(encoding="utf-8"))
        kinds = {column: it["type"] for column, it in spec["columns"].items()}
        kinds = {column: next(iter(it)) if isinstance(it, dict) else it for column, it in kinds.items()}
        stored = {column: stored_types[kind] for column, kind in kinds.items()}
        stored["_extra"] = "Utf8"
        if spec.get("deletes") == "mark":
            stored["_deleted_at"] = "Timestamp"
        partition = spec["partition_by"].get("as", "date")
        stored[partition] = PARTITION_TYPES[spec["partition_by"].get("unit", "day")]
        formats = list(plan["destination"]["formats"])
        found.append(Dataset(str(output), name, stream, manifest["rows"], stored, partition, formats))
    return found


def statements(tracklake: str, work: Path, dialect: str, form: str) -> list[str]:
    """What `sql-views` prints for every pipeline."""
    demo = ["yandex_tracker", "jira_timesheet", "codearts_req"]
    return printed(tracklake, demo, work / "demo", dialect, form) + printed(tracklake, odd_files(work, form), work / "odd", dialect, form)


def printed(tracklake: str, pipelines: list, output: Path, dialect: str, form: str) -> list[str]:
    command = [tracklake, "sql-views", *map(str, pipelines), "--output", str(output), "--dialect", dialect, "--format", form]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split("\n\n")


def elsewhere(work: Path) -> Path:
    """A copy of the odd datasets, and beside it other rows that a pattern of the same name would find."""
    output = work / "id=7" / "date=2020-01-01" / "a[b]*"
    if not output.exists():
        shutil.copytree(work / "odd", output)
        shutil.copytree(work / "odd", output.with_name("a[b]*c"))
        shutil.copytree(work / "odd", output.with_name("ab"))
    return output


def odd_files(work: Path, form: str) -> list[str]:
    return [str(work / f"{name}.yaml") for name, _, formats in odd.PIPELINES if form in formats]

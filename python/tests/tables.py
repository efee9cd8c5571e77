"""Rows as values that can be compared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds


def multiset(table: pa.Table) -> Counter:
    """How often each row is there, whatever the order of rows and columns."""
    table = table.select(sorted(table.column_names))
    return Counter(tuple(row.items()) for row in table.to_pylist())


def exported(output: Path, pipeline: str, stream: str) -> pa.Table:
    """The dataset that a run wrote, without the column that is only in its paths."""
    return ds.dataset(output / "parquet" / pipeline / stream, format="parquet").to_table()

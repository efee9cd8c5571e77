"""Rows of issue trackers, by the ``tracklake`` program that comes in the same package.

    rows = tracklake.pull("yandex_tracker", "worklogs", since="7d")
    duckdb.sql("SELECT issue_key, sum(duration_seconds) FROM rows GROUP BY ALL")

``pull`` streams rows as Arrow, ``run`` exports a pipeline to files as ``tracklake run`` does, and
``tracklake.spark`` is a data source of Apache Spark.
"""

from ._errors import (
    DataError,
    DestinationError,
    Error,
    PartialWarning,
    PipelineError,
    SourceError,
    UsageError,
)
from ._pull import pull
from ._run import run

__all__ = [
    "DataError",
    "DestinationError",
    "Error",
    "PartialWarning",
    "PipelineError",
    "SourceError",
    "UsageError",
    "pull",
    "run",
]

"""Pages of worklogs to partitioned Parquet by Polars: polars_peer.py PAGES OUTPUT"""

import os
import sys
from pathlib import Path

os.environ["POLARS_MAX_THREADS"] = "2"

import polars as pl

TEXT, NUMBER = pl.String, pl.Int64
USER = pl.Struct({"self": TEXT, "id": TEXT, "display": TEXT})
SCHEMA = {
    "self": TEXT, "id": NUMBER, "version": NUMBER,
    "issue": pl.Struct({"self": TEXT, "id": TEXT, "key": TEXT, "display": TEXT}),
    "comment": TEXT, "createdBy": USER, "updatedBy": USER,
    "createdAt": TEXT, "updatedAt": TEXT, "start": TEXT, "duration": TEXT,
}  # fmt: skip
DURATION = r"^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?$"


def main(pages: str, output: str) -> None:
    read = [pl.read_json(file, schema=SCHEMA) for file in sorted(Path(pages).glob("*.json"))]
    parts = pl.col("duration").str.extract_groups(DURATION).struct
    part = lambda number: parts.field(number).cast(NUMBER).fill_null(0)
    columns = (
        pl.col("self"),
        *of("issue", "issue", "self", "id", "key", "display"),
        pl.col("comment"),
        *of("createdBy", "created_by", "self", "id", "display"),
        *of("updatedBy", "updated_by", "self", "id", "display"),
        pl.col("duration", "id", "version"),
        instant("createdAt", "created_at"),
        instant("updatedAt", "updated_at"),
        instant("start", "start"),
        instant("start", "start_date").dt.date(),
        (part("1") * 28800 + part("2") * 3600 + part("3") * 60).alias("duration_seconds"),
        instant("start", "date").dt.date(),
    )
    to = pl.PartitionBy(output, key="date", include_key=False)
    frame = pl.concat(read).lazy().select(columns)
    frame.sink_parquet(to, compression="zstd", compression_level=1, mkdir=True)


def of(record: str, prefix: str, *fields: str) -> list[pl.Expr]:
    return [pl.col(record).struct.field(it).alias(f"{prefix}_{it}") for it in fields]


def instant(column: str, name: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3f%z", time_unit="us").alias(name)


main(*sys.argv[1:])

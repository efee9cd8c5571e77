"""Pages of worklogs to partitioned Parquet by DuckDB: duckdb_peer.py PAGES OUTPUT"""

import sys

import duckdb

USER = "STRUCT(self VARCHAR, id VARCHAR, display VARCHAR)"
ISSUE = "STRUCT(self VARCHAR, id VARCHAR, key VARCHAR, display VARCHAR)"
DURATION = r"^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?$"


def main(pages: str, output: str) -> None:
    db = duckdb.connect()
    db.execute("SET threads = 2")
    db.execute("SET preserve_insertion_order = false")
    db.execute(f"""
        COPY (
            SELECT * EXCLUDE (parts), start::DATE AS start_date,
                coalesce(TRY_CAST(parts.d AS BIGINT), 0) * 28800
                    + coalesce(TRY_CAST(parts.h AS BIGINT), 0) * 3600
                    + coalesce(TRY_CAST(parts.m AS BIGINT), 0) * 60 AS duration_seconds,
                start::DATE AS date
            FROM (
                SELECT self, issue.self AS issue_self, issue.id AS issue_id, issue.key AS issue_key,
                    issue.display AS issue_display, comment,
                    createdBy.self AS created_by_self, createdBy.id AS created_by_id,
                    createdBy.display AS created_by_display,
                    updatedBy.self AS updated_by_self, updatedBy.id AS updated_by_id,
                    updatedBy.display AS updated_by_display,
                    duration, id, version,
                    {instant("createdAt")} AS created_at, {instant("updatedAt")} AS updated_at,
                    {instant("start")} AS start,
                    regexp_extract(duration, '{DURATION}', ['d', 'h', 'm']) AS parts
                FROM read_json('{pages}/*.json', format = 'array', columns = {{
                    self: 'VARCHAR', id: 'BIGINT', version: 'BIGINT', issue: '{ISSUE}', comment: 'VARCHAR',
                    createdBy: '{USER}', updatedBy: '{USER}', createdAt: 'VARCHAR', updatedAt: 'VARCHAR',
                    start: 'VARCHAR', duration: 'VARCHAR' }})
            )
        ) TO '{output}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARTITION_BY (date))
    """)


def instant(column: str) -> str:
    return f"strptime({column}, '%Y-%m-%dT%H:%M:%S.%g+0000')"


main(*sys.argv[1:])

"""A night's run with Airflow 2 or 3; put this file into the directory of DAGs.

Each exit code of tracklake becomes what Airflow knows: 4 and 6 may heal and are tried again, 7 has published everything
but a part that the next run reads, and everything else waits for a person.
"""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta

from airflow.decorators import dag, task
from airflow.exceptions import AirflowException, AirflowFailException

RETRIED = {4, 6, 130}
PARTIAL = 7


@dag(
    schedule="15 2 * * *",
    start_date=datetime(2024, 7, 1),
    # A run reads everything since the last one, so nights that were missed need no runs of their own.
    catchup=False,
    # A second run would end with 6, because the first one holds the lock.
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
)
def tracklake_yandex_tracker():
    @task
    def export() -> list[str]:
        """Gives the partitions that the run has written, for tasks that load only these."""
        run = subprocess.run(
            ["tracklake", "run", "yandex_tracker", "--quiet", "--json", "--output", "/lake"],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if run.returncode in RETRIED:
            raise AirflowException(f"tracklake ended with {run.returncode}: see the log")
        if run.returncode not in (0, PARTIAL):
            raise AirflowFailException(f"tracklake ended with {run.returncode}: see the log")
        report = json.loads(run.stdout)
        return [
            f"{stream['stream']}/{partition}"
            for stream in report["streams"]
            for partition in stream["changed"]
        ]

    export()


tracklake_yandex_tracker()

"""Waiting for a night's files where landing is in S3: in the triggerer, so that it takes no worker."""

from typing import Any, cast

from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.sdk import task

from include.partitions import of_run
from include.sources.spec import Source

EVERY = 60  # seconds between two looks


def arrival(source: Source) -> S3KeySensor:
    """Wait until the files of the run's nights are there, or may not be expected any more.

    Skipped where they have not come by then: what follows decides what to make of that.
    """

    @task
    def awaited(**context: Any) -> list[str]:
        """Name the files that are not there yet. None for nights that are long over, as history is."""
        from datetime import UTC, datetime

        from include.sources import landing

        return [str(path) for path in landing.awaited(source, of_run(context), datetime.now(UTC))]

    return S3KeySensor(
        task_id="wait",
        bucket_key=cast(list[str], awaited()),
        aws_conn_id=None,  # as every other client here: by AWS's own chain of credentials
        deferrable=True,
        poke_interval=EVERY,
        timeout=source.freshness_hours * 3600,
        soft_fail=True,
    )

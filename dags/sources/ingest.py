"""Landing files to bronze, one DAG a source.

**Reads** `landing/<source>/<feed>/<day>`, which `extract` fetches first for feeds with a connector (what is there is
kept: delete a file to have it fetched again). **Writes** `bronze.<source>__<feed>`, its `__quarantine`, and
`bronze.<source>__completeness`. **Announces** the night to everything that follows.

**Parameters**: none for a single night, which is the run's partition; `from` and `to` for a range, as history is
loaded. *Backfill* in the Trigger dialog re-runs nights one by one, through to predictions.

`wait` comes first, without taking a worker: for files of a night that may still come, `freshness_hours` long.

**Skips** a night with nothing in landing; one in which no file is due runs without any, since the next day is
to be predicted all the same. **Fails** where some of a night's files are missing, a file is damaged, rows are
unaccounted for or too many break their contract; the message names which, and the earlier state stands.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from include.contracts.source import Source
from include.core.partitions import of_run
from include.orchestration import assets, defaults
from include.sources import sources


def ingest(source: Source) -> DAG:
    @dag(
        dag_id=f"lakehouse_ingest_{source.name}",
        schedule=defaults.nightly(source),
        **defaults.DAG | {"max_active_runs": 2},  # a night that waits for its files keeps no other one from running
        params=defaults.PARAMS,
        default_args=defaults.DEFAULTS | {"owner": source.owner},
        doc_md=__doc__,
        tags=["lakehouse", source.name],
    )
    def recipe() -> None:
        @task.sensor(**defaults.WAIT | {"poke_interval": 60, "timeout": defaults.longest_wait(source)})
        def wait(**context):
            """For the night's files, until its upstream's hours are over."""
            from include.ingestion import landing

            missing = landing.awaited(source, of_run(context), datetime.now(UTC))
            print("waiting, without a worker, for", *missing) if missing else print("nothing to wait for")
            return not missing

        @task(**defaults.LONG)
        def extract(**context):
            """Fetch what the night lacks in landing, by the connectors of the feeds."""
            from include.ingestion.connectors import fetch

            return fetch.extract(source, of_run(context))

        @task(trigger_rule="none_failed", **defaults.LONG)
        def plan(**context):
            """Find the night's files and look each through."""
            from include.ingestion import landing

            nights = of_run(context)
            if not (found := landing.plan(source, nights)) and any(map(source.expects_files, nights.days)):
                raise AirflowSkipException(f"nothing in landing for {source.name} {nights}: no data, no event")
            return found

        @task(**defaults.LONG)
        def load(found, **context):
            """Read them; every row gets its verdict."""
            from include.ingestion import ingest

            return ingest.load(source, of_run(context), found)

        @task(**defaults.LONG)
        def audit(found, candidates, **context):
            """The completeness equation, and late rows beside those that they belong to."""
            from include.ingestion import ingest

            return ingest.audit(source, of_run(context), found, candidates)

        @task(outlets=[assets.bronze(source.name)], **defaults.LONG)
        def publish(found, candidates, audited, **context):
            """Replace exactly these days, and announce them."""
            from include.governance import events
            from include.ingestion import ingest

            nights = of_run(context)
            published = ingest.publish_all(source, nights, found, candidates, audited, run=defaults.name_of(context))
            assets.announce(context, assets.bronze(source.name), nights)
            events.emit(context, events.of_ingest, source, found, published)

        @task
        def discard(candidates, audited):
            """Remove what was only needed on the way. After publishing, so that a killed one can be tried again."""
            from include.ingestion import ingest

            ingest.discard(candidates, audited)

        found = plan()
        if any(feed.connector for feed in source.feeds):
            extract() >> found
        wait() >> found
        candidates = load(found)
        audited = audit(found, candidates)
        publish(found, candidates, audited) >> discard(candidates, audited)

    return recipe()


for one in sources().values():
    ingest(one)

"""Nights with rows in quarantine, once more, after a person has approved it. One DAG a source.

**Reads** `bronze.<source>__<feed>__quarantine` and the nights' files in landing, with today's contract and rules.
**Writes** nothing itself: `again` starts `lakehouse_ingest_<source>` for each of the nights, one after the other, and
waits for it without a worker.

**Parameters**: `from` and `to`, the first and the last night. The page *Quarantine* fills them in.

`foresee` says how many of the rows would be published now, by night, feed and what was wrong, and what stays.
`approve` shows that to a person (*Required Actions* in Airflow) for `NOCTURNE_APPROVAL_HOURS`; no answer is a no.
**Skips** everything after a no, and all where nothing is in quarantine. **Fails** where a night could not be ingested:
its files are gone, damaged, or too many rows would still break their contract; the message names which.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from include.contracts.source import Source
from include.core.partitions import of_run
from include.core.settings import settings
from include.orchestration import defaults
from include.orchestration.operators.run_again import RunAgain
from include.sources import sources


def reprocess(source: Source) -> DAG:
    @dag(
        dag_id=f"lakehouse_reprocess_{source.name}",
        schedule=None,
        **defaults.DAG,
        params=defaults.PARAMS,
        default_args=defaults.DEFAULTS | {"owner": source.owner},
        doc_md=__doc__,
        tags=["lakehouse", source.name],
    )
    def recipe() -> None:
        @task(**defaults.LONG)
        def foresee(**context):
            """Read the nights' files as an ingestion would, and say what would become of the quarantine."""
            from include.orchestration import reprocess

            found = reprocess.proposal(source, of_run(context))
            if not found["nights"]:
                raise AirflowSkipException(f"nothing of {source.name} {of_run(context)} is in quarantine")
            print(found["summary"])
            context["ti"].xcom_push(key="summary", value=found["summary"])
            context["ti"].xcom_push(key="rows", value=found["rows"])
            return found["nights"]

        nights = foresee()
        approve = ApprovalOperator(
            task_id="approve",
            doc_md="Ask a person, with what would become of the rows.",
            subject=f"Ingest nights of {source.name} again?",
            body="{{ ti.xcom_pull(task_ids='foresee', key='summary') }}",
            defaults=ApprovalOperator.REJECT,
            assigned_users=defaults.answerers(),
            response_timeout=timedelta(hours=settings().approval_hours),
        )
        # One after the other, as `make reprocess` does.
        again = RunAgain.partial(
            task_id="again",
            doc_md="Ingest each of the nights again.",
            trigger_dag_id=f"lakehouse_ingest_{source.name}",
            max_active_tis_per_dagrun=1,
        ).expand(conf=nights)

        @task
        def report(**context):
            """What has come of it."""
            from include.orchestration import reprocess

            rows = context["ti"].xcom_pull(task_ids="foresee", key="rows")
            print(reprocess.outcome(rows, source, of_run(context)))

        nights >> approve >> again >> report()

    return recipe()


for one in sources().values():
    reprocess(one)

"""What is wrong and nobody tells of: late nights, silent sources, paused DAGs, open questions; and what is over.

**Reads** Airflow's runs, what has landed, ledgers and predictions. **Writes** `ledger.incidents`, lines of
`var/log/alerts.jsonl`, and a message to each channel that is configured: one for what has begun, one for what is over.
`make incidents` lists what is open. **Fails**, after it has looked at all the rest, where something could not be
looked at.
"""

from datetime import UTC, datetime

from airflow.sdk import dag, task

from include.orchestration import defaults


@dag(
    dag_id="lakehouse_watch",
    schedule="*/15 * * * *",
    **defaults.DAG,
    default_args=defaults.DEFAULTS | {"owner": "data-platform"},
    doc_md=__doc__,
    tags=["lakehouse"],
)
def watch() -> None:
    @task
    def look():
        """Tell what has begun to be wrong, and what is over."""
        from include.orchestration import watch

        print(*watch.look(datetime.now(UTC)) or ["nothing has begun, and nothing is over"], sep="\n")

    look()


watch()

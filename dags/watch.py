"""What is wrong and nobody tells of: late nights, silent sources, paused DAGs, open questions; and what is over.

Beside it, who did what comes into the audit log, `ledger.audit`: from the ledgers, and from Airflow's own log.

**Reads** Airflow's runs and audit log, what has landed, ledgers and predictions. **Writes** `ledger.incidents`,
`ledger.audit`, lines of `var/log/alerts.jsonl`, and a message to each channel that is configured: one for what has
begun, one for what is over. `make incidents` lists what is open, `make audit` who did what. **Fails**, after it has
looked at all the rest, where something could not be looked at.
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
    @task(trigger_rule="all_done")  # whatever becomes of the log
    def look():
        """Tell what has begun to be wrong, and what is over."""
        from include.orchestration import watch

        print(*watch.look(datetime.now(UTC)) or ["nothing has begun, and nothing is over"], sep="\n")

    @task
    def audit():
        """Bring into the audit log what ledgers and Airflow say of who did what, and tell its newest line."""
        from include.core.settings import settings
        from include.governance import decisions
        from include.lake import audit
        from include.orchestration import airflow_audit
        from include.orchestration.airflow_client import Airflow

        new = decisions.collect() + airflow_audit.collect(Airflow(settings()), datetime.now(UTC))
        newest = audit.look()
        # Whoever keeps the logs of tasks has an anchor of the chain as well.
        print(f"{new} lines; the newest is {newest.line}, {newest.seal}" if newest else "nobody has done anything yet")

    audit() >> look()


watch()

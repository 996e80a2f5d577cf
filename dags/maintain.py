"""Maintenance, once a week: merge small files, let old days go, remove what no version needs, sweep, forget.

**Reads** the log and the folder of every table, and from MLflow which versions models were trained on: those stay
readable. **Writes** no content. **Removes** days of bronze older than their feed's `retention_days`, files that no
version of the last `vacuum_hours` needs, and candidates of failed tries older than three days. Each removal is in
`ledger.removals`, before it happens and after it. `forget` removes logs, runs, events, alerts and caches that are older
than the settings say; nothing that a version or a ledger names.

**Parameters**: `dry_run` ends after `plan`, whose log says what would be done, and the report. `report` writes what
each table takes to `var/report/lake.json`; it **fails**, after everything else is done, where something was refused
that a person has to look at: a retention that would take most of a table, a model whose training data is lost.
"""

from datetime import UTC, datetime

from airflow.sdk import Param, dag, task

from include.orchestration import defaults


@dag(
    dag_id="lakehouse_maintain",
    schedule="0 12 * * 0",  # half a day from the nights, whose commits a merge could cross
    **defaults.DAG,
    params={"dry_run": Param(False, type="boolean", title="Only say what would be done")},
    default_args=defaults.DEFAULTS | {"owner": "data-platform"},
    doc_md=__doc__,
    tags=["lakehouse"],
)
def maintenance() -> None:
    # Whatever comes after it: a dry run skips the next task, and with it all others but the report.
    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def plan(params):
        """Say what would be done. Nothing is touched before this has gone well."""
        from include.core.settings import settings
        from include.lake import maintain
        from include.local import retention
        from include.ml import registry
        from include.sources import sources

        found = maintain.plan(sources().values(), registry.pinned())
        print(
            *([str(one) for one in found.removals] or ["nothing to do"]),
            *(f"refused: {one}" for one in found.refused),
            *(f"forgotten: {one}" for one in retention.plan(settings(), datetime.now(UTC))),
            sep="\n",
        )
        return not params["dry_run"]

    @task
    def retain(run_id):
        """Days that are too old, in one commit a table."""
        from include.lake import maintain, spark
        from include.sources import sources

        maintain.retain(spark.session(), sources().values(), run_id)

    @task(**defaults.LONG)
    def compact(run_id):
        """Small files into larger ones."""
        from include.lake import maintain, spark

        maintain.compact(spark.session(), run_id)

    @task(**defaults.LONG)
    def vacuum(run_id):
        """Files that neither a reader nor a model needs."""
        from include.lake import maintain
        from include.ml import registry

        maintain.vacuum(registry.pinned(), run_id)

    @task
    def sweep(run_id):
        """What failed tries left."""
        from include.lake import maintain

        maintain.sweep(run_id)

    @task(**defaults.LONG)
    def forget():
        """Old logs, runs of Airflow and of MLflow, events, alerts, caches."""
        from include.core.settings import settings
        from include.local import retention

        retention.forget(settings(), datetime.now(UTC), print)

    @task(trigger_rule="none_failed")
    def report(run_id):
        """What each table takes now; and what was refused, as an error."""
        from include.lake import maintain, usage
        from include.ml import registry
        from include.sources import sources

        print(usage.write_report(run=run_id))
        maintain.require_nothing_refused(sources().values(), registry.pinned())

    plan() >> retain() >> compact() >> vacuum() >> sweep() >> forget() >> report()


maintenance()

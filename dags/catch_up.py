"""Nights that were missed: run those of the last days, name the others.

**Reads** what has landed, what was ingested and what came through. **Writes** nothing: it starts `lakehouse_ingest_*`
for nights of the last 14 days that have landed and that nothing has run, as after a time in which the services were
down, or where files came after their hours. Older ones, and those that a paused DAG has missed, it names in its log,
with the command; `make status` shows them too. A night whose run has failed is for a person. **Fails** where Airflow
or the lake does not answer.
"""

from datetime import UTC, datetime

from airflow.sdk import dag, task

from include.orchestration import defaults


@dag(
    dag_id="lakehouse_catchup",
    schedule="30 * * * *",
    **defaults.DAG,
    default_args=defaults.DEFAULTS | {"owner": "data-platform"},
    doc_md=__doc__,
    tags=["lakehouse"],
)
def catch_up() -> None:
    @task
    def look():
        """Start what was missed in the last days; name what is older."""
        from include.orchestration import catch_up
        from include.sources import sources

        now = datetime.now(UTC)
        started = [f"started {one.name} {night}" for one in sources().values() for night in catch_up.catch_up(one, now)]
        print(*started, *catch_up.told(sources().values(), now) or ["everything that has landed is through"], sep="\n")

    look()


catch_up()

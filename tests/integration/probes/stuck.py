"""For tests of the stack: a task that hangs on Spark, with the recipes of every other one, and a head without work.

**Reads** nothing. **Writes** nothing.
"""

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Param, dag, task

from include.orchestration import defaults
from include.sources import source

SECONDS = 8


@dag(
    dag_id="probe_stuck",
    schedule=None,
    params={"rows": Param(10**7, type="integer")},
    default_args=defaults.DEFAULTS | {"owner": "tests", "retries": 0, "execution_timeout": timedelta(seconds=SECONDS)},
    **defaults.DAG,
)
def stuck() -> None:
    @task
    def count(params):
        """In threads, as ingestion does: the main one then waits for them, whatever is raised in it."""
        from concurrent.futures import ThreadPoolExecutor

        from include.lake import spark

        rows = params["rows"]
        query = f"SELECT count(*) FROM range({rows}) a CROSS JOIN range({rows}) b WHERE hash(a.id, b.id) = "
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda n: spark.session().sql(f"{query}{n}").collect(), range(2)))

    count()


@dag(
    dag_id="probe_nights",
    schedule=defaults.nightly(source("flights")),
    default_args=defaults.DEFAULTS | {"owner": "tests"},
    **defaults.DAG | {"max_active_runs": 20},
)
def nights() -> None:
    EmptyOperator(task_id="nothing")


stuck()
nights()

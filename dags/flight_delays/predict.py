"""Score the flights of the day after the night with the champion of that day.

**Reads** `gold.flight_delays__features` and the deployment ledger. **Writes** `gold.flight_delays__predictions`, each
flight once, stamped with the model's version; a rerun replaces. **Parameters**: `from` and `to` for a range.

**Skips** where the ledger names no champion for the day: train one first.
"""

from airflow.sdk import PartitionedAssetTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from include.core.partitions import of_run
from include.orchestration import assets, defaults

USE_CASE = "flight_delays"


@dag(
    dag_id=f"{USE_CASE}_predict",
    schedule=PartitionedAssetTimetable(assets=assets.features(USE_CASE)),
    **defaults.DAG,
    params=defaults.PARAMS,
    default_args=defaults.DEFAULTS | {"owner": "data-science"},
    doc_md=__doc__,
    tags=[USE_CASE],
)
def predict() -> None:
    @task(outlets=[assets.predictions(USE_CASE)])
    def score(**context):
        """Every flight of the day, once."""
        from include.governance import events
        from include.ml import ledger
        from include.serving import batch
        from include.use_cases import use_case

        nights = of_run(context)
        days = nights.shift(use_case(USE_CASE).horizon_days)
        try:
            result = batch.predict(USE_CASE, days.first, days.last)
        except ledger.NoChampion as nobody:
            raise AirflowSkipException(f"{nobody} Nothing was scored.") from None
        assets.announce(context, assets.predictions(USE_CASE), nights, **result)
        events.emit(context, events.of_scoring, USE_CASE, result)
        return result

    score()


predict()

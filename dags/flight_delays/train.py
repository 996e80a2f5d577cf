"""Train a challenger on everything known by the night, and promote it if it passes its gates.

**Reads** `gold.flight_delays__features` and `__labels` up to the night. **Writes** a version of the model
`flight_delays` in MLflow, alias `challenger`, and if it is promoted, alias `champion` and a row in
`gold.flight_delays__deployments` that says from which day on.

Runs when the policy requests a retraining. The first champion is trained by hand: *Trigger* with the partition key or
`to` set to the last night to learn from. Training twice for one night makes one version.
"""

from airflow.sdk import PartitionedAssetTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from include.core.partitions import of_run
from include.orchestration import assets, defaults

USE_CASE = "flight_delays"


@dag(
    dag_id=f"{USE_CASE}_train",
    schedule=PartitionedAssetTimetable(assets=assets.retrain_request(USE_CASE)),
    **defaults.DAG,
    params=defaults.PARAMS,
    default_args=defaults.DEFAULTS | {"owner": "data-science"},
    doc_md=__doc__,
    tags=[USE_CASE],
)
def train() -> None:
    @task(task_id="train", **defaults.LONG)
    def fit(**context):
        """Fit, evaluate on later days than it was fitted on, register as challenger."""
        from include.governance import events
        from include.ml import train

        challenger = train.train(USE_CASE, of_run(context).last)
        events.emit(context, events.of_training, USE_CASE, challenger)
        return challenger

    @task(outlets=[assets.champion(USE_CASE)])
    def promote(challenger, **context):
        """Through the gates, or refused with the reasons."""
        from include.ml import registry

        result = registry.promote(USE_CASE, challenger["version"])
        if not result["promoted"]:
            raise AirflowSkipException(f"version {result['version']} was refused: {'; '.join(result['reasons'])}")
        assets.announce(context, assets.champion(USE_CASE), of_run(context), **result)
        return result

    promote(fit())


train()

"""Watch the champion: measure what became knowable in the night, sense drift, decide whether to retrain.

**Reads** predictions, labels, features and the champion's training reference. **Writes**
`gold.flight_delays__monitoring` and `gold.flight_delays__decisions`, one decision a night, also when it is "no".

The sensors are green where they fired and skipped where all is quiet. `request_retraining` is green where the policy
decided "yes", which starts `flight_delays_train`, and skipped where it decided "no"; its log says why.
**Parameters**: `from` and `to` for a range, which gets one decision.
"""

from airflow.sdk import PartitionedAssetTimetable, PokeReturnValue, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from include.core.partitions import of_run
from include.orchestration import assets, defaults

USE_CASE = "flight_delays"


@dag(
    dag_id=f"{USE_CASE}_monitor",
    schedule=PartitionedAssetTimetable(assets=assets.predictions(USE_CASE)),
    **defaults.DAG,
    params=defaults.PARAMS,
    default_args=defaults.DEFAULTS | {"owner": "data-science"},
    doc_md=__doc__,
    tags=[USE_CASE],
)
def monitor() -> None:
    @task.sensor(**defaults.WAIT)
    def window(**context):
        """Wait for the nights that the windows need and that are on their way beside this one."""
        from include.orchestration import readiness

        awaited = readiness.awaited_by_monitor(USE_CASE, of_run(context))
        return readiness.are_through(awaited, readiness.before_monitor(USE_CASE), context["dag_run"])

    @task
    def measure(**context):
        """Join matured labels; compute drift and quality; store them."""
        from include.ml import monitor

        nights = of_run(context)
        return monitor.measure(USE_CASE, nights.first, nights.last)

    # A sensor looks once: the night's evidence is complete when it is measured.
    @task.sensor(timeout=0, soft_fail=True)
    def input_drift(**context):
        from include.ml import monitor

        reading = monitor.input_drift(USE_CASE, of_run(context).last)
        return PokeReturnValue(is_done=reading["fired"], xcom_value=reading)

    @task.sensor(timeout=0, soft_fail=True)
    def prediction_drift(**context):
        from include.ml import monitor

        reading = monitor.prediction_drift(USE_CASE, of_run(context).last)
        return PokeReturnValue(is_done=reading["fired"], xcom_value=reading)

    @task.sensor(timeout=0, soft_fail=True)
    def quality(**context):
        from include.ml import monitor

        reading = monitor.quality(USE_CASE, of_run(context).last)
        return PokeReturnValue(is_done=reading["fired"], xcom_value=reading)

    @task(outlets=[assets.retrain_request(USE_CASE)], trigger_rule="none_failed")
    def request_retraining(**context):
        """The policy's decision, stored either way; only a "yes" is announced."""
        from include.ml import policy

        nights = of_run(context)
        decision = policy.decide_night(USE_CASE, nights.last)
        if decision["decision"] == "no":
            raise AirflowSkipException(f"no retraining for {nights}: {decision['reason']}")
        assets.announce(context, assets.retrain_request(USE_CASE), nights, reason=decision["reason"])
        return decision

    window() >> measure() >> [input_drift(), prediction_drift(), quality()] >> request_retraining()


monitor()

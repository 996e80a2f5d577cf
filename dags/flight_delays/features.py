"""Silver to gold: what is known of tomorrow's flights, and how today's went.

**Reads** `silver.*`. **Writes** `gold.flight_delays__features` of the day after the night, whose schedule is known, and
`gold.flight_delays__labels` of the night's own day, which has just ended. **Parameters**: `from` and `to` for a range.

**Waits** for the nights of its look-back that are on their way, without a worker. **Fails** at once, naming the night,
where one of them has failed or has not landed; and where a model, a test or an expectation of the feature gate does.
Nothing is published then.
"""

from airflow.sdk import PartitionedAssetTimetable, dag, task

from include.core.partitions import of_run
from include.orchestration import assets, defaults
from include.orchestration.operators.dbt import DbtBuild

USE_CASE = "flight_delays"
STAGE = f"{USE_CASE}_features"


@dag(
    dag_id=STAGE,
    schedule=PartitionedAssetTimetable(assets=assets.silver("flights")),
    **defaults.DAG,
    params=defaults.PARAMS,
    default_args=defaults.DEFAULTS | {"owner": "data-science"},
    doc_md=__doc__,
    tags=[USE_CASE],
)
def features() -> None:
    @task.sensor(**defaults.WAIT)
    def history(**context):
        """Wait for the nights that the look-back needs and that are on their way; refuse half a history."""
        from include.features import catalogue
        from include.orchestration import readiness
        from include.use_cases import use_case

        look_back_days = catalogue.read(use_case(USE_CASE)).look_back_days
        awaited = readiness.awaited_by_features(USE_CASE, of_run(context), look_back_days)
        return readiness.are_through(awaited, readiness.before_features(USE_CASE), context["dag_run"])

    build = DbtBuild(task_id="build", stage=STAGE, select=f"marts.{USE_CASE}", **defaults.LONG)

    @task
    def audit(built):
        """The feature gate: nothing is scored or trained on that has not passed it."""
        from include.quality import features

        features.audit(USE_CASE, built)

    @task(outlets=[assets.features(USE_CASE)])
    def publish(built, **context):
        """Replace exactly these days, and announce them."""
        from include.governance import events
        from include.lake import dbt

        published = dbt.publish_built(STAGE, built, run=defaults.name_of(context))
        print(*published, sep="\n")
        assets.announce(context, assets.features(USE_CASE), of_run(context))
        events.emit(context, events.of_dbt, STAGE, published)

    @task
    def discard(built):
        """Remove what was only needed on the way."""
        from include.lake import dbt

        dbt.discard_built(built)

    built = build.output
    history() >> build >> audit(built) >> publish(built) >> discard(built)


features()

"""Bronze to silver, one DAG a source: facts and dimensions, by dbt on Spark.

**Reads** `bronze.<source>__*`. **Writes** the models of `dbt_project/models/marts/core/<source>` that draw on the feeds
of which something came, for the night of the run. **Parameters**: `from` and `to` for a range. **Fails** where a model
or one of its tests does; nothing of the build is published then. `docs` comes after all that, and holds nobody up.
"""

from datetime import date

from airflow.sdk import DAG, PartitionedAssetTimetable, dag, task

from include.contracts.source import Source
from include.core.partitions import of_run
from include.orchestration import assets, defaults, stages
from include.orchestration.operators.dbt import DbtBuild
from include.sources import sources
from include.use_cases import readers_of_several


def transform(source: Source) -> DAG:
    stage = f"lakehouse_transform_{source.name}"

    @dag(
        dag_id=stage,
        schedule=PartitionedAssetTimetable(assets=assets.bronze(source.name)),
        **defaults.DAG,
        params=defaults.PARAMS,
        default_args=defaults.DEFAULTS | {"owner": source.owner},
        doc_md=__doc__,
        tags=["lakehouse", source.name],
    )
    def recipe() -> None:
        def select(context, jinja_env) -> str:
            """What draws on a feed that the nights brought something of; nothing on a day without files."""
            from include.ingestion import ingest

            feeds = ingest.ingested(source, of_run(context))
            return " ".join(f"source:{source.name}.{feed}+,marts.core" for feed in feeds)

        def touched(context) -> list[date]:
            """The earlier nights of which rows came late."""
            from include.ingestion import ingest

            return ingest.touched(source, of_run(context))

        build = DbtBuild(
            task_id="build",
            doc_md="Build facts and dimensions as candidates, and run dbt's tests on them.",
            stage=stage,
            select=select,
            also=touched,
            **defaults.LONG,
            **defaults.SPARK,
        )

        @task(outlets=[assets.silver(source.name)])
        def publish(built, **context):
            """Replace exactly these days, and announce them."""
            from include.governance import events
            from include.lake import dbt

            published = dbt.publish_built(stage, built, run=defaults.name_of(context))
            print(*published, sep="\n")
            assets.announce(context, assets.silver(source.name), of_run(context), also=dbt.also_built(built))
            events.emit(context, events.of_dbt, stage, published)

        @task
        def discard(built):
            """Remove what was only needed on the way."""
            from include.lake import dbt

            dbt.discard_built(built)

        @task
        def docs():
            """dbt's pages in Airflow's menu, where models or tables have changed."""
            from include.governance import docs

            print("built" if docs.refresh() else "they show what is there already")

        built = build.output
        published = publish(built)
        published >> discard(built) >> docs()
        for case in readers_of_several(source.name):
            published >> stages.announce_inputs(case.name, source.name, built)

    return recipe()


for one in sources().values():
    transform(one)
